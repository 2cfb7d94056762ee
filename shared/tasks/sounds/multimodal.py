"""multimodal: which class a picture and a recording of the same moment show together.

Late fusion: each sense has its own fixed public features (shared/tasks/features.py, shared/tasks/sounds/
features.py) and its own linear head, and the logits of both are added. The features have the same length,
so that neither sense drowns the other, and together length 1.
"""

import math
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import nn

from edgeveil.shared.data.sounds.pairs import Pairs, PairSchema
from edgeveil.shared.tasks import registry
from edgeveil.shared.tasks.features import feature_count, fixed_features
from edgeveil.shared.tasks.modules import zero_linear
from edgeveil.shared.tasks.records import ArrayRecords, Batch
from edgeveil.shared.tasks.sensors import tables
from edgeveil.shared.tasks.sensors.classes import LabelTask
from edgeveil.shared.tasks.sounds import features
from edgeveil.shared.tasks.sounds.command import SoundOptions
from edgeveil.shared.tasks.spec import RawOptions, TaskSpec, parse

SHARE = 1 / math.sqrt(2)  # length of the features of each sense
SIDE = 4  # both sides of a picture are multiples of it


class PairOptions(SoundOptions):
    """A picture's height, width and channels beside what a recording has."""

    variant: Literal["late"] = "late"
    height: int = Field(default=28, ge=8, le=512, multiple_of=SIDE)
    width: int = Field(default=28, ge=8, le=512, multiple_of=SIDE)
    channels: Literal[1, 3] = 1

    @property
    def inputs(self) -> int:
        """Numbers of one record, the bias among them."""
        seen = feature_count(self.height, self.width, self.channels) - 1
        return seen + features.statistics_count() + 1

    @property
    def largest(self) -> int:
        return len(self.class_names) * self.inputs


class Multimodal(LabelTask):
    spec: TaskSpec = registry.find("multimodal", "1.0.0")

    def parse_options(self, raw: RawOptions) -> PairOptions:
        return parse(PairOptions, raw, self.spec.id)

    def schema(self, options: PairOptions) -> PairSchema:
        picture = (options.height, options.width, options.channels)
        return PairSchema(picture, options.rate, options.length_ms, options.class_names)

    def load(self, path: Path, options: PairOptions) -> ArrayRecords:
        asked = self.schema(options)
        return self.prepare(asked.read(path), asked.labels, options)

    def prepare(self, found: Pairs, labels: tuple[str, ...], options: PairOptions) -> ArrayRecords:
        places = {name: index for index, name in enumerate(options.class_names)}
        targets = np.array([places[name] for name in labels], np.int64)[found.targets]
        inputs = self.inputs(found.pixels, found.samples, options)
        return ArrayRecords(inputs, targets, found.skipped)

    def inputs(
        self, pixels: features.Values, samples: features.Values, options: PairOptions
    ) -> features.Values:
        """(N, options.inputs) of pixels (N, H, W[, 3]) in 0..1 and samples (N, length) in -1..1."""
        seen = fixed_features(pixels)[:, :-1]  # its own bias is the last
        heard = features.statistics(samples, options.rate)
        return tables.with_bias(np.concatenate([seen, heard], axis=1) * np.float32(SHARE))

    def build(self, options: PairOptions) -> nn.Module:
        """Both heads as one: a sum of linear maps of two parts is a linear map of the whole."""
        return zero_linear(options.inputs, len(options.class_names), bias=False)

    def probe(
        self, count: int, random: torch.Generator, options: PairOptions
    ) -> tuple[Batch, Batch]:
        inputs = tables.normal((count, options.inputs), random)
        return inputs, torch.randint(len(options.class_names), (count,), generator=random)

    def signature(self, options: PairOptions) -> dict[str, object]:
        return {
            "input": {
                "kind": "pair",
                "picture": [options.height, options.width, options.channels],
                "rate": options.rate,
                "length_ms": options.length_ms,
            },
            "preprocessing": "pixels in 0..1 row by row, then samples in -1..1; fixed-v1 and sounds-v1, bias",
            "output": "logits",
            "classes": list(options.class_names),
        }


TASK = Multimodal()
