"""What is to be drawn on a picture: boxes with a text and a colour each, as data."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Drawn:
    """`corners` x1, y1, x2, y2 in pixels; `colour` is a number, as of a class or a track."""

    text: str
    corners: tuple[float, float, float, float]
    colour: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Sight:
    """`pixels` (height, width, 3) of a picture; what is in it and what a model found, in its pixels."""

    pixels: NDArray[np.uint8]
    truth: tuple[Drawn, ...]
    found: tuple[Drawn, ...]
