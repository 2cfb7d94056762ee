"""multimodal: which class a picture, a recording and a window of sensor values of the same moment show together.

Late fusion: each sense has its own fixed public features (shared/tasks/features.py, shared/tasks/sounds/
features.py, shared/tasks/sensors/statistics.py) and its own linear head, and the logits of all are added. The
features have the same length, so that no sense drowns another, and together length 1.
"""

import math
from pathlib import Path
from typing import Literal, Self

import numpy as np
import torch
from pydantic import Field, field_validator, model_validator
from torch import nn

from edgeveil.shared.data.sounds.pair_table import SENSES
from edgeveil.shared.data.sounds.pairs import Pairs, PairSchema
from edgeveil.shared.data.tabular.columns import Ranged, ranged
from edgeveil.shared.tasks import registry
from edgeveil.shared.tasks.features import feature_count, fixed_features
from edgeveil.shared.tasks.modules import zero_linear
from edgeveil.shared.tasks.records import ArrayRecords, Batch
from edgeveil.shared.tasks.sensors import statistics, tables
from edgeveil.shared.tasks.sensors.classes import LabelTask
from edgeveil.shared.tasks.sounds import features
from edgeveil.shared.tasks.sounds.command import SoundOptions
from edgeveil.shared.tasks.spec import RawOptions, TaskSpec, parse

SIDE = 4  # both sides of a picture are multiples of it
MOST_COLUMNS = 32  # of statistics, which grow with their square
UNITS = np.array([1, 1, 1, 2, 2, 2], np.float32)  # of motion: 2 rad/s count as much as 1 g


class PairOptions(SoundOptions):
    """`senses`: two or three of image, sound, window, comma-separated. A picture's height, width and channels
    beside what a recording has; `columns` and `window` as of sensor-sequence.
    """

    variant: Literal["late"] = "late"
    senses: str = "image,sound"
    height: int = Field(default=28, ge=8, le=512, multiple_of=SIDE)
    width: int = Field(default=28, ge=8, le=512, multiple_of=SIDE)
    channels: Literal[1, 3] = 1
    columns: str = Field(default="", max_length=8192)
    window: int = Field(default=0, ge=0, le=1024)

    @field_validator("senses")
    @classmethod
    def _in_their_order(cls, value: str) -> str:
        named = [each.strip() for each in value.split(",")]
        known = [each for each in SENSES if each in named]
        if len(known) < 2 or sorted(known) != sorted(named):
            raise ValueError(f"{value!r}: two or three of {', '.join(SENSES)}, each once")
        return ",".join(known)

    @field_validator("columns")
    @classmethod
    def _usable_columns(cls, value: str) -> str:
        return ", ".join(str(each) for each in ranged(value)) if value else ""

    @model_validator(mode="after")
    def _window_has_columns(self) -> Self:
        felt = "window" in self.named
        if (bool(self.columns), bool(self.window)) != (felt, felt):
            raise ValueError(
                "columns and window say what a window is: give both where senses has it, else neither"
            )
        if felt and self.window < statistics.LEAST_WINDOW:
            raise ValueError(
                f"window = {self.window}: statistics take {statistics.LEAST_WINDOW} to 1024 rows"
            )
        if len(self.ranges) > MOST_COLUMNS:
            raise ValueError(
                f"statistics take at most {MOST_COLUMNS} columns, not {len(self.ranges)}"
            )
        return self

    @property
    def named(self) -> tuple[str, ...]:
        return tuple(self.senses.split(","))

    @property
    def ranges(self) -> tuple[Ranged, ...]:
        return ranged(self.columns) if self.columns else ()

    @property
    def motion(self) -> bool:
        """As of sensor-sequence."""
        return tuple(each.column.unit for each in self.ranges) == statistics.MOTION

    @property
    def sizes(self) -> dict[str, int]:
        """Features of each sense."""
        found = {
            "image": feature_count(self.height, self.width, self.channels) - 1,
            "sound": features.statistics_count(),
            "window": statistics.count(len(self.ranges), motion=self.motion),
        }
        return {name: found[name] for name in self.named}

    @property
    def inputs(self) -> int:
        """Numbers of one record, the bias among them."""
        return sum(self.sizes.values()) + 1

    @property
    def share(self) -> float:
        """Length of the features of each sense."""
        return 1 / math.sqrt(len(self.named))

    @property
    def largest(self) -> int:
        return len(self.class_names) * self.inputs


class Multimodal(LabelTask):
    spec: TaskSpec = registry.find("multimodal", "1.0.0")

    def parse_options(self, raw: RawOptions) -> PairOptions:
        return parse(PairOptions, raw, self.spec.id)

    def schema(self, options: PairOptions) -> PairSchema:
        named = options.named
        seen = (options.height, options.width, options.channels) if "image" in named else ()
        heard = (options.rate, options.length_ms) if "sound" in named else (0, 0)
        columns = tuple(str(each.column) for each in options.ranges)
        return PairSchema(seen, *heard, options.class_names, columns, options.window)

    def load(self, path: Path, options: PairOptions) -> ArrayRecords:
        asked = self.schema(options)
        return self.prepare(asked.read(path), asked.labels, options)

    def prepare(self, found: Pairs, labels: tuple[str, ...], options: PairOptions) -> ArrayRecords:
        places = {name: index for index, name in enumerate(options.class_names)}
        targets = np.array([places[name] for name in labels], np.int64)[found.targets]
        return ArrayRecords(self.inputs(found, options), targets, found.skipped)

    def inputs(self, found: Pairs, options: PairOptions) -> features.Values:
        """(N, options.inputs)."""
        told = [self.described(name, found, options) for name in options.named]
        return tables.with_bias(np.concatenate(told, axis=1) * np.float32(options.share))

    def described(self, name: str, found: Pairs, options: PairOptions) -> features.Values:
        """(N, …) of one sense, of length 1 each."""
        part = found.parts[name]
        if name == "image":
            return fixed_features(part)[:, :-1]  # its own bias is the last
        if name == "sound":
            return features.statistics(part, options.rate)
        cut, scaled = tables.in_ranges(part, found.columns, options.ranges)
        values = cut / UNITS if options.motion else scaled
        return statistics.described(values, motion=options.motion)

    def build(self, options: PairOptions) -> nn.Module:
        """All heads as one: a sum of linear maps of parts is a linear map of the whole."""
        return zero_linear(options.inputs, len(options.class_names), bias=False)

    def probe(
        self, count: int, random: torch.Generator, options: PairOptions
    ) -> tuple[Batch, Batch]:
        inputs = tables.normal((count, options.inputs), random)
        return inputs, torch.randint(len(options.class_names), (count,), generator=random)

    def signature(self, options: PairOptions) -> dict[str, object]:
        seen = {"picture": [options.height, options.width, options.channels]}
        heard = {"rate": options.rate, "length_ms": options.length_ms}
        felt = {"columns": options.columns, "window": options.window}
        told: dict[str, dict[str, object]] = {
            "image": {**seen},
            "sound": {**heard},
            "window": {**felt},
        }
        before = {
            "image": "pixels in 0..1 row by row",
            "sound": "samples in -1..1",
            "window": "values row by row, -1..1 by range",
        }
        raw = ", then ".join(before[name] for name in options.named)
        kinds = {"image": "fixed-v1", "sound": "sounds-v1", "window": "statistics of a window"}
        made = ", ".join(kinds[name] for name in options.named)
        return {
            "input": {
                "kind": "pair",
                **{k: v for name in options.named for k, v in told[name].items()},
            },
            "preprocessing": f"{raw}; {made}, bias",
            "output": "logits",
            "classes": list(options.class_names),
        }


TASK = Multimodal()
