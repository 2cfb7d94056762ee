"""Options of a detector: classes, the side of its pictures, anchors. All public, all bounded."""

import math
from dataclasses import dataclass
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from edgeveil.shared.data.tree import nfc
from edgeveil.shared.tasks.spec import Options

MOST_LABEL = 40  # characters of one class name
MOST_CLASSES = 100
MOST_BOXES = 64  # of one picture
MOST_ANCHORS = 5  # of one scale
STRIDES = {"lite": (8, 16), "tiny": (16, 32), "full": (8, 16, 32)}
WIDTHS = {"1/4": 0.25, "1/2": 0.5, "1": 1.0}
# Width × height in pixels of a picture of that side, finest scale first. Those of `tiny` and `full` are the
# published ones of YOLOv3 (Redmon and Farhadi 2018, arXiv 1804.02767); clusters of private boxes would leak them.
ANCHORS = {
    "lite": (128, "10x18,18x14,15x32|30x18,45x26,64x32"),
    "tiny": (416, "10x14,23x27,37x58|81x82,135x169,344x319"),
    "full": (416, "10x13,16x30,33x23|30x61,62x45,59x119|116x90,156x198,373x326"),
}
Size = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Scale:
    """One grid of a detector: `side` × `side` cells of `stride` pixels, with anchors (width, height) in pixels."""

    stride: int
    side: int
    anchors: tuple[Size, ...]


class BoxOptions(Options):
    """`labels` are the classes, comma-separated, in the order of their indices.

    `size` is the side of the square that pictures are fitted into. `train` "classes" trains what tells
    classes apart and nothing else.
    """

    labels: str = Field(max_length=8192)
    size: int = Field(default=416, ge=64, le=640, multiple_of=32)
    boxes_max: int = Field(default=MOST_BOXES, ge=1, le=MOST_BOXES)
    TRAINING = Options.TRAINING | {"boxes_max"}

    @field_validator("labels")
    @classmethod
    def _usable_labels(cls, value: str) -> str:
        names = (nfc(value) or "").split(",")
        for name in names:
            if not 1 <= len(name) <= MOST_LABEL or not name.isprintable() or name != name.strip():
                raise ValueError(f"{name!r} cannot be the name of a class")
        if len(set(names)) != len(names):
            raise ValueError("a class is named twice")
        if len(names) > MOST_CLASSES:
            raise ValueError(f"{len(names)} classes, at most {MOST_CLASSES}")
        return ",".join(names)

    @property
    def parts(self) -> tuple[str, ...]:
        """What `train` may be."""
        return ("all", "classes")

    @property
    def class_names(self) -> tuple[str, ...]:
        return tuple(self.labels.split(","))


class DetectionOptions(BoxOptions):
    """`width` thins the network; "" is that
    of the variant: ¼ for `tiny`, 1 for the others. `anchors` are `width`x`height` in pixels of the square,
    finest scale first, scales divided by `|`; "" takes those of the variant, scaled to `size`.
    `vary` shows pictures in training
    mirrored, nearer, moved and brighter, each by chance of its own; with `train` "classes" as they are.
    """

    variant: Literal["lite", "tiny", "full"] = "lite"
    width: Literal["", "1/4", "1/2", "1"] = ""
    anchors: str = Field(default="", max_length=512)
    loss: Literal["ciou", "classic"] = "ciou"
    TRAINING = BoxOptions.TRAINING | {"loss", "vary"}

    train: Literal["all", "classes"] = "all"
    vary: bool = True

    @model_validator(mode="after")
    def _anchors_fit(self) -> Self:
        scales, wanted = self.scales, len(STRIDES[self.variant])
        if len(scales) != wanted:
            raise ValueError(f"anchors for {len(scales)} scales; {self.variant} has {wanted}")
        return self

    @property
    def thinned(self) -> float:
        """What the channels of the network are multiplied with."""
        return WIDTHS[self.width or ("1/4" if self.variant == "tiny" else "1")]

    @property
    def scales(self) -> tuple[Scale, ...]:
        """Finest first."""
        side, published = ANCHORS[self.variant]
        found = _parsed(self.anchors or published)
        grown = 1.0 if self.anchors else self.size / side
        return tuple(
            Scale(stride, self.size // stride, tuple((w * grown, h * grown) for w, h in anchors))
            for stride, anchors in _paired(STRIDES[self.variant], found)
        )

    @property
    def rows(self) -> int:
        """Candidates that the network gives for one picture."""
        return sum(len(scale.anchors) * scale.side**2 for scale in self.scales)


def _paired(
    strides: tuple[int, ...], found: tuple[tuple[Size, ...], ...]
) -> list[tuple[int, tuple[Size, ...]]]:
    """Each scale's stride, as far as both reach or one more, so that a wrong number of scales shows."""
    padded = (*strides, *[strides[-1]] * max(0, len(found) - len(strides)))
    return list(zip(padded, found, strict=False))


def _parsed(text: str) -> tuple[tuple[Size, ...], ...]:
    return tuple(tuple(_size(each) for each in _few(scale.split(","))) for scale in text.split("|"))


def _few(parts: list[str]) -> list[str]:
    if len(parts) > MOST_ANCHORS:
        raise ValueError(f"{len(parts)} anchors of one scale, at most {MOST_ANCHORS}")
    return parts


def _size(text: str) -> Size:
    """`12x30` → (12.0, 30.0)."""
    width, _, height = text.strip().partition("x")
    try:
        found = float(width), float(height)
    except ValueError:
        found = math.nan, math.nan
    if not all(1 <= each <= 4096 for each in found):
        raise ValueError(f"{text.strip()!r} is no anchor; write WIDTHxHEIGHT in pixels, as 12x30")
    return found
