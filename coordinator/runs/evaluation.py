"""The coordinator's own public test set: how good the model of a round is, and where it starts.

Only data the coordinator already holds; agents' held-out data are private (docs/design.md,
"Evaluation"). Imports torch, so it is loaded lazily by `coordinator serve`.
"""

from pathlib import Path

import torch

from edgeveil.coordinator.records.records import Evaluation
from edgeveil.shared.base.errors import DataError
from edgeveil.shared.scores.classification import scores
from edgeveil.shared.tasks.modules import read_vector, write_vector
from edgeveil.shared.tasks.spec import Options, Task
from edgeveil.shared.terminal.progress import Step, progress
from edgeveil.shared.vector.model_vector import Vector
from edgeveil.shared.wire.messages import Tensor

BATCH = 500  # records a forward pass; bounds memory, changes no result


def initial_model(task: Task, options: Options) -> tuple[Vector, tuple[Tensor, ...]]:
    """The deterministic model of round 0 and the description of its vector."""
    tensors = task.tensors(options)
    return read_vector(task.build(options), tensors), tensors


class Evaluator:
    """Holds the test set in memory and scores one model vector at a time."""

    def __init__(self, task: Task, options: Options, path: Path, *, quiet: bool = False) -> None:
        """Raises DataError if `path` cannot be read as the task's data or holds no record."""
        self._task, self._quiet = task, quiet
        self._tensors = task.tensors(options)
        self._module = task.build(options).eval()
        self._criterion = task.criterion("none")
        examples = task.load(path, options)
        if len(examples) == 0 or examples.skipped:
            why = examples.skipped[0] if examples.skipped else "there is no record"
            raise DataError(f"{path}: cannot evaluate on this: {why}")
        self._names = tuple(examples.classes)
        self._classes = len(self._names)
        self._inputs = torch.from_numpy(examples.inputs)
        self._targets = torch.from_numpy(examples.targets)

    def evaluate(self, vector: Vector) -> dict[str, float]:
        """accuracy, macro_f1 (both 0..1), mean loss in nats, and the number of examples."""
        return dict(self.examine(vector).metrics)

    def examine(self, vector: Vector) -> Evaluation:
        """The same metrics, and which class was taken for which; a bar shows how far it got."""
        with progress("evaluating the model", len(self._targets), quiet=self._quiet) as step:
            return self._examine(vector, step)

    def _examine(self, vector: Vector, step: Step) -> Evaluation:
        write_vector(self._module, vector, self._tensors)
        loss = 0.0
        matrix = torch.zeros(self._classes, self._classes, dtype=torch.int64).numpy()
        with torch.inference_mode():
            for at in range(0, len(self._targets), BATCH):
                targets = self._targets[at : at + BATCH]
                outputs = self._module(self._inputs[at : at + BATCH])
                loss += float(self._criterion(outputs, targets).double().sum())
                matrix += self._task.confusion(outputs, targets)
                step(len(targets))
        found = scores(matrix)
        examples = len(self._targets)
        metrics = {
            "accuracy": found.accuracy,
            "macro_f1": found.macro_f1,
            "loss": loss / examples,
            "examples": float(examples),
        }
        counts = tuple(tuple(int(cell) for cell in row) for row in matrix)
        return Evaluation(metrics, self._names, counts)
