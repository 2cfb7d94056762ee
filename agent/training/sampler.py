"""Poisson sampling: each record independently, with probability exactly ⌊q·2^64⌋/2^64.

Never shuffled batches: their privacy differs from what is accounted (arXiv 2411.04205).
"""

import math

import numpy as np
from numpy.typing import NDArray

from edgeveil.agent.training.noise import Words
from edgeveil.shared.base.errors import PolicyRefusal, RefusalCode

TEST_COUNT = 2000
TEST_DRAWS = 64
TEST_RATE = 0.25
TEST_TRIES = 3
MISSES = (
    4.0  # standard errors; an honest sampler misses one of the three thrice in 1 of 10^10 starts
)


def poisson_sample(records: int, sample_rate: float) -> NDArray[np.int64]:
    """Ascending indices of the drawn records; all for sample_rate 1, possibly none below."""
    if not 0 < sample_rate <= 1:
        raise ValueError(f"sample_rate {sample_rate} is outside (0, 1]")
    if sample_rate == 1:
        return np.arange(records, dtype=np.int64)
    limit = np.uint64(int(sample_rate * 2.0**64))  # exact: a power of two only moves the exponent
    return np.flatnonzero(Words().take(records) < limit).astype(np.int64)


def self_test() -> None:
    """Raise PolicyRefusal(SELF_TEST_FAILED) unless records look drawn one by one and afresh.

    Batches of one size, or shuffled ones that share no record until all were used, have the right frequency and
    are not what is accounted: their sizes do not vary, and the next batch follows from the last one.
    """
    if not any(_looks_poisson() for _ in range(TEST_TRIES)):
        raise PolicyRefusal(
            RefusalCode.SELF_TEST_FAILED,
            "the record sampler failed its self-test; do not train here",
        )


def _looks_poisson() -> bool:
    drawn = np.zeros((TEST_DRAWS, TEST_COUNT), np.bool_)
    for row in drawn:
        row[poisson_sample(TEST_COUNT, TEST_RATE)] = True
    sizes = drawn.sum(axis=1)
    shared = (drawn[1:] & drawn[:-1]).sum()  # with the batch before
    one, both = TEST_RATE * (1 - TEST_RATE), TEST_RATE**2
    cells, pairs = drawn.size, (TEST_DRAWS - 1) * TEST_COUNT
    frequency = abs(sizes.sum() / cells - TEST_RATE) / math.sqrt(one / cells)
    variation = abs(sizes.var(ddof=1) / (TEST_COUNT * one) - 1) / math.sqrt(2 / (TEST_DRAWS - 1))
    # Neighbouring pairs share a batch: their covariance is p³ − p⁴ each way.
    spread = both * (1 - both) + 2 * (TEST_RATE**3 - TEST_RATE**4)
    overlap = abs(shared / pairs - both) / math.sqrt(spread / pairs)
    return bool(max(frequency, variation, overlap) <= MISSES)
