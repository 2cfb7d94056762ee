"""What the checks look at: a task under options, with small data sets of its kind."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edgeveil.shared.tasks.batches import one, replaced, stacked, taken
from edgeveil.shared.tasks.conformance.layers import statistics_fault
from edgeveil.shared.tasks.modules import read_vector, write_vector
from edgeveil.shared.tasks.records import Batch, Records
from edgeveil.shared.tasks.spec import Task

COUNT = 9  # records of a data set, and of most batches
PLACE = 4  # of the record that is looked at alone, left out or spoiled
OTHERS = [at for at in range(COUNT) if at != PLACE]
SEED = 5  # public: these are test values, not noise
MOVE = 0.1  # standard deviation of what is added to the first weights

Write = Callable[[Path, int, int | None], Path]  # a data set of so many records, without that one


class Broken(Exception):
    """A task does not hold to a check; the sentence says what, and what to do."""


@dataclass(frozen=True)
class Subject:
    """`write` is None where nobody knows how to make records of the task's kind up."""

    task: Task
    options: Any
    write: Write | None

    def load(self, folder: Path, *, leave: int | None = None) -> Records:
        """COUNT records, or one fewer; raises Broken where none can be made up."""
        if self.write is None:
            raise Broken("records of this kind cannot be made up here")
        path = self.write(folder, COUNT, leave)
        return self.task.load(path, self.options)

    def moved(self) -> torch.nn.Module:
        """A module away from its first weights: zeros would hide a mixed batch. Raises Broken for BatchNorm."""
        module = self.task.build(self.options)
        if fault := statistics_fault(module):
            raise Broken(fault)
        tensors = self.task.tensors(self.options)
        start = read_vector(module, tensors)
        change = np.random.default_rng(3).normal(scale=MOVE, size=start.size)
        write_vector(module, start + change.astype(np.float32), tensors)
        return module

    def drawn(self, count: int = COUNT) -> tuple[Batch, Batch]:
        """Made-up inputs and targets."""
        return self.task.probe(count, torch.Generator().manual_seed(SEED), self.options)

    @property
    def one_shape(self) -> bool:
        """Whether many records go through the model at once; else they go one at a time."""
        return all(stacked(part) for part in self.drawn(1))


def gradient(subject: Subject, module: torch.nn.Module, batch: tuple[Batch, Batch], at: int) -> torch.Tensor:  # fmt: skip
    """(d,), float64: of the loss of the record in that place of the batch alone."""
    inputs, targets = batch
    losses = subject.task.criterion("none")(module(inputs), targets)
    if losses.dim() != 1:
        raise Broken(
            f"the loss has shape {tuple(losses.shape)}, not one value per record; let the criterion "
            'give (N,) for reduction="none"'
        )
    named = [(name, p) for name, p in sorted(module.named_parameters()) if p.requires_grad]
    found = torch.autograd.grad(losses[at], [p for _, p in named], allow_unused=True)
    for (name, _), part in zip(named, found, strict=True):
        if part is None:
            raise Broken(
                f"the trainable parameter {name} takes no part in the loss; freeze or remove it"
            )
    return torch.cat([part.flatten() for part in found if part is not None]).double()


def spoiled(batch: Batch, at: int) -> Batch:
    """The batch with NaN in the place of every number of one record."""
    return replaced(batch, at, _nans(one(batch, at)))


def _nans(batch: Batch) -> Batch:
    if isinstance(batch, tuple | list):
        parts = [_nans(part) for part in batch]
        return type(batch)(*parts) if hasattr(batch, "_fields") else type(batch)(parts)
    return torch.full_like(batch, torch.nan) if batch.is_floating_point() else batch


def alike(a: Batch, b: Batch, *, relative: float = 0.0, absolute: float = 0.0) -> bool:
    """Equal bit for bit, or within these tolerances, the absolute one of the largest value above 1; NaN equals nothing."""
    if isinstance(a, tuple | list):
        pairs = zip(a, b, strict=True)
        return len(a) == len(b) and all(alike(x, y, relative=relative, absolute=absolute) for x, y in pairs)  # fmt: skip
    if relative == absolute == 0.0:
        return torch.equal(a, b)
    most = max(1.0, float(b.abs().max())) if b.numel() else 1.0  # pixels are larger than logits
    return a.shape == b.shape and torch.allclose(a, b, rtol=relative, atol=absolute * most)


def part(batch: Batch, places: list[int]) -> Batch:
    return taken(batch, places)
