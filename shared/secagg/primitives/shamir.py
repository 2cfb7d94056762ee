"""Shamir's secret sharing over GF(2^8), byte by byte, vectorised over shares with numpy tables.

Shamir 1979 in the field of FIPS 197: polynomial 0x11b, generator 3 (docs/protocol.md, "Shares").
Share x (1..255) of a secret is secret ⊕ Σ coeff_r · x^r. Any `threshold` shares recover it as
Σ share_i · Π_{j≠i} x_j / (x_i ⊕ x_j) (Lagrange at 0), fewer say nothing about it. A wrong share goes
unnoticed here: who reveals one, or dealt one, server/recovery.py tells. Table look-ups are not
constant-time.
"""

import os
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Bytes2D = NDArray[np.uint8]


def _tables() -> tuple[Bytes2D, NDArray[np.int64], Bytes2D]:
    exp = np.zeros(255, np.uint8)
    log = np.zeros(256, np.int64)
    value = 1
    for power in range(255):
        exp[power] = value
        log[value] = power
        value ^= (value << 1) ^ (0x11B if value & 0x80 else 0)  # times the generator 3
        value &= 0xFF
    product = np.zeros((256, 256), np.uint8)
    product[1:, 1:] = exp[(log[1:, None] + log[None, 1:]) % 255]
    return exp, log, product


_EXP, _LOG, PRODUCT = _tables()
_TIMES = [row.tobytes() for row in PRODUCT]


def split(
    secret: bytes,
    threshold: int,
    xs: Sequence[int],
    random: Callable[[int], bytes] = os.urandom,
) -> dict[int, bytes]:
    """One share per x in `xs`; `random(n)` is asked once for all n = (threshold − 1) · len coefficients.

    Raises:
        ValueError: x outside 1..255 or repeated, or a threshold no set of shares can meet.
    """
    if not 1 <= threshold <= len(xs) or len(set(xs)) != len(xs):
        raise ValueError(f"{len(xs)} shares cannot have the threshold {threshold}")
    if min(xs) < 1 or max(xs) > 255:
        raise ValueError("a share index is a non-zero byte")
    if threshold == 1:  # a constant polynomial: every share is the secret
        return dict.fromkeys(xs, secret)
    drawn = random((threshold - 1) * len(secret))
    coefficients = np.frombuffer(drawn, np.uint8).reshape(threshold - 1, len(secret))
    points = np.array(xs, np.uint8)[:, None]  # (shares, 1)
    values = np.zeros((len(xs), len(secret)), np.uint8)
    for row in coefficients[::-1]:  # Horner
        values = PRODUCT[values ^ row, points]
    values ^= np.frombuffer(secret, np.uint8)
    return {x: values[place].tobytes() for place, x in enumerate(xs)}


def combine(shares: Mapping[int, bytes], *, at: int = 0) -> bytes:
    """The polynomial through all of `shares` evaluated at `at`; the secret for at = 0."""
    if at in shares:
        return shares[at]
    return evaluate(tuple(shares), tuple(shares.values()), (at,))[0]


def evaluate(xs: Sequence[int], rows: Sequence[bytes], ats: Sequence[int]) -> list[bytes]:
    """At each of `ats` the polynomials through `rows`, byte by byte; all rows have one length.

    `rows` may hold the shares of many secrets side by side, whose holders have the indices `xs`.
    `ats` holds none of `xs`. Products are looked up by bytes.translate, sums made eight bytes at once.
    """
    size = len(rows[0])
    padded = [row + bytes(-size % 8) for row in rows]
    found = []
    for weights in _weights(xs, ats).tolist():
        products = b"".join(
            [row.translate(_TIMES[weight]) for row, weight in zip(padded, weights, strict=True)]
        )
        words = np.frombuffer(products, np.uint64).reshape(len(rows), -1)
        found.append(np.bitwise_xor.reduce(words, axis=0).tobytes()[:size])
    return found


def _weights(xs: Sequence[int], ats: Sequence[int]) -> Bytes2D:
    """Lagrange's Π_{j≠i} (at ⊕ x_j) / (x_i ⊕ x_j); a row for each of `ats`, a column for each i."""
    points = np.array(xs, np.int64)
    apart = _LOG[points[:, None] ^ points[None, :]]  # log(x_i ⊕ x_j); the diagonal holds log 0 := 0
    distance = _LOG[points ^ np.array(ats, np.int64)[:, None]]
    powers = distance.sum(axis=1, keepdims=True) - distance - apart.sum(axis=1)
    weights: Bytes2D = _EXP[powers % 255]
    return weights
