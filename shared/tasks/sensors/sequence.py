"""sensor-sequence: what a window of sensor values shows, by fixed statistics or a network over time.

`statistics`, a linear model on fixed public statistics, is the best choice for small federations: it beats
networks from scratch by far under noise. `cnn1d` has 11,943 parameters for six columns and seven classes,
`lstm` 18,887, `gru` 14,279. The recurrent ones are torch's own layers: an agent trains them in a form that
has gradients per record, with the same names and values (agent/training/recurrent.py).
"""

import math
from typing import Literal, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import nn

from edgeveil.shared.tasks import registry
from edgeveil.shared.tasks.augmentation import windows
from edgeveil.shared.tasks.augmentation.draws import Draws, RecordDropout
from edgeveil.shared.tasks.modules import empty, freeze_all_but, zero_linear
from edgeveil.shared.tasks.records import Batch
from edgeveil.shared.tasks.sensors import networks, statistics, tables
from edgeveil.shared.tasks.sensors.classes import ClassTask
from edgeveil.shared.tasks.spec import RawOptions, TaskSpec, parse

WIDTHS = (32, 64)
KERNEL = 5
GROUPS = 4
TURN = 2.0  # rad/s that count as much as 1 g
MOST_COLUMNS = 32  # of statistics, which grow with their square


class SequenceOptions(windows.WindowVariations, tables.LabelOptions):
    TRAINING = tables.LabelOptions.TRAINING | windows.NAMES

    variant: Literal["statistics", "cnn1d", "lstm", "gru"] = "statistics"
    window: int = Field(default=100, ge=statistics.LEAST_WINDOW, le=1024)
    hidden: int = Field(default=64, ge=2, le=512)  # of lstm and gru

    @model_validator(mode="after")
    def _model_is_small(self) -> Self:
        columns = len(self.ranges)
        if self.variant == "statistics" and columns > MOST_COLUMNS:
            raise ValueError(f"statistics take at most {MOST_COLUMNS} columns, not {columns}")
        if self.variant == "statistics":
            tables.check_size(len(self.class_names) * statistics.count(columns, motion=self.motion))
        if self.variant == "statistics" and self.varied:
            raise ValueError(
                f"{self.varied[0]}: statistics are computed once for each window, so windows cannot be "
                "varied from step to step; leave it out, or choose cnn1d, lstm or gru"
            )
        if self.jitter > self.window // 4:
            raise ValueError(f"jitter = {self.jitter}: at most a quarter of the window")
        return self

    @property
    def parts(self) -> tuple[str, ...]:
        return ("all",) if self.variant == "statistics" else ("all", "head")

    @property
    def motion(self) -> bool:
        """Whether the columns are three accelerations in g, then three rotations in rad/s."""
        return (
            tuple(each.column.unit for each in self.ranges) == statistics.MOTION
            and not self.signed_log
        )


class Convolutions(nn.Module):
    """(N, T, C) → logits: two convolutions over time, their mean, a linear head."""

    def __init__(self, columns: int, classes: int, dropout: int = 0) -> None:
        super().__init__()
        random = networks.starting()
        first, second = WIDTHS
        self.body = nn.Sequential(*_block(columns, first, random), *_block(first, second, random))
        self.dropout = RecordDropout(dropout)
        self.head = zero_linear(second, classes, bias=True)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        found = self.dropout(self.body(inputs.transpose(1, 2)).mean(dim=2))
        logits: torch.Tensor = self.head(found)
        return logits


class Recurrent(nn.Module):
    """(N, T, C) → logits: the mean over time of what a recurrent layer puts out, a linear head."""

    def __init__(
        self, kind: type[nn.LSTM | nn.GRU], columns: int, options: SequenceOptions
    ) -> None:
        super().__init__()
        random = networks.starting()
        hidden = options.hidden
        self.cell = empty(kind(columns, hidden, batch_first=True, device="meta"))
        bound = 1 / math.sqrt(hidden)
        for _, parameter in sorted(self.cell.named_parameters()):
            nn.init.uniform_(parameter, -bound, bound, generator=random)
        self.dropout = RecordDropout(options.dropout)
        self.head = zero_linear(hidden, len(options.class_names), bias=True)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.dropout(self.cell(inputs)[0].mean(dim=1)))
        return logits


class SensorSequence(ClassTask):
    spec: TaskSpec = registry.find("sensor-sequence", "1.0.0")

    def parse_options(self, raw: RawOptions) -> SequenceOptions:
        return parse(SequenceOptions, raw, self.spec.id)

    def inputs(self, values: tables.Values, options: SequenceOptions) -> tables.Values:
        if options.variant != "statistics":
            return values  # (N, T, C)
        found = statistics.described(_measured(values, options), motion=options.motion)
        return tables.with_bias(found)  # (N, 256) for motion

    def augment(
        self, inputs: Batch, targets: Batch, draws: Draws, options: SequenceOptions
    ) -> tuple[Batch, Batch]:
        return windows.varied(inputs, options, draws), targets

    def build(self, options: SequenceOptions) -> nn.Module:
        columns, classes = len(options.ranges), len(options.class_names)
        if options.variant == "statistics":
            count = statistics.count(columns, motion=options.motion)
            return zero_linear(count + 1, classes, bias=False)
        made: Convolutions | Recurrent
        if options.variant == "cnn1d":
            made = Convolutions(columns, classes, options.dropout)
        else:
            kind = nn.LSTM if options.variant == "lstm" else nn.GRU
            made = Recurrent(kind, columns, options)
        return freeze_all_but(made, made.head) if options.train == "head" else made

    def signature(self, options: SequenceOptions) -> dict[str, object]:
        kind = "motion" if options.motion else "plain"
        how = f"; fixed-v1: {kind} statistics, unit length, bias" * (
            options.variant == "statistics"
        )
        return {
            "input": {"kind": "windows", "columns": options.columns, "window": options.window},
            "preprocessing": f"{tables.scaling(options)}{how}",
            "output": "logits",
            "classes": list(options.class_names),
        }


def _measured(values: tables.Values, options: SequenceOptions) -> tables.Values:
    """Motion in g and in units of 2 rad/s again; all else stays in -1..1."""
    if not options.motion:
        return values
    half = np.array([(each.high - each.low) / 2 for each in options.ranges], np.float32)
    middle = np.array([(each.high + each.low) / 2 for each in options.ranges], np.float32)
    units = np.array([1, 1, 1, TURN, TURN, TURN], np.float32)
    return np.asarray((values * half + middle) / units, np.float32)


def _block(columns: int, width: int, random: torch.Generator) -> tuple[nn.Module, ...]:
    layer = empty(nn.Conv1d(columns, width, KERNEL, padding=KERNEL // 2, device="meta"))
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=random)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer, nn.GroupNorm(GROUPS, width), nn.ReLU(), nn.MaxPool1d(2)


TASK = SensorSequence()
