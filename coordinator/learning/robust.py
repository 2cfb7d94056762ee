"""Aggregation over shards that a few poisoning agents cannot move at will (pure).

Masking hides single updates, so nothing can be filtered agent by agent. What can be compared are the
means of shards, each over at least the agents' own minimum: the coordinate-wise median or trimmed
mean over them bounds what an attacker in fewer than half (or the trimmed share) of the shards does
(Yin et al. 2018, arXiv 1803.01498). The price: the coordinator sees a sum per shard, and the median
of k means of noisy sums has about π/2 times the variance of their mean.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from edgeveil.coordinator.learning.strategies import MeanUpdate

Robust = Literal["none", "median", "trimmed"]
LEAST = 3  # shards, so that one of them can be outvoted


def robust_mean(kind: Robust, means: Sequence[MeanUpdate], *, trim: float) -> MeanUpdate:
    """Over the shards' mean updates, each float64 (d,). `trim` is the share cut off at each end.

    Fewer than three shards are averaged by `median`, too: two cannot outvote each other.
    """
    stacked = np.stack(means)  # (shards, d)
    if kind == "median":
        return np.asarray(np.median(stacked, axis=0), dtype=np.float64)
    if kind == "trimmed":
        cut = min(int(np.ceil(trim * len(means))), (len(means) - 1) // 2)
        ordered = np.sort(stacked, axis=0)
        stacked = ordered[cut : len(means) - cut]
    return np.asarray(stacked.mean(axis=0), dtype=np.float64)
