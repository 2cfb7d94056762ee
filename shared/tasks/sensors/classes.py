"""What the tasks that sort records into classes share: loss, counts and figures; and those on columns their records."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edgeveil.shared.data.tabular.reading import Table
from edgeveil.shared.data.tabular.schema import TableSchema
from edgeveil.shared.scores.class_scores import kept
from edgeveil.shared.scores.classification import confusion, scores
from edgeveil.shared.tasks.modules import trainable
from edgeveil.shared.tasks.records import ArrayRecords, Batch
from edgeveil.shared.tasks.sensors import tables
from edgeveil.shared.tasks.spec import Reduction
from edgeveil.shared.wire.messages import Tensor


class LabelTask(ABC):
    """One of the options' classes for each record, whatever a record is."""

    @abstractmethod
    def build(self, options: Any) -> nn.Module: ...

    def tensors(self, options: Any) -> tuple[Tensor, ...]:
        return trainable(self.build(options))

    def criterion(self, reduction: Reduction) -> nn.Module:
        """Cross-entropy; with "none" each value depends on its own record only."""
        return nn.CrossEntropyLoss(reduction=reduction)

    def tally(
        self, outputs: torch.Tensor, targets: torch.Tensor, options: Any
    ) -> NDArray[np.int64]:
        """Confusion counts (K²,) of logits (N, K), row by row; a row of NaN counts as class 0."""
        predicted = torch.nan_to_num(outputs, nan=-torch.inf).argmax(dim=1)
        found = confusion(predicted.numpy(), targets.numpy(), len(options.class_names))
        return found.reshape(-1)

    def metrics(self, tally: NDArray[np.int64], options: Any) -> dict[str, float]:
        found = scores(_matrix(tally, options))
        return {"accuracy": found.accuracy, "macro_f1": found.macro_f1}

    def keep(self, tally: NDArray[np.int64], options: Any) -> dict[str, Any]:
        return kept(_matrix(tally, options), options.class_names)


class ClassTask(LabelTask):
    """Records with columns and one of the options' classes each."""

    @abstractmethod
    def inputs(self, values: tables.Values, options: Any) -> tables.Values:
        """What the model takes, (N, …), of values in -1..1, (N, C) or (N, T, C)."""

    def schema(self, options: Any) -> TableSchema:
        return tables.asked(options, options.class_names)

    def load(self, path: Path, options: Any) -> ArrayRecords:
        found, labels = tables.read(path, self.schema(options))
        return self.prepare(found, labels, options)

    def prepare(self, found: Table, labels: tuple[str, ...], options: Any) -> ArrayRecords:
        targets = tables.relabelled(found, labels, options.class_names)
        return tables.records(self.inputs(tables.scaled(found, options), options), targets, found)

    def probe(self, count: int, random: torch.Generator, options: Any) -> tuple[Batch, Batch]:
        shape = tuple(self.inputs(np.zeros((1, *self.schema(options).shape), np.float32), options).shape[1:])  # fmt: skip
        inputs = tables.normal((count, *shape), random)
        return inputs, torch.randint(len(options.class_names), (count,), generator=random)


def _matrix(tally: NDArray[np.int64], options: Any) -> NDArray[np.int64]:
    count = len(options.class_names)
    return tally.reshape(count, count)
