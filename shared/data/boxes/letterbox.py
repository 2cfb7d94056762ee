"""A picture of any shape on a square of one size, and the way back for boxes.

The picture keeps its proportions (to a pixel), lies in the middle, and the rest is GREY. Boxes are x1, y1, x2, y2
in pixels, 0-based, half-open: the last pixel of a row of 10 is 9 to 10.
"""

import importlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

GREY = 114  # of 255: public, so that no picture decides about another's margins

Pixels = NDArray[np.uint8]
Boxes = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Letterbox:
    """`wide` × `high` pixels of the picture come to lie at (`left`, `top`) of the square.

    `across` and `down` are how many pixels of the square one of the picture takes.
    """

    side: int
    wide: int
    high: int
    left: int
    top: int
    across: float
    down: float

    @classmethod
    def of(cls, width: int, height: int, side: int) -> "Letterbox":
        """For a picture of width × height, at least 1 each, on a square of `side`."""
        scale = side / max(width, height)
        wide, high = (min(side, max(1, round(each * scale))) for each in (width, height))
        return cls(
            side=side,
            wide=wide,
            high=high,
            left=(side - wide) // 2,
            top=(side - high) // 2,
            across=wide / width,
            down=high / height,
        )

    def onto_square(self, boxes: NDArray[np.floating]) -> NDArray[np.float64]:
        """Corners (M, 4) in pixels of the picture as pixels of the square; nothing is cut."""
        return np.asarray(boxes, np.float64) * self._scale + self._offset

    def onto_picture(self, boxes: NDArray[np.floating]) -> NDArray[np.float64]:
        """The inverse, to rounding."""
        return (np.asarray(boxes, np.float64) - self._offset) / self._scale

    def place(self, pixels: Pixels) -> Pixels:
        """A picture (height, width, 3) as a square (3, side, side); needs Pillow."""
        square = np.full((self.side, self.side, 3), GREY, dtype=np.uint8)
        height, width = pixels.shape[:2]
        if (width, height) != (self.wide, self.high):
            pillow = importlib.import_module("PIL.Image")
            grown = pillow.fromarray(pixels).resize(
                (self.wide, self.high), pillow.Resampling.BILINEAR
            )
            pixels = np.asarray(grown, dtype=np.uint8)
        square[self.top : self.top + self.high, self.left : self.left + self.wide] = pixels
        return np.ascontiguousarray(square.transpose(2, 0, 1))

    @property
    def _scale(self) -> NDArray[np.float64]:
        return np.array((self.across, self.down) * 2)

    @property
    def _offset(self) -> NDArray[np.float64]:
        return np.array((self.left, self.top) * 2, dtype=np.float64)
