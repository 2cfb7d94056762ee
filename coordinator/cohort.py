"""Who is asked this round: an unbiased draw from the agents that hold a long poll open (pure)."""

import math
import secrets
from collections.abc import Iterable

OVER_SELECTION = 1.3  # asked per wanted answer; docs/design.md says when this is right


def select(connected: Iterable[bytes], goal: int, most: int) -> tuple[bytes, ...]:
    """At most `most` agents, about 30 % more than `goal`, uniformly drawn by the operating system."""
    candidates = sorted(connected)
    wanted = min(math.ceil(goal * OVER_SELECTION), most, len(candidates))
    return tuple(sorted(secrets.SystemRandom().sample(candidates, wanted)))
