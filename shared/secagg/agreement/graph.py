"""Who masks with whom: the complete graph, or k/2 neighbours to either side on a hashed ring.

docs/protocol.md, "Graph" (Bell et al. 2020). The order follows from ctx and u1_hash, so the
coordinator cannot choose anybody's neighbours; it can only grind whole cohorts. Agents are ranks
0..n−1 in ascending order of their ids; sets of agents are boolean arrays (n,).
"""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgeveil.shared.secagg.primitives.canonical import canon, digest

Members = NDArray[np.bool_]
Counts = NDArray[np.int64]


class Graph:
    """A k-regular graph over n ranks; k = n − 1 is complete, else k is even."""

    __slots__ = ("_place", "complete", "k", "n", "order")

    def __init__(self, ids: Sequence[bytes], ctx: bytes, u1_hash: bytes, k: int) -> None:
        self.n = len(ids)
        self.k = k
        self.complete = k == self.n - 1
        self.order = np.array(_ring(ids, digest("graph-seed", ctx, u1_hash)), np.int64)
        # order: ring position → rank; _place: the other way round
        self._place = np.empty(self.n, np.int64)
        self._place[self.order] = np.arange(self.n)

    def neighbours(self, rank: int) -> list[int]:
        """Ranks in ascending order, which is the order of their ids."""
        if self.complete:
            return [*range(rank), *range(rank + 1, self.n)]
        half = self.k // 2
        offsets = np.concatenate([np.arange(-half, 0), np.arange(1, half + 1)])
        return sorted(self.order[(self._place[rank] + offsets) % self.n].tolist())

    def position(self, rank: int, other: int) -> int:
        """Place of `other` in neighbours(rank); `other` must be one of them."""
        if self.complete:
            return other - (other > rank)
        return self.neighbours(rank).index(other)

    def count(self, members: Members) -> Counts:
        """|N_i ∩ members| for every rank i; (n,)."""
        if self.complete:
            return int(members.sum()) - members.astype(np.int64)
        after, before = self.windows(members)
        return after + before

    def windows(self, members: Members) -> tuple[Counts, Counts]:
        """|W_i⁺ ∩ members| and |W_i⁻ ∩ members|: the k/2 successors and predecessors; (n,) each."""
        half = self.k // 2
        on_ring = members[self.order].astype(np.int64)
        sums = np.concatenate([[0], np.cumsum(np.concatenate([on_ring, on_ring]))])
        at = np.arange(self.n)
        after = sums[at + half + 1] - sums[at + 1]
        before = sums[at + self.n] - sums[at + self.n - half]
        return after[self._place], before[self._place]


def _ring(ids: Sequence[bytes], seed: bytes) -> list[int]:
    """Ranks in the order of H("graph-order", seed, id); ties by id.

    The digests of one cohort share all bytes but the id, so these are hashed once and copied.
    """
    size = len(ids[0]) if ids else 0
    if any(len(member) != size for member in ids):
        raise ValueError("the ids of a cohort differ in length")
    start = hashlib.sha256(canon("graph-order", seed, bytes(size))[: -size or None])

    def place(rank: int) -> tuple[bytes, bytes]:
        hashed = start.copy()
        hashed.update(ids[rank])
        return hashed.digest(), ids[rank]

    return sorted(range(len(ids)), key=place)
