"""Gaussian noise that nobody can predict or replay, whatever else seeds a generator.

A fresh ChaCha20 key from the operating system per call (so a fork shares nothing), 53-bit uniforms,
Box–Muller in float64. Each value is half the sum of four independent draws, so that the grid of one
draw is not visible in it (Mironov 2012; Holohan and Braghin, arXiv 2107.10138). Not torch: its CPU
generator has 32 bits of entropy and float32 normals end at 5.8 sigma.
"""

import math
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from numpy.typing import NDArray

from edgeveil.shared.base.errors import PolicyRefusal, RefusalCode

DRAWS = 4  # per value
BLOCK = 1 << 12  # pairs of outputs at a time: keeps every temporary inside the cache
TEST_COUNT = 20_000
TEST_TRIES = 3  # an honest generator misses 3 standard errors thrice in 2 of 10^8 starts


class Words:
    """Uniform 64-bit words of one key that exists only here."""

    __slots__ = ("_encryptor",)

    def __init__(self) -> None:
        self._encryptor = Cipher(ChaCha20(os.urandom(32), bytes(16)), None).encryptor()

    def take(self, count: int) -> NDArray[np.uint64]:
        raw = bytearray(8 * count)
        self._encryptor.update_into(bytes(8 * count), raw)
        return np.frombuffer(raw, dtype="<u8")  # writable, since a bytearray is

    def uniform(self, count: int) -> NDArray[np.float64]:
        """Multiples of 2^-53 in [0, 1)."""
        words = self.take(count)
        words >>= np.uint64(11)
        values = words.astype(np.float64)
        values *= 2.0**-53
        return values


def gaussian(count: int, std: float) -> NDArray[np.float64]:
    """`count` independent draws of N(0, std²), float64 (count,)."""
    words = Words()
    values = np.empty(count + count % 2, dtype=np.float64)
    pairs = len(values) // 2
    for at in range(0, pairs, BLOCK):
        size = min(BLOCK, pairs - at)
        first, second = _normals(words, DRAWS * size)
        first.reshape(DRAWS, size).sum(axis=0, out=values[at : at + size])
        second.reshape(DRAWS, size).sum(axis=0, out=values[pairs + at : pairs + at + size])
    values *= std / 2  # the sum of four unit draws has standard deviation 2
    return values[:count]


def _normals(words: Words, count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """`count` pairs r·cos 2πv and r·sin 2πv with r = √(−2·ln(1 − u)).

    Both come from t = tan(πv − π/2) by the half-angle formulas, up to the sign of the pair, since
    one tangent costs a fifth of a sine and a cosine. In place: this is the hot loop.
    """
    radius = words.uniform(count)
    np.negative(radius, out=radius)
    np.log1p(radius, out=radius)
    radius *= -2.0
    np.sqrt(radius, out=radius)
    tangent = words.uniform(count)
    tangent -= 0.5
    tangent *= math.pi
    np.tan(tangent, out=tangent)
    scaled = tangent * tangent
    scaled += 1.0
    np.divide(radius, scaled, out=scaled)  # r/(1 + t²)
    scaled *= 2.0
    tangent *= scaled  # r·2t/(1 + t²)
    scaled -= radius  # r·(1 − t²)/(1 + t²)
    return scaled, tangent


class Ahead:
    """The noise of a known number of steps, each drawn on a second thread while the step runs.

    Every draw has a key of its own and is used for one step, as if it were made when it is asked
    for; where there is one processor only, or the number of steps is not known, it is.
    """

    def __init__(self, draw: Callable[[], NDArray[np.float64]], steps: int) -> None:
        self._draw = draw
        self._left = steps if len(os.sched_getaffinity(0)) > 1 else 0
        self._thread: ThreadPoolExecutor | None = None
        self._next: Future[NDArray[np.float64]] | None = None
        self._prepare()

    def take(self) -> NDArray[np.float64]:
        if self._next is None:
            return self._draw()
        found = self._next.result()
        self._prepare()
        return found

    def close(self) -> None:
        """Wait for a draw under way and end the thread."""
        self._next = None
        if self._thread is not None:
            self._thread.shutdown(cancel_futures=True)

    def _prepare(self) -> None:
        self._next = None
        if self._left:
            self._left -= 1
            self._thread = self._thread or ThreadPoolExecutor(1, thread_name_prefix="noise")
            self._next = self._thread.submit(self._draw)


def self_test() -> None:
    """Raise PolicyRefusal(SELF_TEST_FAILED) unless scale, centre and freshness look right."""
    for _ in range(TEST_TRIES):
        first, second = gaussian(TEST_COUNT, 3.0), gaussian(TEST_COUNT, 3.0)
        if np.array_equal(first, second):
            break
        std_error = 3.0 / math.sqrt(2 * TEST_COUNT)
        mean_error = 3.0 / math.sqrt(TEST_COUNT)
        if abs(first.std() - 3.0) <= 3 * std_error and abs(first.mean()) <= 3 * mean_error:
            return
    raise PolicyRefusal(
        RefusalCode.SELF_TEST_FAILED, "the noise generator failed its self-test; do not train here"
    )
