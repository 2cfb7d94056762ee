"""The one door for a picture file that nobody vouches for: numbers in 0..1, or why it is left out.

Whatever is wrong with a file, with its name or in Pillow, one file never stops a process. A file is read
once and whole, then decoded from memory, so that nothing which happens to it meanwhile matters.

Values are scaled by the constant of their type (255, 65,535). Transparent parts lie on white. A picture
with an orientation is turned upright, whatever else its EXIF says.
"""

import importlib
import io
import os
import stat
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from edgeveil.shared.data.left_out import LeftOut, Reason

if TYPE_CHECKING:
    from PIL import Image

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP")
PLUGINS = ("Png", "Jpeg", "Bmp", "Gif", "Tiff", "WebP")  # their modules; Pillow loads no others
MAX_PIXELS = 50_000_000  # of one file, before it is decoded
MAX_BYTES = 512 << 20  # of one file
WHITE = (255, 255, 255, 255)  # what transparent parts lie on
NO_RANGE = ("I", "F", "LAB")  # modes of Pillow whose values have no public range, or no grey
ORIENTATION = 0x0112  # EXIF
BITS, PHOTOMETRIC = 258, 262  # TIFF
MOST_SAID = 200  # characters of what a library says

Pixels = NDArray[np.float32]
Decoded = TypeVar("Decoded")


@dataclass(frozen=True, slots=True, eq=False)
class Upright:
    """`pixels` (height, width, 3); `stored` (width, height) before it was turned."""

    pixels: NDArray[np.uint8]
    stored: tuple[int, int]


def read_picture(path: Path, height: int, width: int, channels: int) -> Pixels | LeftOut:
    """One file as (height, width) of grey, or (height, width, 3) of red, green and blue; in 0..1.

    Of several frames the first. What a file is says its content, not its name.

    Raises:
        ModuleNotFoundError: without Pillow.
    """
    return _guarded(
        path, lambda pillow, data: _decoded(pillow, data, str(path), (height, width, channels))
    )


def read_upright(path: Path) -> Upright | LeftOut:
    """One file as it is shown, at its own size, in red, green and blue of 8 bits; else as read_picture()."""
    return _guarded(path, lambda pillow, data: _shown(pillow, data, str(path)))


def scaled(pixels: NDArray[np.uint8], height: int, width: int, channels: int) -> Pixels:
    """As read_picture() gives it, of what read_upright() gives (h, w, 3)."""
    image = _pillow().fromarray(pixels)
    flat = image.convert("L") if channels == 1 else image
    small = flat.resize((width, height), _pillow().Resampling.BILINEAR)
    return np.asarray(small).astype(np.float32) / np.float32(255)


def stored_size(path: Path) -> tuple[int, int] | None:
    """Width and height by the header of a file; None where nothing can be told."""

    def header(pillow: ModuleType, data: bytes) -> tuple[int, int]:
        with pillow.open(io.BytesIO(data), formats=FORMATS) as image:
            width, height = image.size
            return width, height

    found = _guarded(path, header)
    return None if isinstance(found, LeftOut) else found


def _guarded(
    path: Path, decode: Callable[[ModuleType, bytes], Decoded | LeftOut]
) -> Decoded | LeftOut:
    """What `decode` makes of a file with Pillow, or why nothing can be made of it."""
    pillow = _pillow()
    data = read_bytes(path)
    if isinstance(data, LeftOut):
        return data
    try:
        with warnings.catch_warnings():
            # Pillow warns of odd metadata, and at a limit of its own; ours is checked before decoding.
            warnings.simplefilter("ignore")
            return decode(pillow, data)
    except pillow.DecompressionBombError:
        return LeftOut(Reason.TOO_LARGE, str(path), f"more than {MAX_PIXELS:,} pixels")
    except pillow.UnidentifiedImageError:
        return LeftOut(Reason.DAMAGED, str(path), f"not a picture in {', '.join(FORMATS)}")
    except Exception as error:  # noqa: BLE001 - a decoder fed with anything can raise anything
        text = str(error)[:MOST_SAID] or type(error).__name__
        return LeftOut(Reason.DAMAGED, str(path), f"not a readable picture ({text})")


def read_bytes(path: Path, most: int | None = None) -> bytes | LeftOut:
    """What a file of at most `most` bytes (MAX_BYTES) holds; pipes and devices are never waited for."""
    most = MAX_BYTES if most is None else most
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                return LeftOut(Reason.UNREADABLE, str(path), "not a regular file")
            data = file.read(most + 1)
    except (OSError, ValueError) as error:  # the latter for a name that no file can have
        why = getattr(error, "strerror", None) or str(error)
        return LeftOut(Reason.UNREADABLE, str(path), f"cannot be opened ({why})")
    if len(data) > most:
        return LeftOut(Reason.TOO_LARGE, str(path), f"more than {most >> 20} MiB")
    return data


@cache
def _pillow() -> ModuleType:
    """Pillow with the formats that are read, and no other."""
    for name in PLUGINS:
        importlib.import_module(f"PIL.{name}ImagePlugin")
    return importlib.import_module("PIL.Image")


def _decoded(
    pillow: ModuleType, data: bytes, name: str, shape: tuple[int, int, int]
) -> Pixels | LeftOut:
    height, width, channels = shape
    with pillow.open(io.BytesIO(data), formats=FORMATS) as image:
        if (left := _unfit(image, name)) is not None:
            return left
        image.load()
        upright = _upright(pillow, image)
        deep = image.mode.startswith("I;16")
        flat, most = _deep(pillow, upright, image) if deep else _flat(pillow, upright, channels)
    small = np.asarray(flat.resize((width, height), pillow.Resampling.BILINEAR))
    scaled = small.astype(np.float32) / np.float32(most)
    if deep and channels > 1:
        scaled = np.repeat(scaled[:, :, np.newaxis], channels, axis=2)
    return scaled


def _shown(pillow: ModuleType, data: bytes, name: str) -> Upright | LeftOut:
    with pillow.open(io.BytesIO(data), formats=FORMATS) as image:
        if (left := _unfit(image, name)) is not None:
            return left
        image.load()
        upright = _upright(pillow, image)
        if image.mode.startswith("I;16"):
            values, most = _deep(pillow, upright, image)
            grey = (np.asarray(values) * np.float32(255 / most)).round().astype(np.uint8)
            pixels = np.repeat(grey[:, :, np.newaxis], 3, axis=2)
        else:
            pixels = np.asarray(_flat(pillow, upright, 3)[0], dtype=np.uint8)
        return Upright(pixels, image.size)


def _unfit(image: "Image.Image", name: str) -> LeftOut | None:
    """What its header rules out, before anything is decoded."""
    if image.width * image.height > MAX_PIXELS:
        return LeftOut(Reason.TOO_LARGE, name, f"more than {MAX_PIXELS:,} pixels")
    if image.mode in NO_RANGE:
        why = f"its values ({image.mode}) have no fixed range; save it with 8 or 16 bits"
        return LeftOut(Reason.VALUES, name, why)
    return None


def _upright(pillow: ModuleType, image: "Image.Image") -> "Image.Image":
    """Turned as its EXIF says; every other tag may say what it likes."""
    turns = pillow.Transpose
    methods = {
        2: turns.FLIP_LEFT_RIGHT,
        3: turns.ROTATE_180,
        4: turns.FLIP_TOP_BOTTOM,
        5: turns.TRANSPOSE,
        6: turns.ROTATE_270,
        7: turns.TRANSVERSE,
        8: turns.ROTATE_90,
    }
    try:
        orientation: Any = image.getexif().get(ORIENTATION)
        method = methods.get(orientation)
    except Exception:  # noqa: BLE001 - without a readable EXIF a picture is as it is stored
        method = None
    return image if method is None else image.transpose(method)


def _flat(pillow: ModuleType, image: "Image.Image", channels: int) -> tuple["Image.Image", int]:
    """Grey or RGB of 8 bits, without transparency."""
    if image.has_transparency_data:
        white = pillow.new("RGBA", image.size, WHITE)
        white.alpha_composite(image.convert("RGBA"))
        image = white
    return image.convert("L" if channels == 1 else "RGB"), 255


def _deep(
    pillow: ModuleType, image: "Image.Image", stored: "Image.Image"
) -> tuple["Image.Image", int]:
    """Grey of 12 or 16 bits as floats, so that no step of it is lost."""
    tags = getattr(stored, "tag_v2", {})
    most = 4095 if tags.get(BITS) == (12,) else 65_535
    values = np.asarray(image).astype(np.float32)
    if tags.get(PHOTOMETRIC) == 0:  # white is stored as zero
        values = np.float32(most) - values
    clear = stored.info.get("transparency")
    if isinstance(clear, int):
        values[values == clear] = most
    return pillow.fromarray(values), most
