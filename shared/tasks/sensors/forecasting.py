"""forecasting: the value that one column of a window has some rows on, from the rows before.

A record is a window of rows, as on the devices; its last row holds the answer, and the last `ahead` rows
are not looked at. What is learned is the change since the last row that is: a model that has learned
nothing says that all stays as it is. The loss is that of tabular-regression.
"""

import math
from pathlib import Path
from typing import Literal, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import nn

from edgeveil.shared.data.tabular.columns import Column, Ranged, set_points
from edgeveil.shared.data.tabular.reading import Table
from edgeveil.shared.data.tabular.schema import TableSchema
from edgeveil.shared.tasks import registry
from edgeveil.shared.tasks.modules import empty, zero_linear
from edgeveil.shared.tasks.records import ArrayRecords, Batch
from edgeveil.shared.tasks.sensors import networks, statistics, tables
from edgeveil.shared.tasks.sensors.regression import NumberTask
from edgeveil.shared.tasks.spec import RawOptions, TaskSpec, parse

# Of statistics: rows before the last one, whose differences to it are inputs of their own, and the stretch of
# these, which are small where a sensor is read often.
RECENT, STRETCH = 8, 4.0
# Of changes: how many from row to row, their stretch, and that of the last row.
STEPS, STEEP, LEVEL = 4, 16.0, 4.0
LIMIT = 4.0  # of a number of changes: a single odd one does not take the whole length
MOST_COLUMNS = 32  # of statistics, which grow with their square


class ForecastOptions(tables.ColumnOptions):
    """`target`: `name [unit]`, one of the columns; `ahead`: rows from the last that is seen to the answer."""

    variant: Literal["changes", "statistics", "gru"] = "changes"
    target: str = Field(max_length=200)
    window: int = Field(default=100, ge=statistics.LEAST_WINDOW + 1, le=1024)
    ahead: int = Field(default=1, ge=1, le=1008)
    hidden: int = Field(default=32, ge=2, le=512)  # of gru

    @model_validator(mode="after")
    def _can_be_learned(self) -> Self:
        columns = [str(each.column) for each in self.ranges]
        if str(Column.parse(self.target)) not in columns:
            raise ValueError(f"the target {self.target} is none of the columns")
        if self.number.column.name in {each.column for each in set_points(self.signed_log)}:
            raise ValueError("signed_log: the target is foretold in its own unit")
        if self.seen < statistics.LEAST_WINDOW:
            raise ValueError(
                f"{self.seen} rows are left of a window of {self.window} before the last {self.ahead}; "
                f"at least {statistics.LEAST_WINDOW} are needed"
            )
        if self.variant == "statistics" and len(columns) > MOST_COLUMNS:
            raise ValueError(f"statistics take at most {MOST_COLUMNS} columns, not {len(columns)}")
        return self

    @property
    def seen(self) -> int:
        """Rows of a window that a model looks at."""
        return self.window - self.ahead

    @property
    def place(self) -> int:
        """Of the target among the columns."""
        return [str(each.column) for each in self.ranges].index(str(Column.parse(self.target)))

    @property
    def number(self) -> Ranged:
        return self.ranges[self.place]


class Change(nn.Module):
    """(N, 1 + F), the last value first → (N,): that value and what a linear model adds to it."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.head = zero_linear(inputs, 1, bias=False)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = inputs[:, 0] + self.head(inputs[:, 1:]).squeeze(1)
        return found


class RecurrentChange(nn.Module):
    """(N, T, C) → (N,): the last value, and what a linear head makes of the last state of a recurrent layer."""

    def __init__(self, columns: int, hidden: int, place: int) -> None:
        super().__init__()
        random = networks.starting()
        self.cell = empty(nn.GRU(columns, hidden, batch_first=True, device="meta"))
        bound = 1 / math.sqrt(hidden)
        for _, parameter in sorted(self.cell.named_parameters()):
            nn.init.uniform_(parameter, -bound, bound, generator=random)
        self.head = zero_linear(hidden, 1, bias=True)
        self._place = place

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        states = self.cell(inputs)[0]
        found: torch.Tensor = inputs[:, -1, self._place] + self.head(states[:, -1]).squeeze(1)
        return found


class Forecasting(NumberTask):
    spec: TaskSpec = registry.find("forecasting", "1.1.0")

    def parse_options(self, raw: RawOptions) -> ForecastOptions:
        return parse(ForecastOptions, raw, self.spec.id)

    def schema(self, options: ForecastOptions) -> TableSchema:
        return tables.asked(options)

    def load(self, path: Path, options: ForecastOptions) -> ArrayRecords:
        found, labels = tables.read(path, self.schema(options))
        return self.prepare(found, labels, options)

    def prepare(
        self, found: Table, _labels: tuple[str, ...], options: ForecastOptions
    ) -> ArrayRecords:
        values = tables.scaled(found, options)
        targets = np.ascontiguousarray(values[:, -1, options.place])
        return tables.records(_inputs(values[:, : options.seen], options), targets, found)

    def build(self, options: ForecastOptions) -> nn.Module:
        columns = len(options.ranges)
        if options.variant == "gru":
            return RecurrentChange(columns, options.hidden, options.place)
        if options.variant == "changes":
            return Change((STEPS + 1) * columns + 1)
        return Change(statistics.count(columns, motion=False) + (RECENT + 1) * columns + 1)

    def probe(
        self, count: int, random: torch.Generator, options: ForecastOptions
    ) -> tuple[Batch, Batch]:
        seen = np.zeros((1, options.seen, len(options.ranges)), np.float32)
        shape = _inputs(seen, options).shape[1:]
        return tables.normal((count, *shape), random), tables.normal((count,), random)

    def signature(self, options: ForecastOptions) -> dict[str, object]:
        how = {
            "changes": "; the last value, fixed-v1: last changes, last row, bias",
            "statistics": "; the last value, fixed-v1: plain statistics, last rows, bias",
            "gru": "",
        }
        return {
            "input": {"kind": "windows", "columns": options.columns, "window": options.seen},
            "preprocessing": tables.scaling(options) + how[options.variant],
            "output": f"number in -1..1 of {options.number}, {options.ahead} rows on",
        }


def _inputs(seen: tables.Values, options: ForecastOptions) -> tables.Values:
    """(N, T, C) → (N, 1 + F): the last value, then what describes the window, of a length of about one."""
    if options.variant == "gru":
        return seen
    if options.variant == "changes":
        return _changes(seen, options.place)
    last = seen[:, -1:, :]  # (N, 1, C)
    steps = np.clip(STRETCH * (last - seen[:, -1 - RECENT : -1]), -1, 1)
    rows = np.concatenate([steps, last], axis=1).reshape(len(seen), -1)
    near = rows / np.float32(math.sqrt(rows.shape[1]))
    known = seen[:, -1, options.place][:, None]
    whole = statistics.described(seen, motion=False) / 2
    return tables.with_bias(np.concatenate([known, whole, near], axis=1, dtype=np.float32))


def _changes(seen: tables.Values, place: int) -> tables.Values:
    """(N, T, C) → (N, 1 + F): the last value, then the last changes and the last row, of a length of at most one.

    Shorter where little changes, so that a still sensor learns little and disturbs no other.
    """
    steps = STEEP * np.diff(seen[:, -1 - STEPS :], axis=1)
    rows = np.concatenate([steps, LEVEL * seen[:, -1:]], axis=1).reshape(len(seen), -1)
    found = tables.with_bias(np.clip(rows, -LIMIT, LIMIT))
    found /= np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1)
    return np.concatenate([seen[:, -1, place][:, None], found], axis=1, dtype=np.float32)


TASK = Forecasting()
