"""What the tasks that sort records into classes share, and those on columns their records."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from edgeveil.shared.data.tabular.reading import Table
from edgeveil.shared.data.tabular.schema import TableSchema
from edgeveil.shared.tasks.classes import Classes
from edgeveil.shared.tasks.modules import trainable
from edgeveil.shared.tasks.records import ArrayRecords, Batch
from edgeveil.shared.tasks.sensors import tables
from edgeveil.shared.wire.messages import Tensor


class LabelTask(Classes, ABC):
    """One of the options' classes for each record, whatever a record is."""

    @abstractmethod
    def build(self, options: Any) -> nn.Module: ...

    def tensors(self, options: Any) -> tuple[Tensor, ...]:
        return trainable(self.build(options))


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
