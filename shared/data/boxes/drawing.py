"""Boxes drawn on a picture, with a colour and a text each, and what a model found in one; needs Pillow."""

import importlib
import io
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgeveil.shared.data.boxes.sights import Drawn

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
SHOWN_SIDE = 288  # pixels of the longer side of a picture on a page
QUALITY = 80  # of JPEG


def shown(pixels: NDArray[np.uint8], boxes: Iterable[Drawn]) -> bytes:
    """The picture as a page shows it, as JPEG: its longer side SHOWN_SIDE pixels, the boxes drawn on it."""
    high, wide = pixels.shape[:2]
    scale = SHOWN_SIDE / max(high, wide)
    sides = max(1, round(wide * scale)), max(1, round(high * scale))
    image: Image.Image = importlib.import_module("PIL.Image").fromarray(
        np.ascontiguousarray(pixels)
    )
    larger = np.asarray(image.resize(sides), dtype=np.uint8)
    placed = [
        Drawn(box.text, (x1 * scale, y1 * scale, x2 * scale, y2 * scale), box.colour)
        for box in boxes
        for x1, y1, x2, y2 in [box.corners]
    ]
    return jpeg(draw(larger, placed, width=2))


def jpeg(image: "Image.Image") -> bytes:
    stored = io.BytesIO()
    image.save(stored, format="JPEG", quality=QUALITY)
    return stored.getvalue()


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
