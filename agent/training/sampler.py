"""Poisson sampling: each record independently, with probability exactly ⌊q·2^64⌋/2^64.

Never shuffled batches: their privacy differs from what is accounted (arXiv 2411.04205).
"""

import math

import numpy as np
from numpy.typing import NDArray

from edgeveil.agent.training.noise import Words
from edgeveil.shared.base.errors import PolicyRefusal, RefusalCode

TEST_COUNT = 20_000
TEST_RATE = 0.25
TEST_TRIES = 3  # an honest sampler misses 4 standard errors thrice in 3 of 10^13 starts


def poisson_sample(records: int, sample_rate: float) -> NDArray[np.int64]:
    """Ascending indices of the drawn records; all for sample_rate 1, possibly none below."""
    if not 0 < sample_rate <= 1:
        raise ValueError(f"sample_rate {sample_rate} is outside (0, 1]")
    if sample_rate == 1:
        return np.arange(records, dtype=np.int64)
    limit = np.uint64(int(sample_rate * 2.0**64))  # exact: a power of two only moves the exponent
    return np.flatnonzero(Words().take(records) < limit).astype(np.int64)


def self_test() -> None:
    """Raise PolicyRefusal(SELF_TEST_FAILED) unless frequency and freshness look right."""
    error = math.sqrt(TEST_RATE * (1 - TEST_RATE) / TEST_COUNT)
    for _ in range(TEST_TRIES):
        first, second = (poisson_sample(TEST_COUNT, TEST_RATE) for _ in range(2))
        if np.array_equal(first, second):
            break
        if abs(len(first) / TEST_COUNT - TEST_RATE) <= 4 * error:
            return
    raise PolicyRefusal(
        RefusalCode.SELF_TEST_FAILED, "the record sampler failed its self-test; do not train here"
    )
