"""Canaries for an audit: made-up records whose trace in an update can be told apart.

A copy of the task's model gets one more weight per canary. The gradient of canary i is a huge
multiple of unit vector i there and zero elsewhere, so after clipping each canary counts exactly
clip_norm, in a direction of its own. Real records have no gradient there. The copy is trained by the
real trainer, is never sent, and the owner's data are not changed.
"""

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgeveil.shared.tasks.augmentation.draws import Draws
from edgeveil.shared.tasks.batches import joined, size, taken
from edgeveil.shared.tasks.modules import trainable, zero_linear
from edgeveil.shared.tasks.records import Batch, Records, Rows
from edgeveil.shared.tasks.spec import Augmenting, Reduction, TaskSpec, Trainable
from edgeveil.shared.wire import messages

SCALE = 1000.0  # of a canary's gradient: far above every clip_norm a policy allows
NAME = "canaries.weight"


class Audited(nn.Module):
    """Inputs: the task's own and marks (B, canaries); outputs: the task's own, the pull (B,), the mark (B,)."""

    def __init__(self, model: nn.Module, count: int) -> None:
        super().__init__()
        self.model = model
        self.canaries = zero_linear(count, 1, bias=False)

    def forward(self, inputs: tuple[Batch, Tensor]) -> tuple[Any, Tensor, Tensor]:
        own, marks = inputs
        return self.model(own), self.canaries(marks).squeeze(1), marks.sum(dim=1)


class AuditedLoss(nn.Module):
    """The task's loss for a real record; for a canary nothing but its pull."""

    def __init__(self, criterion: nn.Module) -> None:
        super().__init__()
        self.reduction = "none"
        self._criterion = criterion

    def forward(self, outputs: tuple[Any, Tensor, Tensor], targets: Batch) -> Tensor:
        found, pull, mark = outputs
        loss: Tensor = self._criterion(found, targets)
        return (1 - mark) * loss - SCALE * pull


class AuditedTask:
    """A task with canaries, for agent.training.training.train; everything else is the task's own."""

    def __init__(self, task: Trainable, count: int) -> None:
        self.spec: TaskSpec = task.spec
        self._task = task
        self._count = count

    def build(self, options: Any) -> nn.Module:
        return Audited(self._task.build(options), self._count)

    def tensors(self, options: Any) -> tuple[messages.Tensor, ...]:
        return trainable(self.build(options))

    def criterion(self, reduction: Reduction) -> nn.Module:
        if reduction != "none":
            raise ValueError("an audited loss is one value per record")
        return AuditedLoss(self._task.criterion("none"))

    def augment(
        self, inputs: Batch, targets: Batch, draws: Draws, options: Any
    ) -> tuple[Batch, Batch]:
        real, marks = inputs
        if isinstance(self._task, Augmenting):
            real, targets = self._task.augment(real, targets, draws, options)
        return (real, marks), targets

    def probe(self, count: int, random: torch.Generator, options: Any) -> tuple[Batch, Batch]:
        inputs, targets = self._task.probe(count, random, options)
        return (inputs, torch.randn((count, self._count), generator=random)), targets


class CanaryRecords:
    """The owner's first `most` records, which are not changed, then one per included canary."""

    skipped: tuple[str, ...] = ()

    def __init__(
        self, real: Records, made_up: tuple[Batch, Batch], included: NDArray[np.bool_], *, most: int
    ) -> None:
        """`made_up`: one record of the task's own making, which all canaries hold."""
        self._real, self._made_up = real, made_up
        self._own = min(len(real), most)
        self._places = np.flatnonzero(included)
        self._canaries = len(included)

    def __len__(self) -> int:
        return self._own + len(self._places)

    def take(self, rows: Rows) -> tuple[Batch, Batch]:
        """The real ones among `rows`, then the canaries."""
        real = self._real.take(rows[rows < self._own])
        chosen = rows[rows >= self._own] - self._own
        inputs, targets = joined(real, taken(self._made_up, [0] * len(chosen)))
        marks = torch.zeros((len(rows), self._canaries))
        marks[size(real[0]) + np.arange(len(chosen)), self._places[chosen]] = 1.0
        return (inputs, marks), targets


def traces(
    update: NDArray[np.float32], tensors: tuple[messages.Tensor, ...]
) -> NDArray[np.float64]:
    """The update along each canary's direction, float64 (canaries,)."""
    at = 0
    for tensor in tensors:
        size = math.prod(tensor.shape)
        if tensor.name == NAME:
            return update[at : at + size].astype(np.float64)
        at += size
    raise ValueError("the update has no canaries")
