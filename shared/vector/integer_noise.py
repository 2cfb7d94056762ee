"""Discrete Gaussian noise for the integers that are masked, exact to the last bit (docs/privacy.md, "The noise").

An integer x with probability proportional to exp(−x²/2s²), s a power of two: Karney's rejection (arXiv
1303.6257, algorithm D, there for any s). x = ±(k·s + j): k with probability proportional to exp(−k²/2), j
uniform below s, accepted with probability exp(−γ), γ = (j/s)·(2k + j/s)/2. A uniform is compared with such a
probability by its first 32 bits and float32, whose error is bounded; what lies closer than that bound to
the border is decided by more bits and by decimals of a hundred digits and more, so no value, however rare, is lost or made likelier.
"""

import os
from collections.abc import Callable
from decimal import Decimal, localcontext
from functools import lru_cache
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from edgeveil.shared.secagg.primitives import mask

LEAST_BITS, MOST_BITS = (
    4,
    28,
)  # of s: below, a sum of shares is no Gaussian; above, no lane holds it
_BLOCK = 1 << 13  # proposals at a time: their temporaries stay in the cache
_WORDS = 3  # of 32 bits each, for one proposal: k with the sign, j, acceptance
_SURE = np.float32(2.0**-18)  # float32's exp(−γ) lies within 2^-20 of the true value
_MORE = 64  # bits of a border beyond those of the uniform that it is compared with

Random = Callable[[int], bytes]
Integers = NDArray[np.int64]
Words = NDArray[np.uint32]


def discrete_gaussian(count: int, scale_bits: int, *, random: Random = os.urandom) -> Integers:
    """`count` independent draws at s = 2^scale_bits, int64 (count,); `random(32)` is asked once for a key.

    Their variance is s² to within 1e-1000 of itself. `random` is asked again, for 16 bytes each, where 32
    bits do not decide, a few times in 10^5 draws.

    Raises:
        ValueError: scale_bits outside 4..28.
    """
    if not LEAST_BITS <= scale_bits <= MOST_BITS:
        raise ValueError(f"a scale of 2^{scale_bits} is outside 2^{LEAST_BITS}..2^{MOST_BITS}")
    key, found, at, used = random(32), np.empty(count, np.int64), 0, 0
    while at < count:
        lanes = mask.expand(key, _WORDS * _BLOCK, 32, start=used)
        words = lanes.view(np.uint32).reshape(_WORDS, _BLOCK)
        used += _WORDS * _BLOCK
        fresh = from_words(words, scale_bits, random)[: count - at]
        found[at : at + len(fresh)] = fresh
        at += len(fresh)
    return found


def from_words(words: Words, scale_bits: int, random: Random) -> Integers:
    """What of proposals (3, n) is accepted, in their order; the same words give the same values."""
    negative = (words[0] & np.uint32(1)).astype(np.bool_)
    blocks = _blocks(words[0], random)
    low = (words[1] >> np.uint32(32 - scale_bits)).astype(np.int32)
    fraction = low.astype(np.float32) * np.float32(2.0**-scale_bits)
    chance = np.exp(np.float32(-0.5) * fraction * (2 * blocks.astype(np.float32) + fraction))
    beyond = chance - words[2].astype(np.float32) * np.float32(2.0**-32)
    accepted = beyond > 0
    for place in np.flatnonzero(np.abs(beyond) < _SURE):
        k, j = int(blocks[place]), int(low[place])
        accepted[place] = _happens(int(words[2][place]), k, j, scale_bits, random)
    size = (blocks.astype(np.int64) << scale_bits) + low
    accepted &= (size != 0) | ~negative  # zero has one sign
    found: Integers = np.where(negative, -size, size)[accepted]
    return found


def _blocks(words: Words, random: Random) -> NDArray[np.int8]:
    """The k of each word's upper 31 bits: by the first 16 where these decide, else by all, or by more."""
    blocks: NDArray[np.int8] = _table()[words >> np.uint32(16)]
    for place in np.flatnonzero(blocks < 0):
        blocks[place] = _block_of(int(words[place]) >> 1, random)
    return blocks


@lru_cache(maxsize=1)
def _table() -> NDArray[np.int8]:
    """The k by the first 16 bits of a uniform; −1 where these hold a border."""
    borders = [border >> (_MORE - 16) for border in _cumulative(_MORE)]
    table = np.searchsorted(borders, np.arange(1 << 16), side="right").astype(np.int8)
    table[borders] = -1
    return table


@lru_cache(maxsize=4)
def _cumulative(bits: int) -> tuple[int, ...]:
    """2^bits·P[k ≤ i] for i = 0, 1, …, each less than 1 too small, until less than 1 is left."""
    with localcontext() as context:
        context.prec = 2 * bits  # decimal digits, six times what is needed
        weights = [Decimal(1)]
        while weights[-1] * (1 << (bits + 8)) > 1:
            weights.append((-Decimal(len(weights) ** 2) / 2).exp())
        whole, sums = sum(weights), accumulate(weights)
        return tuple(int(part / whole * (1 << bits)) for part in sums)[:-1]


def _block_of(upper: int, random: Random) -> int:
    """The k of a uniform whose first 31 bits are `upper`, by as many more as decide."""
    bits = 31
    while True:
        borders = [border >> _MORE for border in _cumulative(bits + _MORE)]
        if upper not in borders:
            return sum(border < upper for border in borders)
        upper, bits = _longer(upper, bits, random)


def _happens(word: int, k: int, j: int, scale_bits: int, random: Random) -> bool:
    """Whether a uniform whose first 32 bits are `word` lies below exp(−γ), by as many more as decide."""
    bits = 32
    while True:
        with localcontext() as context:
            context.prec = 2 * (bits + _MORE)
            gamma = Decimal(j * ((k << (scale_bits + 1)) + j)) / (1 << (2 * scale_bits + 1))
            border = int((-gamma).exp() * (1 << (bits + _MORE))) >> _MORE
        if word != border:
            return word < border
        word, bits = _longer(word, bits, random)


def _longer(value: int, bits: int, random: Random) -> tuple[int, int]:
    """The same uniform with 128 more bits of it drawn."""
    return (value << 128) | int.from_bytes(random(16), "big"), bits + 128
