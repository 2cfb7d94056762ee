"""tabular-regression: a number from a row of columns, by a linear model or a perceptron.

The target is brought to -1..1 by its range in the plan. The loss is the squared error whose slope is cut
at an error of half the range (Huber 1964), so that one odd record pulls no harder than another.
"""

import math
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator
from torch import nn

from edgeveil.shared.data.tabular.columns import Ranged
from edgeveil.shared.data.tabular.reading import Table
from edgeveil.shared.data.tabular.schema import TableSchema
from edgeveil.shared.scores import regression as scores
from edgeveil.shared.scores.tallies import Tallies, TallyForm
from edgeveil.shared.tasks import registry
from edgeveil.shared.tasks.modules import trainable, zero_linear
from edgeveil.shared.tasks.records import ArrayRecords, Batch
from edgeveil.shared.tasks.sensors import networks, tables
from edgeveil.shared.tasks.spec import RawOptions, Reduction, TaskSpec, parse
from edgeveil.shared.wire.messages import Tensor


class RegressionOptions(tables.ColumnOptions):
    """`target`: `name [unit] low..high`."""

    variant: Literal["linear", "mlp"] = "linear"
    target: str = Field(max_length=200)
    hidden: int = Field(default=32, ge=2, le=1024)

    @field_validator("target")
    @classmethod
    def _usable_target(cls, value: str) -> str:
        return str(Ranged.parse(value))

    @model_validator(mode="after")
    def _model_is_small(self) -> Self:
        if self.number.column.name in {each.column.name for each in self.ranges}:
            raise ValueError("the target is one of the columns too")
        tables.check_size(networks.perceptron_size(len(self.ranges), self.hidden, 1))
        return self

    @property
    def parts(self) -> tuple[str, ...]:
        return ("all", "head") if self.variant == "mlp" else ("all",)

    @property
    def number(self) -> Ranged:
        return Ranged.parse(self.target)


class Flat(nn.Module):
    """(N, 1) → (N,)."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return values.squeeze(1)


class NumberTask(ABC):
    """Records with columns, and a number in the range that `options.number` has."""

    @abstractmethod
    def build(self, options: Any) -> nn.Module: ...

    def tensors(self, options: Any) -> tuple[Tensor, ...]:
        return trainable(self.build(options))

    def criterion(self, reduction: Reduction) -> nn.Module:
        return nn.HuberLoss(reduction=reduction, delta=1.0)

    def tally_form(self, _options: Any) -> TallyForm:
        return scores.FORM

    def tallies(self, outputs: torch.Tensor, targets: torch.Tensor, _options: Any) -> Tallies:
        predicted, wanted = ((each.double().numpy() + 1) / 2 for each in (outputs, targets))
        return scores.parts(predicted, wanted)

    def metrics(self, tally: NDArray[np.int64], options: Any) -> dict[str, float]:
        return scores.errors(tally, options.number.high - options.number.low)

    def keep(self, tally: NDArray[np.int64], options: Any) -> dict[str, Any]:
        number = options.number
        mean = number.low + scores.mean(tally) * (number.high - number.low)
        found = {"target": str(number.column), "mean": mean, **self.metrics(tally, options)}
        return {scores.KEPT: found}


class TabularRegression(NumberTask):
    spec: TaskSpec = registry.find("tabular-regression", "1.0.0")

    def parse_options(self, raw: RawOptions) -> RegressionOptions:
        return parse(RegressionOptions, raw, self.spec.id)

    def schema(self, options: RegressionOptions) -> TableSchema:
        return tables.asked(options, target=str(options.number.column))

    def load(self, path: Path, options: RegressionOptions) -> ArrayRecords:
        found, labels = tables.read(path, self.schema(options))
        return self.prepare(found, labels, options)

    def prepare(
        self, found: Table, _labels: tuple[str, ...], options: RegressionOptions
    ) -> ArrayRecords:
        low, high = options.number.low, options.number.high
        shares = (np.clip(found.numbers, low, high) - low) / (high - low)
        targets = np.asarray(shares * 2 - 1, np.float32)
        return tables.records(_inputs(tables.scaled(found, options), options), targets, found)

    def build(self, options: RegressionOptions) -> nn.Module:
        columns = len(options.ranges)
        if options.variant == "mlp":
            made = networks.perceptron(columns, options.hidden, 1, train=options.train)
            return nn.Sequential(made, Flat())
        return nn.Sequential(zero_linear(columns + 1, 1, bias=False), Flat())

    def probe(
        self, count: int, random: torch.Generator, options: RegressionOptions
    ) -> tuple[Batch, Batch]:
        columns = len(options.ranges) + (options.variant == "linear")
        return tables.normal((count, columns), random), tables.normal((count,), random)

    def signature(self, options: RegressionOptions) -> dict[str, object]:
        return {
            "input": {"kind": "table", "columns": options.columns},
            "preprocessing": tables.scaling(options)
            + (
                ", divided by the root of the number of columns, bias 0.3"
                * (options.variant == "linear")
            ),
            "output": f"number in -1..1 of {options.target}",
        }


def _inputs(values: tables.Values, options: RegressionOptions) -> tables.Values:
    if options.variant == "mlp":
        return values
    return tables.with_bias(values / np.float32(math.sqrt(values.shape[1])))


TASK = TabularRegression()
