"""ε of records that were used without noise: no number bounds it, whatever else was spent.

Within the programs it is infinite, so that every comparison is right; in JSON, which has no such number,
it is null beside a `limited` that is false; whoever reads it is told "not limited".
"""

import math
from typing import Final

UNLIMITED = math.inf
NOT_LIMITED: Final = "not limited"


def shown(epsilon: float | None, form: str = ".4g", said: str = NOT_LIMITED) -> str:
    """As people read it, of a figure here or in JSON; `said`: in their language."""
    return said if epsilon in {None, UNLIMITED} else format(epsilon, form)


def in_json(epsilon: float) -> float | None:
    return None if epsilon == UNLIMITED else epsilon


def from_json(epsilon: float | None) -> float:
    return UNLIMITED if epsilon is None else float(epsilon)


def share(epsilon: float, limit: float) -> float:
    """What is spent of a limit, 0..1; of none, all as soon as anything was."""
    if epsilon == UNLIMITED or limit <= 0:
        return 1.0 if epsilon > 0 else 0.0
    return min(1.0, epsilon / limit)
