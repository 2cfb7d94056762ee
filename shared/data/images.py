"""Labelled images, grey or in colours, from what the owner has: an image folder or one .npz file.

Values are scaled by public constants only (0..255 → 0..1); nothing is computed over the records, so
a record's preprocessing never depends on another one. Nothing is sent anywhere.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeveil.shared.base.errors import DataError
from edgeveil.shared.data.arrays import open_arrays
from edgeveil.shared.data.folders import Shape, read_folders, record_shape
from edgeveil.shared.data.left_out import LeftOut, Reason
from edgeveil.shared.data.tree import archives

MAX_VALUES = 1 << 29  # pixels of one data set: 2 GiB of float32
MOST_NAMED = 1000  # records of one array that are named one by one, for one reason
MANY = 0.5  # of the records; with more left out for their values, it is the file that is wrong


@dataclass(frozen=True, slots=True, eq=False)
class Images:
    """`pixels` (N, H, W), or (N, H, W, 3) in colours, float32 in 0..1; `left` is what was left out."""

    pixels: NDArray[np.float32]
    targets: NDArray[np.int64]  # (N,)
    left: tuple[LeftOut, ...]
    advice: str = ""  # if most records have one fault in common

    @property
    def skipped(self) -> tuple[str, ...]:
        """A sentence for each, the most helpful first."""
        sentences = tuple(each.sentence for each in self.left)
        return (self.advice, *sentences[1:]) if self.advice else sentences


def relabelled(found: Images, labels: tuple[str, ...], wanted: tuple[str, ...]) -> Images:
    """The same records with the index that their class, one of `labels`, has among `wanted`."""
    if labels == wanted:
        return found
    places = {name: index for index, name in enumerate(wanted)}
    table = np.array([places[name] for name in labels], dtype=np.int64)
    return Images(found.pixels, table[found.targets], found.left, found.advice)


def read_images(path: Path, classes: tuple[str, ...], shape: Shape) -> Images:
    """Read `root/<class>/<picture>`, an .npz file, or a folder that holds one .npz file.

    A record that the task cannot use (label or folder outside `classes`, values out of range, not
    readable) is left out for its own sake alone: whether one is there must not decide anything that
    a coordinator can see.

    Raises:
        DataError: absent, ambiguous, or of another shape.
    """
    archive = the_archive(path)
    if archive is not None:
        return _from_arrays(archive, len(classes), shape)
    return Images(*read_folders(path, classes, shape))


def the_archive(path: Path) -> Path | None:
    """The one .npz file that is meant by `path`; None for an image folder. Raises DataError."""
    if path.is_file():
        return path
    if not path.is_dir():
        raise DataError(f"{path}: no such file or folder; pass an image folder or an .npz file")
    found = archives(path)
    if not found:
        return None
    folders = [entry for entry in path.iterdir() if entry.is_dir() and entry.name[0] != "."]
    if len(found) > 1 or folders:
        raise DataError(
            f"{path}: holds {len(found)} .npz files and {len(folders)} folders; "
            "keep either one .npz file or one folder per class"
        )
    return found[0]


def _from_arrays(path: Path, classes: int, shape: Shape) -> Images:
    """`X` (n, H, W), (n, H, W, C) or (n, C, H, W), uint8 or float in 0..1; `y` (n,)."""
    arrays = open_arrays(path, ("X", "y"), most=4 * MAX_VALUES)
    raw, labels = _as_asked(path, arrays["X"], shape), arrays["y"]
    if labels.shape != (len(raw),) or labels.dtype.kind not in "iu":
        raise DataError(
            f"{path}: y has shape {labels.shape} and type {labels.dtype}, "
            f"expected {len(raw)} integers"
        )
    # Bounds first: an unsigned 64-bit label would wrap around in the cast below.
    known = np.asarray((labels >= np.int64(0)) & (labels < np.int64(classes)), dtype=np.bool_)
    pixels, usable = _scaled(path, raw)
    values = tuple(_badly_scaled(path, pixels, usable, known))
    strange = f"has a label outside 0 to {classes - 1}"
    left = (*values, *_named(path, Reason.LABEL, np.where(~known)[0], strange))
    kept = known & usable
    many = np.count_nonzero(known & ~usable) > MANY * len(raw)
    advice = f"{path}: most records are like this: {values[0].sentence}" if many else ""
    return Images(pixels[kept], labels[kept].astype(np.int64), left, advice)


def _as_asked(path: Path, raw: NDArray[np.generic], shape: Shape) -> NDArray[np.generic]:
    """X as (n, H, W) or (n, H, W, C); raises DataError for records of another shape."""
    height, width, channels = shape
    if channels == 1 and raw.ndim == 4 and 1 in (raw.shape[1], raw.shape[3]):
        raw = raw.reshape(len(raw), *(raw.shape[2:] if raw.shape[1] == 1 else raw.shape[1:3]))
    elif raw.shape[1:] == (channels, height, width) != (height, width, channels):
        raw = np.moveaxis(raw, 1, 3)
    if raw.shape[1:] == record_shape(shape):
        return raw
    asked = ", ".join(str(side) for side in record_shape(shape))
    raise DataError(
        f"{path}: X has shape {raw.shape}, the task asks for (n, {asked}): "
        "its height, width and channels are options of the task"
    )


def _scaled(path: Path, raw: NDArray[np.generic]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Pixels in 0..1 and, per record, whether all of them are."""
    if raw.dtype == np.uint8:
        return raw.astype(np.float32) / np.float32(255), np.ones(len(raw), dtype=np.bool_)
    if raw.dtype.kind != "f":
        raise DataError(f"{path}: X has type {raw.dtype}; use uint8 (0..255) or float32 (0..1)")
    with np.errstate(over="ignore"):  # beyond float32 is out of range, as it is
        pixels = raw.astype(np.float32)
    usable = ((pixels >= 0) & (pixels <= 1)).all(axis=tuple(range(1, raw.ndim)))  # false for NaN
    return pixels, np.asarray(usable, dtype=np.bool_)


def _badly_scaled(
    path: Path, pixels: NDArray[np.float32], usable: NDArray[np.bool_], known: NDArray[np.bool_]
) -> Iterator[LeftOut]:
    """Records of a known class with values out of range, the more frequent fault first."""
    rows = np.where(known & ~usable)[0]
    finite = np.array([np.isfinite(pixels[row]).all() for row in rows], dtype=np.bool_)
    large = rows[finite]
    reach = float(np.abs(pixels[large]).max()) if large.size else 0.0
    negative = large.size and float(pixels[large].min()) < 0
    fix = (
        "scale X to 0..1, or store it as uint8 (0..255)"
        if negative or reach > 255
        else "divide X by 255, or store it as uint8"
    )
    faults = (
        (large, f"has a value that is not in 0..1; such values reach {reach:g}: {fix}"),
        (rows[~finite], "has a value that is not finite (NaN or infinite): replace or remove it"),
    )
    for found, why in sorted(faults, key=lambda fault: -len(fault[0])):
        yield from _named(path, Reason.VALUES, found, why)


def _named(path: Path, reason: Reason, rows: NDArray[np.intp], why: str) -> Iterator[LeftOut]:
    """One for each row, as long as they are not too many to be read."""
    for row in rows[:MOST_NAMED]:
        yield LeftOut(reason, path.name, f"record {row} {why}")
    rest = len(rows) - MOST_NAMED
    if rest > 0:
        yield LeftOut(reason, path.name, f"each of {rest} more records {why}", rest)
