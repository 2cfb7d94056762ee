"""A run that is being driven: what stays the same for all of its rounds, and where it stands."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edgeveil.coordinator.plan.plan import Plan
from edgeveil.coordinator.records.records import Evaluation, InitialModel
from edgeveil.shared.tasks.spec import TaskSpec
from edgeveil.shared.vector.model_vector import Frozen
from edgeveil.shared.wire.messages import Tensor


class Evaluate(Protocol):
    def __call__(self, vector: NDArray[np.float32]) -> Evaluation:
        """How a model does on the coordinator's held-out data."""


@dataclass(frozen=True)
class OpenRun:
    """What stays the same for all rounds of one run."""

    run_id: str
    plan: Plan
    task: TaskSpec
    tensors: tuple[Tensor, ...]
    folder: Path
    evaluate: Evaluate | None
    initial: InitialModel | None = None
    frozen: Frozen | None = None  # what its rounds leave as it is


@dataclass
class Progress:
    """Where the driver stands, for `coordinator status`.

    `kept_out`: agents that are connected and may not be asked now, with the reason.
    """

    run: str | None = None
    round: int | None = None
    stage: str = "idle"
    kept_out: Mapping[str, str] = field(default_factory=dict)

    def stand(self, number: int, stage: str) -> None:
        self.round, self.stage = number, stage
