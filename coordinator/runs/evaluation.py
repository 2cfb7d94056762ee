"""The coordinator's own public test set: how good the model of a round is, and where it starts.

Only data the coordinator already holds; agents' held-out data are private (docs/design.md,
"Evaluation"). Imports torch, so it is loaded lazily by `coordinator serve`.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Self, cast

import numpy as np
import torch

from edgeveil.coordinator.records.gallery import MOST_PICTURE, MOST_PICTURES
from edgeveil.coordinator.records.records import Evaluation
from edgeveil.shared.base.errors import DataError
from edgeveil.shared.data.boxes.drawing import shown
from edgeveil.shared.data.boxes.sights import Sight
from edgeveil.shared.scores.metric import LOSS
from edgeveil.shared.tasks.batches import size, stacked, values
from edgeveil.shared.tasks.modules import read_vector, write_vector
from edgeveil.shared.tasks.records import Batch, Records
from edgeveil.shared.tasks.spec import Options, Showing, Task, tallied
from edgeveil.shared.terminal.progress import Step, progress
from edgeveil.shared.terminal.telling import say
from edgeveil.shared.vector.model_vector import Vector
from edgeveil.shared.wire.messages import Tensor

BATCH = 500  # records a forward pass; bounds memory, changes no result
BATCH_VALUES = 1 << 22  # of their inputs: 16 MB, or 85 pictures of 128×128 in colours


def initial_model(task: Task, options: Options) -> tuple[Vector, tuple[Tensor, ...]]:
    """The deterministic model of round 0 and the description of its vector."""
    tensors = task.tensors(options)
    return read_vector(task.build(options), tensors), tensors


class Evaluator:
    """Holds the test set in memory and scores one model vector at a time."""

    def __init__(self, task: Task, options: Options, path: Path, *, quiet: bool = False) -> None:
        """A record that cannot be used is left out, and the operator is told.

        Raises:
            DataError: `path` cannot be read as the task's data, or none of it can be used.
        """
        self._hold(task, options, task.load(path, options), quiet=quiet)
        left, why = len(self._records.skipped), self._why
        if len(self._records) == 0:
            raise DataError(f"{path}: cannot evaluate on this: {why}")
        if left and not quiet:
            say(f"{path}: evaluating on {len(self._records)} records; {self.left_out}")

    @classmethod
    def over(cls, task: Task, options: Options, records: Records) -> Self:
        """The same for records that are in memory already; says nothing."""
        made = cls.__new__(cls)
        made._hold(task, options, records, quiet=True)  # noqa: SLF001  its own
        return made

    def _hold(self, task: Task, options: Options, records: Records, *, quiet: bool) -> None:
        self._task, self._options, self._quiet = task, options, quiet
        self._tensors = task.tensors(options)
        self._module = task.build(options).eval()
        self._criterion = task.criterion("none")
        left = len(records.skipped)
        self._why = records.skipped[0] if left else "there is no record"
        self.left_out = f"{left} left out, the first because: {self._why}" if left else ""
        self._records = records

    @property
    def size(self) -> int:
        """How many records it holds."""
        return len(self._records)

    def evaluate(self, vector: Vector) -> dict[str, float]:
        """The task's metrics, the mean loss, and the number of examples."""
        return dict(self.examine(vector).metrics)

    def examine(self, vector: Vector) -> Evaluation:
        """The same metrics, and what the task keeps for its views; a bar shows how far it got."""
        with progress("evaluating the model", len(self._records), quiet=self._quiet) as step:
            return self._examine(vector, step)

    def _examine(self, vector: Vector, step: Step) -> Evaluation:
        write_vector(self._module, vector, self._tensors)
        loss, tally = 0.0, np.zeros((), np.int64)
        with torch.inference_mode():
            for inputs, targets in self._batches():
                outputs = self._module(inputs)
                loss += float(self._criterion(outputs, targets).double().sum())
                tally = tally + tallied(self._task, outputs, targets, self._options)  # (S,)
                step(size(targets))
        examples = len(self._records)
        metrics = {
            **self._task.metrics(tally, self._options),
            LOSS: loss / examples,
            "examples": float(examples),
        }
        found = self._pictures(self._sights())
        return Evaluation(metrics, self._task.keep(tally, self._options), found)

    def truth(self) -> tuple[bytes, ...]:
        """The records that an Evaluation shows, with what is in them; nothing where the task shows none."""
        return self._pictures([replace(each, found=each.truth) for each in self._sights()])

    def look(self, vector: Vector) -> tuple[bytes, ...]:
        """What a model finds in the same records, without any figure."""
        write_vector(self._module, vector, self._tensors)
        return self._pictures(self._sights())

    def _sights(self) -> list[Sight]:
        """A few records, evenly spread, and what the module as it is makes of them."""
        if not callable(getattr(self._task, "show", None)):
            return []
        task, count = cast("Showing", self._task), len(self._records)
        few = min(count, MOST_PICTURES)
        with torch.inference_mode():
            inputs, targets = self._records.take(np.arange(few) * count // few)
            return task.show(inputs, self._module(inputs), targets, self._options)

    @staticmethod
    def _pictures(sights: list[Sight]) -> tuple[bytes, ...]:
        """None at all where one is too large, for all galleries of a run show the same."""
        found = tuple(shown(each.pixels, each.found) for each in sights)
        return () if any(len(each) > MOST_PICTURE for each in found) else found

    def _batches(self) -> Iterator[tuple[Batch, Batch]]:
        """Records of unequal size go through the model one at a time, as in training."""
        rows = np.arange(len(self._records))
        first = self._records.take(rows[:1])
        alike = all(stacked(part) for part in first)
        each = min(BATCH, max(1, BATCH_VALUES // max(1, values(first[0])))) if alike else 1
        for at in range(0, len(rows), each):
            yield self._records.take(rows[at : at + each])
