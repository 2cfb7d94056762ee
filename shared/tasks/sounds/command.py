"""audio-command: which word or sound a recording holds, by fixed features or a small network.

`statistics`, a linear model on fixed public features, is the best choice for small federations; `cnn` looks
at the spectrum itself: two convolutions, what they find averaged over three parts of the time and five of
the frequencies, a linear head.
"""

from pathlib import Path
from typing import Literal, Self

import numpy as np
import torch
from pydantic import Field, field_validator, model_validator
from torch import nn

from edgeveil.shared.data.sounds.schema import (
    LENGTH_MS,
    LONGEST_MS,
    SHORTEST_MS,
    Sounds,
    SoundSchema,
)
from edgeveil.shared.tasks import registry
from edgeveil.shared.tasks.modules import empty, zero_linear
from edgeveil.shared.tasks.records import ArrayRecords, Batch
from edgeveil.shared.tasks.sensors import networks, tables
from edgeveil.shared.tasks.sensors.classes import LabelTask
from edgeveil.shared.tasks.sounds import features
from edgeveil.shared.tasks.spec import Options, RawOptions, TaskSpec, parse

WIDTHS, GROUPS, POOL = (16, 32), 4, 2
TIMES, PITCHES = 3, 5  # parts over which the network's findings are averaged
PREPROCESSING = {
    "statistics": "sounds-v1: mel spectrum in twice 8 parts of equal loudness, cosine transform, unit length, bias",
    "cnn": "sounds-v1: logarithms of a mel spectrum, 40 bands every 16 ms",
}


class SoundOptions(Options):
    """`labels`: the classes, comma-separated, in the order of their indices; also the names of their folders."""

    labels: str = Field(max_length=8192)
    rate: Literal[8000, 11025, 16000, 22050, 24000] = 16000
    length_ms: int = Field(default=LENGTH_MS, ge=SHORTEST_MS, le=LONGEST_MS)

    @field_validator("labels")
    @classmethod
    def _usable_labels(cls, value: str) -> str:
        names = tables.usable_labels(value, least=2)
        for name in names.split(","):
            if name[0] == "." or set(name) & set("/\\"):
                raise ValueError(f"{name!r} cannot be the name of a class folder")
        return names

    @model_validator(mode="after")
    def _model_is_small(self) -> Self:
        tables.check_size(self.largest)
        return self

    @property
    def class_names(self) -> tuple[str, ...]:
        return tuple(self.labels.split(","))

    @property
    def largest(self) -> int:
        """About the parameters of any variant."""
        return len(self.class_names) * max(WIDTHS[1] * TIMES * PITCHES, features.statistics_count())


class CommandOptions(SoundOptions):
    variant: Literal["statistics", "cnn"] = "statistics"


class Convolutions(nn.Module):
    """(N, T, BANDS) → logits."""

    def __init__(self, times: int, classes: int) -> None:
        super().__init__()
        random = networks.starting()
        first, second = WIDTHS
        self.body = nn.Sequential(*_block(1, first, random), *_block(first, second, random))
        left = (times // POOL**2 // TIMES, features.BANDS // POOL**2 // PITCHES)
        self.parts = nn.AvgPool2d(left)
        self.head = zero_linear(second * TIMES * PITCHES, classes, bias=True)

    def forward(self, spectra: torch.Tensor) -> torch.Tensor:
        found = self.parts(self.body(spectra.unsqueeze(1)))  # (N, C, ≥ TIMES, PITCHES)
        logits: torch.Tensor = self.head(found.narrow(2, 0, TIMES).flatten(1))
        return logits


class AudioCommand(LabelTask):
    spec: TaskSpec = registry.find("audio-command", "1.0.0")

    def parse_options(self, raw: RawOptions) -> CommandOptions:
        return parse(CommandOptions, raw, self.spec.id)

    def schema(self, options: CommandOptions) -> SoundSchema:
        return SoundSchema(options.rate, options.length_ms, options.class_names)

    def load(self, path: Path, options: CommandOptions) -> ArrayRecords:
        asked = self.schema(options)
        return self.prepare(asked.read(path), asked.labels, options)

    def prepare(
        self, found: Sounds, labels: tuple[str, ...], options: CommandOptions
    ) -> ArrayRecords:
        places = {name: index for index, name in enumerate(options.class_names)}
        targets = np.array([places[name] for name in labels], np.int64)[found.targets]
        return ArrayRecords(self.inputs(found.samples, options), targets, found.skipped)

    def inputs(self, samples: features.Values, options: CommandOptions) -> features.Values:
        """(N, 225), or (N, T, BANDS) for the network, of samples (N, length) in -1..1."""
        if options.variant == "cnn":
            return features.picture(samples, options.rate)
        return tables.with_bias(features.statistics(samples, options.rate))

    def build(self, options: CommandOptions) -> nn.Module:
        classes = len(options.class_names)
        if options.variant == "cnn":
            times = features.frames(options.rate, self.schema(options).length)
            return Convolutions(times, classes)
        return zero_linear(features.statistics_count() + 1, classes, bias=False)

    def probe(
        self, count: int, random: torch.Generator, options: CommandOptions
    ) -> tuple[Batch, Batch]:
        times = features.frames(options.rate, self.schema(options).length)
        cnn = options.variant == "cnn"
        shape = (times, features.BANDS) if cnn else (features.statistics_count() + 1,)
        inputs = tables.normal((count, *shape), random)
        return inputs, torch.randint(len(options.class_names), (count,), generator=random)

    def signature(self, options: CommandOptions) -> dict[str, object]:
        return {
            "input": {"kind": "sound", "rate": options.rate, "length_ms": options.length_ms},
            "preprocessing": PREPROCESSING[options.variant],
            "output": "logits",
            "classes": list(options.class_names),
        }


def _block(channels: int, width: int, random: torch.Generator) -> tuple[nn.Module, ...]:
    layer = empty(nn.Conv2d(channels, width, 3, padding=1, device="meta"))
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=random)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer, nn.GroupNorm(GROUPS, width), nn.ReLU(), nn.MaxPool2d(POOL)


TASK = AudioCommand()
