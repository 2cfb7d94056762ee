"""Pictures with the boxes that a detector found drawn into them; they are written where their owner says."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgeveil.agent.inference.boxes import Boxes
from edgeveil.shared.base.errors import DataError
from edgeveil.shared.data.boxes.drawing import draw
from edgeveil.shared.data.boxes.sights import Drawn
from edgeveil.shared.data.left_out import LeftOut
from edgeveil.shared.data.pictures import read_upright

if TYPE_CHECKING:
    from PIL import Image

LONGEST = 200  # bytes of a picture's name that a folder takes, with room for a number and an ending
THICK = 200  # pixels of a picture's shorter side for each pixel of a line


def drawn(pixels: NDArray[np.uint8], found: Boxes, labels: tuple[str, ...]) -> "Image.Image":
    """A copy of a picture (height, width, 3) with a box and a caption for each of `found`."""
    marks = [
        Drawn(
            f"{box.label} {box.score:.2f}",
            (box.x1, box.y1, box.x2, box.y2),
            labels.index(box.label),
        )
        for box in reversed(found.boxes)  # the surest on top
    ]
    return draw(pixels, marks, width=max(1, min(pixels.shape[:2]) // THICK))


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
        drawn(picture.pixels, found, labels).save(target)
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
