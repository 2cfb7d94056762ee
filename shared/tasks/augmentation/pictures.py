"""Pictures varied in training: mirrored, moved, brighter or darker, with more contrast or less."""

from typing import Self

import torch
from pydantic import BaseModel, Field, model_validator
from torch import Tensor

from edgeveil.shared.tasks.augmentation import draws as chance
from edgeveil.shared.tasks.augmentation.draws import Draws

NAMES = frozenset({"flip", "crop", "brightness", "contrast", "dropout"})


class PictureVariations(BaseModel):
    """`flip`: left and right; `crop`: pixels; `brightness`, `contrast`: percent, up or down at most.

    `dropout`: percent of the values before the head.
    """

    flip: bool = False
    crop: int = Field(default=0, ge=0, le=64)
    brightness: int = Field(default=0, ge=0, le=50)
    contrast: int = Field(default=0, ge=0, le=50)
    dropout: int = Field(default=0, ge=0, le=90)

    @property
    def varied(self) -> tuple[str, ...]:
        """The names of what is asked for."""
        return tuple(name for name in sorted(NAMES) if getattr(self, name))

    @model_validator(mode="after")
    def _moves_within_the_picture(self) -> Self:
        side = min(getattr(self, "height", 512), getattr(self, "width", 512))
        if self.crop > side // 4:
            raise ValueError(
                f"crop = {self.crop}: at most a quarter of the shorter side, {side // 4}"
            )
        return self


def varied(pictures: Tensor, asked: PictureVariations, draws: Draws) -> Tensor:
    """(N, C, H, W) in -1..1 → the same form; pixels moved in repeat the edge."""
    if asked.flip:
        mirrored = draws.uniform(chance.FLIP)[:, 0] < 0.5
        pictures = torch.where(_each(mirrored), pictures.flip(3), pictures)
    if asked.crop:
        pictures = _moved(pictures, draws.whole(chance.SHIFT, asked.crop, 2))
    if asked.contrast:
        factor = _each(1 + draws.around(chance.CONTRAST, asked.contrast / 100))
        mean = pictures.mean(dim=(1, 2, 3), keepdim=True)
        pictures = mean + (pictures - mean) * factor
    if asked.brightness:
        pictures = pictures + _each(draws.around(chance.BRIGHTNESS, 2 * asked.brightness / 100))
    return pictures.clamp(-1, 1) if asked.contrast or asked.brightness else pictures


def _each(values: Tensor) -> Tensor:
    """(N,) → (N, 1, 1, 1)."""
    return values.view(-1, 1, 1, 1)


def _moved(pictures: Tensor, by: Tensor) -> Tensor:
    """Each by its own (down, right) of `by`, (N, 2)."""
    count, channels, height, width = pictures.shape
    down = (torch.arange(height) + by[:, :1]).clamp(0, height - 1)  # (N, H)
    right = (torch.arange(width) + by[:, 1:]).clamp(0, width - 1)  # (N, W)
    records = torch.arange(count).view(-1, 1, 1, 1)
    planes = torch.arange(channels).view(1, -1, 1, 1)
    return pictures[records, planes, down[:, None, :, None], right[:, None, None, :]]
