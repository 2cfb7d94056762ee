"""Canaries for an audit: made-up records whose trace in an update can be told apart.

A copy of the task's model gets one more weight per canary. The gradient of canary i is a huge
multiple of unit vector i there and zero elsewhere, so after clipping each canary counts exactly
clip_norm, in a direction of its own. Real records have no gradient there. The copy is trained by the
real trainer, is never sent, and the owner's data are not changed.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgeveil.shared.tasks.modules import trainable, zero_linear
from edgeveil.shared.tasks.spec import Examples, Options, RawOptions, Reduction, Task, TaskSpec
from edgeveil.shared.wire import messages

SCALE = 1000.0  # of a canary's gradient: far above every clip_norm a policy allows
NAME = "canaries.weight"


class Audited(nn.Module):
    """Inputs (B, values of a record + canaries); outputs the task's own, the canary's pull, a mark."""

    def __init__(self, model: nn.Module, shape: tuple[int, ...], count: int) -> None:
        super().__init__()
        self.model = model
        self.canaries = zero_linear(count, 1, bias=False)
        self._shape = shape
        self._size = math.prod(shape)

    def forward(self, inputs: Tensor) -> Tensor:
        marks = inputs[:, self._size :]
        found = self.model(inputs[:, : self._size].reshape(len(inputs), *self._shape))
        return torch.cat([found, self.canaries(marks), marks.sum(dim=1, keepdim=True)], dim=1)


class AuditedLoss(nn.Module):
    """The task's loss for a real record; for a canary nothing but its pull."""

    def __init__(self, criterion: nn.Module) -> None:
        super().__init__()
        self.reduction = "none"
        self._criterion = criterion

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        loss: Tensor = self._criterion(outputs[:, :-2], targets)
        return (1 - outputs[:, -1]) * loss - SCALE * outputs[:, -2]


class AuditedTask:
    """A task with canaries, for agent.training.training.train; everything else is the task's own."""

    def __init__(self, task: Task, shape: tuple[int, ...], count: int) -> None:
        self.spec: TaskSpec = task.spec
        self._task = task
        self._shape = shape
        self._count = count

    def parse_options(self, raw: RawOptions) -> Options:
        return self._task.parse_options(raw)

    def load(self, path: Path, options: Any) -> Examples:
        return self._task.load(path, options)

    def build(self, options: Any) -> nn.Module:
        return Audited(self._task.build(options), self._shape, self._count)

    def tensors(self, options: Any) -> tuple[messages.Tensor, ...]:
        return trainable(self.build(options))

    def criterion(self, reduction: Reduction) -> nn.Module:
        if reduction != "none":
            raise ValueError("an audited loss is one value per record")
        return AuditedLoss(self._task.criterion("none"))

    def confusion(self, outputs: Tensor, targets: Tensor) -> NDArray[np.int64]:
        return self._task.confusion(outputs[:, :-2], targets)

    def signature(self, options: Any) -> dict[str, object]:
        return self._task.signature(options)


def with_canaries(real: Examples, included: NDArray[np.bool_]) -> Examples:
    """The real records, then one record per included canary; a new array, flat per record."""
    size = math.prod(real.inputs.shape[1:])
    chosen = np.flatnonzero(included)
    inputs = np.zeros((len(real) + len(chosen), size + len(included)), dtype=np.float32)
    inputs[: len(real), :size] = real.inputs.reshape(len(real), size)
    inputs[len(real) + np.arange(len(chosen)), size + chosen] = 1.0
    targets = np.concatenate([real.targets, np.zeros(len(chosen), dtype=np.int64)])
    return Examples(inputs, targets, real.classes)


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
