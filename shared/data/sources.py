"""The forms in which an owner's records can lie on the disk, each with what no task has to know for it.

A source finds what no task could read, before anything is sent, and gives raw records for the fingerprint
of the data set. What a record means is read by a task. A new source is a class here or in a module of its
own, and an entry of SOURCES (docs/extending.md, "A data source").
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import numpy as np

from edgeveil.shared.base.errors import DataError
from edgeveil.shared.data.arrays import open_arrays
from edgeveil.shared.data.boxes import schema as boxes
from edgeveil.shared.data.left_out import LeftOut
from edgeveil.shared.data.pictures import read_bytes
from edgeveil.shared.data.sounds import pair_table, pairs
from edgeveil.shared.data.sounds import schema as sounds
from edgeveil.shared.data.sounds.recordings import MAX_BYTES, SOUNDS
from edgeveil.shared.data.tabular import schema as tables
from edgeveil.shared.data.tabular.layout import FILE
from edgeveil.shared.data.tabular.reading import SUFFIXES
from edgeveil.shared.data.tree import archives, look

MOST_BYTES = 16 << 30


class Source(Protocol):
    """All but holds() is asked only of a path that it holds."""

    @property
    def expected(self) -> str:
        """What a person has to give, as in "expected …"."""

    def holds(self, path: Path) -> bool:
        """Whether a file or folder has this form, by names alone; the first source that says so has it."""

    def check(self, path: Path) -> None:
        """Raise DataError with the path, what is wrong and what was expected."""

    def records(self, path: Path) -> Iterator[bytes]:
        """Every record as it lies on the disk, whatever a task makes of it; always in the same order."""

    def count(self, path: Path) -> int:
        """How many records() would give, without reading more than it takes."""


class Tables:
    """Files of lines, or one .npz file, beside a schema.toml."""

    expected = f"{FILE} beside files {'|'.join(SUFFIXES)} or one .npz file"

    def holds(self, path: Path) -> bool:
        return tables.holds(path)

    def check(self, path: Path) -> None:
        tables.check(path)

    def records(self, path: Path) -> Iterator[bytes]:
        yield from tables.records(path)

    def count(self, path: Path) -> int:
        return tables.count(path)


class Archive:
    """One .npz file, by itself or in a folder."""

    expected = "one .npz file with X and y"

    def holds(self, path: Path) -> bool:
        return path.suffix == ".npz" if path.is_file() else bool(archives(path))

    def check(self, path: Path) -> None:
        found = archives(path)
        if len(found) > 1:
            raise DataError(f"{path}: holds {len(found)} .npz files; name one of them")
        (archive,) = found
        arrays = open_arrays(archive, ("X", "y"), most=MOST_BYTES)
        records, labels = (np.shape(arrays[name]) for name in ("X", "y"))
        if not records or len(labels) != 1 or records[0] != labels[0]:
            raise DataError(
                f"{archive}: X has shape {records} and y {labels}; one label per record is needed"
            )
        if records[0] == 0:
            raise DataError(f"{archive}: holds no record")

    def records(self, path: Path) -> Iterator[bytes]:
        for archive in archives(path):
            values = open_arrays(archive, ("X",), most=MOST_BYTES)["X"]
            yield from (record.tobytes() for record in values)

    def count(self, path: Path) -> int:
        return len(open_arrays(archives(path)[0], ("X",), most=MOST_BYTES)["X"])


class Boxes:
    """Pictures with boxes: COCO, Pascal VOC, YOLO."""

    expected = boxes.EXPECTED

    def holds(self, path: Path) -> bool:
        return boxes.holds(path)

    def check(self, path: Path) -> None:
        boxes.check(path)

    def records(self, path: Path) -> Iterator[bytes]:
        yield from boxes.records(path)

    def count(self, path: Path) -> int:
        return boxes.count(path)


class ImageFolders:
    """A folder of images per class."""

    expected = "CLASS/*.png|jpg|bmp|gif|tif|webp folders"

    def holds(self, path: Path) -> bool:
        return path.is_dir() and bool(look(path).files)

    def check(self, path: Path) -> None:
        """An image is judged when it is read: one that is not readable is left out."""

    def records(self, path: Path) -> Iterator[bytes]:
        for _, picture in look(path).files:
            data = read_bytes(picture)
            if not isinstance(data, LeftOut):
                yield data

    def count(self, path: Path) -> int:
        return len(look(path).files)


class SoundFolders:
    """A folder of recordings per class."""

    expected = "CLASS/*.wav|flac|ogg folders"

    def holds(self, path: Path) -> bool:
        return sounds.holds(path)

    def check(self, path: Path) -> None:
        """A recording is judged when it is read; raises NotInstalled for what only an extra can read."""
        sounds.check(path)

    def records(self, path: Path) -> Iterator[bytes]:
        for _, recording in look(path, SOUNDS).files:
            data = read_bytes(recording, MAX_BYTES)
            if not isinstance(data, LeftOut):
                yield data

    def count(self, path: Path) -> int:
        return len(look(path, SOUNDS).files)


class PairTable:
    """Pictures, recordings and windows of the same moment that a table names."""

    expected = f"{pair_table.FILE} that names pictures, recordings or windows beside it"

    def holds(self, path: Path) -> bool:
        return pair_table.holds(path)

    def check(self, path: Path) -> None:
        pairs.check(path)

    def records(self, path: Path) -> Iterator[bytes]:
        yield from pair_table.raw_pairs(path)

    def count(self, path: Path) -> int:
        return sum(1 for _ in pair_table.read_pairs(path))


SOURCES: tuple[Source, ...] = (
    Tables(),  # first, for what only schema.toml sets apart from an archive of pictures
    PairTable(),
    Archive(),
    Boxes(),  # before folders of classes, which `images` and `labels` would be by their names
    ImageFolders(),
    SoundFolders(),
)
