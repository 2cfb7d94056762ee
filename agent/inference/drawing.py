"""Pictures with the boxes that a detector found drawn into them; they are written where their owner says."""

import importlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeveil.agent.inference.boxes import Boxes
from edgeveil.shared.base.errors import DataError
from edgeveil.shared.data.left_out import LeftOut
from edgeveil.shared.data.pictures import read_upright

COLOURS = (
    (230, 60, 60), (40, 140, 220), (40, 170, 90), (230, 150, 30), (150, 80, 200), (20, 170, 170),
)  # fmt: skip
LONGEST = 200  # bytes of a picture's name that a folder takes, with room for a number and an ending
THICK = 200  # pixels of a picture's shorter side for each pixel of a line


def drawn(pixels: NDArray[np.uint8], found: Boxes, labels: tuple[str, ...]) -> NDArray[np.uint8]:
    """A copy of a picture (height, width, 3) with a box and a caption for each of `found`."""
    image_module = importlib.import_module("PIL.Image")
    draw_module = importlib.import_module("PIL.ImageDraw")
    image = image_module.fromarray(pixels)
    pen = draw_module.Draw(image)
    width = max(1, min(pixels.shape[:2]) // THICK)
    for box in reversed(found.boxes):  # the surest on top
        colour = COLOURS[labels.index(box.label) % len(COLOURS)]
        pen.rectangle((box.x1, box.y1, max(box.x1, box.x2 - 1), max(box.y1, box.y2 - 1)), outline=colour, width=width)  # fmt: skip
        caption = f"{_plain(box.label)} {box.score:.2f}"
        at = (box.x1 + width + 1, max(0.0, box.y1 - 11))
        pen.rectangle(pen.textbbox(at, caption), fill=colour)
        pen.text(at, caption, fill=(255, 255, 255))
    return np.asarray(image, dtype=np.uint8)


def write_drawn(source: str, found: Boxes, labels: tuple[str, ...], folder: Path) -> Path:
    """folder/NAME.png of the picture file `source`; another of that name is given a number.

    Raises:
        DataError: no picture can be drawn into, or the folder cannot be written.
    """
    picture = read_upright(Path(source))
    if isinstance(picture, LeftOut):
        raise DataError(picture.sentence)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        target = _free(folder, Path(source).stem or "picture")
        importlib.import_module("PIL.Image").fromarray(drawn(picture.pixels, found, labels)).save(target)  # fmt: skip
    except OSError as error:
        raise DataError(f"{folder}: cannot write pictures there ({error.strerror})") from error
    return target


def _free(folder: Path, stem: str) -> Path:
    while len(stem.encode("utf-8", "surrogateescape")) > LONGEST:
        stem = stem[:-1]
    number, target = 1, folder / f"{stem}.png"
    while target.exists():
        number += 1
        target = folder / f"{stem}-{number}.png"
    return target


def _plain(label: str) -> str:
    """Pillow's own font has Latin letters alone."""
    return label.encode("latin-1", "replace").decode("latin-1")
