"""What the image classification tasks share: options, records and input schema."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

from edgeveil.shared.data.images import Images, relabelled
from edgeveil.shared.data.schema import IMAGES, Schema
from edgeveil.shared.data.tree import nfc
from edgeveil.shared.tasks.classes import Classes
from edgeveil.shared.tasks.records import ArrayRecords, Batch
from edgeveil.shared.tasks.spec import Options

MAX_LABEL = 40  # characters of one class name
MAX_OUTPUTS = 1 << 23  # classes × values of an image; at most 17 million parameters in any variant
STRIDE = 4  # both sides of an image must be multiples of it: two poolings, or 4×4 cells


class ImageOptions(Options):
    """Options of an image task; each subclass names its variants.

    `labels` are the class names, comma-separated, in the order of the indices; without it the
    classes are called "0", "1", …. They are also the folder names of an image folder, in NFC.
    `channels` is 1 for grey, 3 for red, green and blue.
    """

    classes: int = Field(default=10, ge=2, le=1000)
    height: int = Field(default=28, ge=8, le=512, multiple_of=STRIDE)
    width: int = Field(default=28, ge=8, le=512, multiple_of=STRIDE)
    labels: str = Field(default="", max_length=8192)
    channels: Literal[1, 3] = 1

    @field_validator("labels")
    @classmethod
    def _usable_names(cls, value: str) -> str:
        value = nfc(value) or ""
        names = value.split(",") if value else []
        for name in names:
            usable = name.isprintable() and name == name.strip() and name[:1] != "."
            if not 1 <= len(name) <= MAX_LABEL or not usable or set(name) & set("/\\"):
                raise ValueError(f"{name!r} cannot be the name of a class folder")
        if len(set(names)) != len(names):
            raise ValueError("a class is named twice")
        return value

    @model_validator(mode="after")
    def _counts_agree(self) -> Self:
        if self.labels and len(self.class_names) != self.classes:
            raise ValueError(f"labels names {len(self.class_names)} classes, not {self.classes}")
        return self

    @model_validator(mode="after")
    def _model_is_small(self) -> Self:
        # Before anything is built: the coordinator chooses these numbers.
        if self.classes * self.values > MAX_OUTPUTS:
            raise ValueError(f"classes × height × width × channels is above {MAX_OUTPUTS}")
        return self

    @property
    def values(self) -> int:
        """Of one record, for the size of the model."""
        return self.height * self.width * self.channels

    @property
    def class_names(self) -> tuple[str, ...]:
        if self.labels:
            return tuple(self.labels.split(","))
        return tuple(str(index) for index in range(self.classes))


class ImageTask(Classes, ABC):
    """What all of them share, whatever the model."""

    def schema(self, options: ImageOptions) -> Schema:
        shape = (options.height, options.width, options.channels)
        return Schema(IMAGES, shape, options.class_names)

    def load(self, path: Path, options: Any) -> ArrayRecords:
        asked = self.schema(options)
        return self.prepare(asked.read(path), asked.labels, options)

    def prepare(self, found: Images, labels: tuple[str, ...], options: Any) -> ArrayRecords:
        """Records that were read under other labels, as this task takes them; all of them."""
        mapped = relabelled(found, labels, options.class_names)
        return ArrayRecords(self.inputs(mapped.pixels, options), mapped.targets, mapped.skipped)

    @abstractmethod
    def inputs(self, pixels: NDArray[np.float32], options: Any, /) -> NDArray[np.float32]:
        """What the model takes, (N, …), of pixels (N, H, W) or (N, H, W, 3) in 0..1."""


def probe(
    count: int, shape: tuple[int, ...], random: torch.Generator, options: ImageOptions
) -> tuple[Batch, Batch]:
    """Made-up inputs (count, *shape) and classes."""
    inputs = torch.randn((count, *shape), generator=random)
    return inputs, torch.randint(options.classes, (count,), generator=random)


def schema(options: ImageOptions, preprocessing: str) -> dict[str, object]:
    """`preprocessing` says what happens to the values, whatever colours they have."""
    return {
        "input": {
            "kind": "image",
            "channels": options.channels,
            "height": options.height,
            "width": options.width,
            "range": [0.0, 1.0],
        },
        "preprocessing": f"{'grey' if options.channels == 1 else 'RGB'} {preprocessing}",
        "output": "logits",
        "classes": list(options.class_names),
    }
