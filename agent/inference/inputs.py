"""What a person names as input: pictures, recordings, folders, .npz files, one of them on standard input.

Every one of them becomes records, or a sentence why not: one bad file never ends a prediction.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from edgeveil.agent.inference.records import as_records, span
from edgeveil.shared.base.errors import DataError
from edgeveil.shared.data.arrays import open_arrays
from edgeveil.shared.data.images import MAX_VALUES
from edgeveil.shared.data.left_out import LeftOut
from edgeveil.shared.data.pictures import MAX_BYTES, read_picture
from edgeveil.shared.data.sounds.recordings import SOUNDS, read_sound
from edgeveil.shared.data.tree import SUFFIXES
from edgeveil.shared.models.manifest import AnyInput, ImageInput, SoundInput

STDIN = "-"
ARCHIVE = ".npz"
MOST_SENT = 64 << 20  # bytes of arrays that somebody sent, unpacked


@dataclass(frozen=True, slots=True, eq=False)
class Item:
    """`record` (*shape), or None and `why`. `name` is of the owner's disk: foreign text."""

    name: str
    record: NDArray[np.float32] | None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """`paths` in the order in which they are read; `others`: files of other kinds in folders."""

    paths: tuple[str, ...]
    others: int


def find(inputs: Sequence[str]) -> Found:
    """Every file that is meant; of folders, all pictures, recordings and .npz files in them, at any depth.

    Hidden entries are left out, links to folders are not followed.
    """
    paths: list[str] = []
    others = 0
    for each in inputs:
        if each == STDIN or not Path(each).is_dir():
            paths.append(each)
            continue
        for folder, folders, names in os.walk(each):
            folders[:] = sorted(name for name in folders if name[0] != ".")
            shown = sorted(name for name in names if name[0] != ".")
            usable = [
                name
                for name in shown
                if name.lower().endswith((*SUFFIXES, *SOUNDS.suffixes, ARCHIVE))
            ]
            others += len(shown) - len(usable)
            paths += (str(Path(folder) / name) for name in usable)
    return Found(tuple(paths), others)


def read(path: str, taken: AnyInput, stdin: IO[bytes]) -> Iterator[Item]:
    """The records of one file, in its order."""
    if path == STDIN:
        yield from from_bytes(stdin.read(MAX_BYTES + 1), taken, most=1)
    elif path.lower().endswith(ARCHIVE):
        yield from _from_archive(path, taken)
    else:
        yield _from_file(path, path, taken)


def _from_file(path: str, name: str, taken: AnyInput) -> Item:
    if isinstance(taken, ImageInput):
        found = read_picture(Path(path), taken.height, taken.width, taken.channels)
    elif isinstance(taken, SoundInput):
        found = read_sound(Path(path), taken.rate, *taken.shape)
    else:
        return Item(name, None, "this model takes arrays: name an .npz file with X")
    return Item(name, None, found.why) if isinstance(found, LeftOut) else Item(name, found)


def from_bytes(data: bytes, taken: AnyInput, *, most: int, arrays: bool = False) -> Iterator[Item]:
    """One picture or recording, or the records of an .npz file, that somebody sent; of more than `most` one more than that.

    It lies in memory and nowhere else, under a name that the readers can open.
    """
    handle = os.memfd_create("input", os.MFD_CLOEXEC)
    try:
        with os.fdopen(handle, "wb", closefd=False) as file:
            file.write(data)
        path = f"/proc/self/fd/{handle}"
        found = (
            _from_archive(path, taken, most=MOST_SENT, records=most + 1)
            if arrays
            else [_from_file(path, STDIN, taken)]
        )
        for item in found:
            yield Item(item.name.replace(path, STDIN), item.record, item.why.replace(path, STDIN))
    finally:
        os.close(handle)


def _from_archive(
    path: str,
    taken: AnyInput,
    *,
    most: int = 4 * MAX_VALUES,
    records: int | None = None,
) -> Iterator[Item]:
    """At most `most` bytes are unpacked, and so many `records` looked at."""
    try:
        raw = open_arrays(Path(path), ("X",), most=most)["X"]
        found, usable = as_records(raw[:records], taken)
    except DataError as error:
        yield Item(path, None, error.message.removeprefix(f"{path}: "))
        return
    for row, (record, fine) in enumerate(zip(found, usable, strict=True)):
        name = f"{path}[{row}]"
        why = "" if fine else f"has a value that is not finite or not in {span(taken)}"
        yield Item(name, record if fine else None, why)
