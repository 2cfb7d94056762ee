"""Image folders: `root/<class>/*.png|jpg`, as the owner already has them.

The class list comes from the task and not from the folder names on disk. Unreadable files and
folders of unknown classes are left out and listed for the owner.
"""

import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeveil.shared.base.errors import DataError

SUFFIXES = (".png", ".jpg", ".jpeg")
FORMATS = ("PNG", "JPEG")
MAX_PIXELS = 50_000_000  # of one file, before it is decoded

Grey = NDArray[np.uint8]


def read_folders(
    root: Path, classes: tuple[str, ...], height: int, width: int
) -> tuple[Grey, NDArray[np.int64], tuple[str, ...]]:
    """All images as grey (N, height, width) uint8, their class indices, and what was left out.

    Raises nothing for what a folder holds: the names and numbers of the owner's files are private.
    """
    images: list[Grey] = []
    targets: list[int] = []
    skipped = _strange_folders(root, classes)
    for index, name in enumerate(classes):
        for path in _files(root / name):
            try:
                images.append(read_image(path, height, width))
                targets.append(index)
            except DataError as error:
                skipped.append(error.message)
    pixels = np.stack(images) if images else np.zeros((0, height, width), dtype=np.uint8)
    return pixels, np.array(targets, dtype=np.int64), tuple(skipped)


def read_image(path: Path, height: int, width: int) -> Grey:
    """One file as grey (height, width): EXIF orientation applied, then resized.

    Raises:
        DataError: not a PNG or JPEG, damaged, or more than MAX_PIXELS (a decompression bomb).
    """
    from PIL import Image, ImageOps  # noqa: PLC0415 - counting and naming files needs no Pillow

    try:
        with warnings.catch_warnings():
            # Pillow only warns at its own limit; ours is checked below, before decoding.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise DataError(f"{path}: more than {MAX_PIXELS} pixels")
                upright = ImageOps.exif_transpose(image).convert("L")
        return np.asarray(upright.resize((width, height), Image.Resampling.BILINEAR))
    except Image.DecompressionBombError as error:
        raise DataError(f"{path}: more than {MAX_PIXELS} pixels") from error
    except (OSError, ValueError, SyntaxError) as error:  # all three, depending on what is broken
        raise DataError(f"{path}: not a readable image ({error})") from error


def _strange_folders(root: Path, classes: tuple[str, ...]) -> list[str]:
    """One sentence per folder that is no class of the task; usually a typing mistake."""
    return [
        f"{root}: folder {name!r} is not a class of this task; rename it to one of "
        f"{', '.join(classes)} or move it away"
        for name in class_folders(root)
        if name not in classes
    ]


def class_folders(root: Path) -> tuple[str, ...]:
    """Names of the folders that can hold a class, ascending."""
    found = (entry.name for entry in root.iterdir() if entry.is_dir() and entry.name[0] != ".")
    return tuple(sorted(found))


def _files(folder: Path) -> Iterator[Path]:
    """Image files in the order of their names, so that every machine reads the same order."""
    if not folder.is_dir():
        return
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in SUFFIXES and path.is_file():
            yield path
