"""A data folder before any task has read it: does it look usable, and which raw records are in it?

The task's own adapter has the last word on shapes and classes; this finds what no task could read.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from edgeveil.shared.base.errors import DataError
from edgeveil.shared.data.arrays import open_arrays
from edgeveil.shared.data.folders import SUFFIXES

MOST_BYTES = 16 << 30
EXPECTED = "expected CLASS/*.png|jpg folders, or one .npz file with X and y"


def probe(path: Path) -> None:
    """Raise DataError with the path, what is wrong and what was expected."""
    if not path.exists():
        raise DataError(f"{path}: this data folder does not exist; give --data PATH")
    if path.is_file():
        _probe_arrays(path)
        return
    archives = sorted(path.glob("*.npz"))
    if len(archives) > 1:
        raise DataError(f"{path}: holds {len(archives)} .npz files; name one of them")
    if archives:
        _probe_arrays(archives[0])
    elif next(_images(path), None) is None:
        raise DataError(f"{path}: nothing usable in this data folder; {EXPECTED}")


def raw_records(path: Path) -> Iterator[bytes]:
    """Every record of a probed folder or file as it lies on the disk, whatever a task makes of it."""
    archives = [path] if path.is_file() else sorted(path.glob("*.npz"))
    for archive in archives:
        values = open_arrays(archive, ("X",), most=MOST_BYTES)["X"]
        yield from (record.tobytes() for record in values)
    if not archives:
        yield from (image.read_bytes() for image in _images(path))


def count_records(path: Path) -> int:
    """How many records raw_records() would give, without reading images."""
    archives = [path] if path.is_file() else sorted(path.glob("*.npz"))
    if archives:
        return len(open_arrays(archives[0], ("X",), most=MOST_BYTES)["X"])
    return sum(1 for _ in _images(path))


def _probe_arrays(path: Path) -> None:
    if path.suffix != ".npz":
        raise DataError(f"{path}: not a data file; {EXPECTED}")
    arrays = open_arrays(path, ("X", "y"), most=MOST_BYTES)
    records, labels = (np.shape(arrays[name]) for name in ("X", "y"))
    if not records or len(labels) != 1 or records[0] != labels[0]:
        raise DataError(
            f"{path}: X has shape {records} and y {labels}; one label per record is needed"
        )
    if records[0] == 0:
        raise DataError(f"{path}: holds no record")


def _images(path: Path) -> Iterator[Path]:
    for folder in sorted(path.iterdir()):
        if folder.is_dir() and folder.name[0] != ".":
            yield from (
                file for file in sorted(folder.iterdir()) if file.suffix.lower() in SUFFIXES
            )
