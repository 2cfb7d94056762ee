"""Who is asked this round: how many, from goal and drop rate, and an unbiased draw (pure).

So many agents are asked that, if each is lost independently at the observed rate, at least the goal
is in the sum with probability 99.9 % (exact binomial; docs/design.md, "Cohort").
"""

import math
import secrets
from collections.abc import Callable, Iterable
from functools import lru_cache

ASSURANCE = 0.999
HIGHEST_RATE = 0.5  # above this the agents are the problem, and asking more only costs their budget
SMALL = 256  # agents; in larger cohorts the goal asks for more than any quorum does
PLANNED_RATE = 0.2  # what the lanes are sized for before anything has been observed


@lru_cache(maxsize=1024)
def needed(goal: int, rate: float, assurance: float = ASSURANCE) -> int:
    """The fewest agents of which `goal` survive with that probability when each is lost at `rate`."""
    if goal < 1 or not 0 <= rate <= HIGHEST_RATE:
        raise ValueError(f"goal {goal} or drop rate {rate} is out of range")
    low, high = goal - 1, goal
    while survival(high, goal, rate) < assurance:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if survival(middle, goal, rate) < assurance:
            low = middle
        else:
            high = middle
    return high


def needed_for_quorum(
    goal: int,
    first: float,
    later: float,
    quorum: Callable[[int], int],
    *,
    assurance: float = ASSURANCE,
) -> int:
    """The fewest agents so that goal and quorum are reached with that probability.

    An agent is lost with `first` before its advert, and of the others with `later` before the end.
    `quorum(n)` is how many of n that sent an advert must stay; it binds for small goals only.
    """
    asked = needed(goal, min(1 - (1 - first) * (1 - later), HIGHEST_RATE), assurance)
    if asked > SMALL or quorum(asked) <= goal:
        return asked
    most = min(4 * asked + 16, SMALL)
    while asked < most and _success(asked, goal, (first, later), quorum) < assurance:
        asked += 1
    return asked


def _success(
    asked: int, goal: int, rates: tuple[float, float], quorum: Callable[[int], int]
) -> float:
    first, later = rates
    found = 0.0
    for adverts in range(goal, asked + 1):
        here = math.comb(asked, adverts) * (1 - first) ** adverts * first ** (asked - adverts)
        found += here * survival(adverts, max(goal, quorum(adverts)), later)
    return found


def survival(asked: int, goal: int, rate: float) -> float:
    """P(at least `goal` of `asked` are left) when each is lost independently with `rate`."""
    if asked < goal:
        return 0.0
    if rate == 0:
        return 1.0
    lose, keep = math.log(rate), math.log1p(-rate)
    whole = math.lgamma(asked + 1)
    return math.fsum(
        math.exp(
            whole
            - math.lgamma(lost + 1)
            - math.lgamma(asked - lost + 1)
            + lost * lose
            + (asked - lost) * keep
        )
        for lost in range(asked - goal + 1)
    )


def select(candidates: Iterable[bytes], wanted: int) -> tuple[bytes, ...]:
    """At most `wanted` agents, uniformly drawn by the operating system's generator."""
    known = sorted(candidates)
    return tuple(sorted(secrets.SystemRandom().sample(known, min(wanted, len(known)))))
