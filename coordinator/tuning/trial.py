"""What runs one trial: a plan carried out on parts of a data set, judged after some of its rounds.

The study knows no more than this, so that another simulation can take the place of the one here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from edgeveil.coordinator.plan.plan import Plan

Report = Callable[[int, float], None]  # round, metric; raises Pruned


class Pruned(Exception):
    """The trial is not worth finishing."""


@dataclass(frozen=True, slots=True)
class Result:
    """`value` is the metric of the model that the last round published."""

    value: float
    seconds: float


class Simulation(Protocol):
    def __call__(self, plan: Plan, seed: int, report: Report) -> Result:
        """Carry out all rounds; the same plan and seed give the same result.

        Raises:
            Pruned: from `report`.
            ConfigError: this plan cannot be carried out on these data.
            ProtocolError: the model left the range of its numbers.
        """
