"""Boxes drawn on a picture, with a colour and a text each; needs Pillow."""

import importlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL import Image, ImageDraw

# Okabe and Ito's colours, which people who see few colours tell apart too, but for black.
COLOURS = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
)
MOST_TEXT = 40  # characters of one text


@dataclass(frozen=True, slots=True)
class Drawn:
    """`corners` x1, y1, x2, y2 in pixels; `colour` is a number, as of a class or a track."""

    text: str
    corners: tuple[float, float, float, float]
    colour: int = 0


def draw(pixels: NDArray[np.uint8], boxes: Iterable[Drawn], *, width: int = 1) -> "Image.Image":
    """A picture of `pixels` (height, width, 3) with a frame and a text for each box."""
    image: Image.Image = importlib.import_module("PIL.Image").fromarray(
        np.ascontiguousarray(pixels)
    )
    brush: ImageDraw.ImageDraw = importlib.import_module("PIL.ImageDraw").Draw(image)
    for box in boxes:
        x1, y1, x2, y2 = box.corners
        colour = COLOURS[box.colour % len(COLOURS)]
        brush.rectangle((x1, y1, max(x1, x2 - 1), max(y1, y2 - 1)), outline=colour, width=width)
        write(brush, (x1, y1), box.text, colour)
    return image


def write(
    brush: "ImageDraw.ImageDraw",
    at: tuple[float, float],
    text: str,
    colour: tuple[int, int, int],
) -> None:
    """Above a point, or below it where there is no room; letters that the built-in font lacks become "?"."""
    shown = text[:MOST_TEXT].encode("ascii", "replace").decode("ascii")
    left, top, right, bottom = brush.textbbox((0, 0), shown)
    x, y = at[0], at[1] - bottom if at[1] >= bottom else at[1]
    brush.rectangle((x, y, x + right - left + 1, y + bottom), fill=colour)
    brush.text((x + 1 - left, y - min(0, top)), shown, fill=(0, 0, 0))
