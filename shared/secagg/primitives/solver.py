"""The parameter solver: (k, t, h, Q) from the cohort size, computed alike by every party.

docs/protocol.md, "Parameters"; degree and threshold after Bell et al. 2020 (hypergeometric tails),
2t > k + c after Bonawitz et al. 2017. Python integers only, so no platform can disagree.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

from edgeveil.shared.secagg.primitives.errors import Code, Infeasible

MILLION = 1_000_000
COMPLETE_UP_TO = 128  # members; below, everyone is everyone's neighbour
MAX_DEGREE = 254  # share indices are single non-zero bytes, and a ring degree is even


@dataclass(frozen=True, slots=True)
class Solution:
    """Degree k, threshold t, corrupt (c) and lost (d) neighbours allowed for, window bound h,
    signature quorum Q. `h` is None in the complete graph, where no window exists.
    """

    k: int
    t: int
    c: int
    d: int
    h: int | None
    quorum: int


@dataclass(frozen=True, slots=True)
class _Cohort:
    n: int
    corrupt: int
    lost: int
    quorum: int
    sigma: int
    eta: int


def assumed_corrupt(n: int, gamma_ppm: int, c_min: int) -> int:
    """C of docs/protocol.md, "Parameters": how many of n members may side with the coordinator."""
    return max(n * gamma_ppm // MILLION, c_min)


@lru_cache(maxsize=256)
def solve(n: int, gamma_ppm: int, delta_ppm: int, *, sigma: int, eta: int, c_min: int) -> Solution:
    """Parameters for n members of which gamma may be corrupt and delta may be lost.

    Raises:
        Infeasible: no admissible degree up to 254; the coordinator has to shard.
    """
    corrupt = assumed_corrupt(n, gamma_ppm, c_min)
    lost = n * delta_ppm // MILLION
    quorum = (n + corrupt) // 2 + 1
    if n < 2 or corrupt >= n or lost >= n:
        raise Infeasible(
            Code.GRAPH_MISMATCH,
            f"{n} members with {corrupt} corrupt and {lost} lost have no quorum",
        )
    cohort = _Cohort(n, corrupt, lost, quorum, sigma, eta)
    if n <= COMPLETE_UP_TO:
        return _complete(cohort)
    for k in range(2, min(MAX_DEGREE, n - 2) + 1, 2):
        found = _sparse(cohort, k)
        if found is not None:
            return found
    if n <= MAX_DEGREE + 2:
        return _complete(cohort)
    raise Infeasible(
        Code.GRAPH_MISMATCH,
        f"no degree up to {MAX_DEGREE} serves {n} members at gamma {gamma_ppm} and "
        f"delta {delta_ppm} ppm; split them into shards of 100 to 500",
    )


def tail(marked: int, draws: int, tries: int, bits: int, others: int) -> int:
    """Smallest m with tries · 2^bits · P[more than m marked among `draws`] ≤ 1.

    `draws` neighbours are drawn from `others` members of which `marked` are corrupt (or lost).
    """
    limit = math.comb(others, draws)
    weight = tries << bits
    above = 0
    for m in range(min(marked, draws), 0, -1):
        above += math.comb(marked, m) * math.comb(others - marked, draws - m)
        if weight * above > limit:
            return m
    return 0


def _complete(of: _Cohort) -> Solution:
    k = of.n - 1
    c = tail(of.corrupt, k, of.n, of.sigma, k)
    t = (k + c) // 2 + 1
    if t > k:
        raise Infeasible(
            Code.GRAPH_MISMATCH,
            f"{of.n} members of which {of.corrupt} may be corrupt leave no honest threshold",
        )
    return Solution(k, t, c, tail(of.lost, k, of.n, of.eta, k), None, of.quorum)


def _sparse(of: _Cohort, k: int) -> Solution | None:
    others = of.n - 1
    c = tail(of.corrupt, k, of.n, of.sigma, others)
    d = tail(of.lost, k, of.n, of.eta, others)
    t = (k + c) // 2 + 1
    h = tail(of.corrupt, k // 2, of.n, of.sigma // 2, others)
    d_half = tail(of.lost, k // 2, 2 * of.n, of.eta, others)
    feasible = k - d >= t and of.n - of.lost >= of.quorum and k // 2 - d_half >= h + 1
    return Solution(k, t, c, d, h, of.quorum) if feasible else None
