"""Labelled grey images from what the owner has: an image folder or one .npz file.

Values are scaled by public constants only (0..255 → 0..1); nothing is computed over the records, so
a record's preprocessing never depends on another one. Nothing is sent anywhere.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeveil.shared.base.errors import DataError
from edgeveil.shared.data.arrays import open_arrays
from edgeveil.shared.data.folders import read_folders

MAX_VALUES = 1 << 29  # pixels of one data set: 2 GiB of float32


@dataclass(frozen=True, slots=True, eq=False)
class Images:
    """`pixels` (N, H, W) float32 in 0..1; `skipped` has one sentence per record left out."""

    pixels: NDArray[np.float32]
    targets: NDArray[np.int64]  # (N,)
    skipped: tuple[str, ...]


def relabelled(found: Images, labels: tuple[str, ...], wanted: tuple[str, ...]) -> Images:
    """The same records with the index that their class, one of `labels`, has among `wanted`."""
    if labels == wanted:
        return found
    places = {name: index for index, name in enumerate(wanted)}
    table = np.array([places[name] for name in labels], dtype=np.int64)
    return Images(found.pixels, table[found.targets], found.skipped)


def read_images(path: Path, classes: tuple[str, ...], height: int, width: int) -> Images:
    """Read `root/<class>/*.png|jpg`, an .npz file, or a folder that holds one .npz file.

    A record that the task cannot use (label or folder outside `classes`, values out of range, not
    readable) is left out for its own sake alone: whether one is there must not decide anything that
    a coordinator can see.

    Raises:
        DataError: absent, ambiguous, or of another shape.
    """
    if path.is_file():
        return _from_arrays(path, len(classes), height, width)
    if not path.is_dir():
        raise DataError(f"{path}: no such file or folder; pass an image folder or an .npz file")
    archives = sorted(path.glob("*.npz"))
    folders = [entry for entry in path.iterdir() if entry.is_dir() and entry.name[0] != "."]
    if len(archives) > 1 or (archives and folders):
        raise DataError(
            f"{path}: holds {len(archives)} .npz files and {len(folders)} folders; "
            "keep either one .npz file or one folder per class"
        )
    if archives:
        return _from_arrays(archives[0], len(classes), height, width)
    pixels, targets, skipped = read_folders(path, classes, height, width)
    return Images(pixels.astype(np.float32) / np.float32(255), targets, skipped)


def _from_arrays(path: Path, classes: int, height: int, width: int) -> Images:
    """`X` (n, H, W), uint8 or float in 0..1, with or without a channel axis of 1; `y` (n,)."""
    arrays = open_arrays(path, ("X", "y"), most=4 * MAX_VALUES)
    raw, labels = arrays["X"], arrays["y"]
    if raw.ndim == 4 and 1 in (raw.shape[1], raw.shape[3]):
        raw = raw.reshape(len(raw), *(raw.shape[2:] if raw.shape[1] == 1 else raw.shape[1:3]))
    if raw.ndim != 3 or raw.shape[1:] != (height, width):
        raise DataError(
            f"{path}: X has shape {raw.shape}, the task asks for (n, {height}, {width})"
        )
    if labels.shape != (len(raw),) or labels.dtype.kind not in "iu":
        raise DataError(
            f"{path}: y has shape {labels.shape} and type {labels.dtype}, "
            f"expected {len(raw)} integers"
        )
    # Bounds first: an unsigned 64-bit label would wrap around in the cast below.
    known = np.asarray((labels >= np.int64(0)) & (labels < np.int64(classes)), dtype=np.bool_)
    pixels, usable = _scaled(path, raw)
    skipped = tuple(
        f"{path.name}: record {row} has a label outside 0 to {classes - 1}"
        if not known[row]
        else f"{path.name}: record {row} has a value that is not finite or not in 0..1"
        for row in np.where(~(known & usable))[0]
    )
    kept = known & usable
    return Images(pixels[kept], labels[kept].astype(np.int64), skipped)


def _scaled(path: Path, raw: NDArray[np.generic]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Pixels in 0..1 and, per record, whether all of them are."""
    if raw.dtype == np.uint8:
        return raw.astype(np.float32) / np.float32(255), np.ones(len(raw), dtype=np.bool_)
    if raw.dtype.kind != "f":
        raise DataError(f"{path}: X has type {raw.dtype}; use uint8 (0..255) or float32 (0..1)")
    pixels = raw.astype(np.float32)
    usable = ((pixels >= 0) & (pixels <= 1)).all(axis=(1, 2))  # false for NaN as well
    return pixels, np.asarray(usable, dtype=np.bool_)
