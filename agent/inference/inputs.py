"""What a person names as input: picture and sound files, tables, folders, .npz files, videos, one of them on standard input.

Of moments, the folder with their records.csv. Every one of them becomes records, or a sentence why not: one bad file never ends a prediction.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from edgeveil.agent.inference.records import as_records, asked, span
from edgeveil.agent.inference.video.cameras import without_secrets
from edgeveil.agent.inference.video.frames import Pace, Video, is_video
from edgeveil.shared.base.errors import DataError, NotInstalled
from edgeveil.shared.data.arrays import open_arrays
from edgeveil.shared.data.boxes.letterbox import Letterbox
from edgeveil.shared.data.images import MAX_VALUES
from edgeveil.shared.data.left_out import LeftOut
from edgeveil.shared.data.pictures import MAX_BYTES, read_picture, read_upright, scaled
from edgeveil.shared.data.sounds.pair_table import FILE
from edgeveil.shared.data.sounds.recordings import SOUNDS, read_sound
from edgeveil.shared.data.tree import SUFFIXES
from edgeveil.shared.models.taken import ColumnsInput, ImageInput, MomentInput, SoundInput, Taken

STDIN = "-"
ARCHIVE = ".npz"
MOST_SENT = 64 << 20  # bytes of arrays that somebody sent, unpacked


@dataclass(frozen=True, slots=True, eq=False)
class Item:
    """`record` (*shape), or None and `why`. `name` is of the owner's disk: foreign text.

    `placed`: where on the square of a detector the picture lies.
    """

    name: str
    record: NDArray[np.float32] | None
    why: str = ""
    placed: Letterbox | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """`paths` in the order in which they are read; `others`: files of other kinds in folders."""

    paths: tuple[str, ...]
    others: int


def endings(taken: Taken | None) -> tuple[str, ...]:
    """How the names of files end that a folder holds for such a model."""
    if isinstance(taken, ColumnsInput):
        from edgeveil.shared.data.tabular.reading import SUFFIXES as TABLES  # noqa: PLC0415 - pictures need none of it

        return (*TABLES, ARCHIVE)
    if isinstance(taken, MomentInput):
        return (FILE, ARCHIVE)
    if isinstance(taken, ImageInput):
        return (*SUFFIXES, ARCHIVE)
    return (*SUFFIXES, *SOUNDS.suffixes, ARCHIVE)


def find(inputs: Sequence[str], taken: Taken | None = None) -> Found:
    """Every file that is meant; of folders, all pictures, recordings and .npz files in them, at any depth, or for a
    model on columns all tables and .npz files; for one on moments each records.csv, whose own files do not count as others.

    Hidden entries are left out, links to folders are not followed.
    """
    paths: list[str] = []
    others = 0
    known = endings(taken)
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
                if name.lower().endswith(known) and Path(folder, name).is_file()
            ]
            others += 0 if isinstance(taken, MomentInput) else len(shown) - len(usable)
            paths += (str(Path(folder) / name) for name in usable)
    return Found(tuple(paths), others)


def read(
    path: str, taken: Taken, stdin: IO[bytes], pace: Pace | None = None, first: int = 0
) -> Iterator[Item]:
    """The records of one file, in its order; of a video its frames at this pace, of a records.csv its lines from the
    `first` on.

    What needs an extra that is not here cannot be used, and says which.
    """
    try:
        yield from _read(path, taken, stdin, pace, first)
    except NotInstalled as error:
        yield Item(path, None, error.message)


def _read(
    path: str, taken: Taken, stdin: IO[bytes], pace: Pace | None, first: int
) -> Iterator[Item]:
    if is_video(path):
        yield from _from_video(path, taken, pace)
    elif path == STDIN:
        data = stdin.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            why = f"more than {MAX_BYTES:,} bytes on standard input, none of which were used; name the file instead"
            yield Item(STDIN, None, why)
        else:
            yield from from_bytes(data, taken, most=1, table=True)
    elif path.lower().endswith(ARCHIVE):
        yield from _from_archive(path, taken)
    elif isinstance(taken, ColumnsInput):
        yield from _from_table(path, path, taken)
    elif isinstance(taken, MomentInput) and Path(path).name == FILE:
        yield from _from_moments(path, taken, first)
    else:
        yield from_file(path, path, taken)


def from_file(path: str, name: str, taken: Taken) -> Item:
    """A picture or a recording."""
    if isinstance(taken, ImageInput):
        if taken.resize == "letterbox":
            return _onto_square(path, name, taken.height)
        found = read_picture(Path(path), taken.height, taken.width, taken.channels)
    elif isinstance(taken, SoundInput):
        found = read_sound(Path(path), taken.rate, *taken.shape)
    elif isinstance(taken, MomentInput):
        senses = ", ".join(taken.parts)
        why = f"this model takes {senses} of each moment: name a folder with {FILE}, or an .npz file with {asked(taken)}"
        return Item(name, None, why)
    else:
        return Item(name, None, f"this model takes arrays: name an .npz file with {asked(taken)}")
    return Item(name, None, found.why) if isinstance(found, LeftOut) else Item(name, found)


def _onto_square(path: str, name: str, side: int) -> Item:
    found = read_upright(Path(path))
    if isinstance(found, LeftOut):
        return Item(name, None, found.why)
    return squared(name, found.pixels, side)


def squared(name: str, pixels: NDArray[np.uint8], side: int) -> Item:
    """A picture (height, width, 3) as a detector takes it: (side, side, 3) in 0..1."""
    placed = Letterbox.of(pixels.shape[1], pixels.shape[0], side)
    square = np.moveaxis(placed.place(pixels), 0, 2)
    return Item(name, square.astype(np.float32) / np.float32(255), placed=placed)


def _from_video(path: str, taken: Taken, pace: Pace | None) -> Iterator[Item]:
    """A frame each; one more without a record, if the video is damaged or ends too early."""
    name = without_secrets(path)
    if not isinstance(taken, ImageInput):
        yield Item(name, None, "this model does not take videos")
        return
    try:
        with Video(path, pace) as video:
            for frame in video:
                yield from_frame(f"{name} at {frame.at_s:.2f} s", frame.pixels, taken)
    except DataError as error:
        yield Item(name, None, error.message.removeprefix(f"{name}: "))
        return
    if video.problem:
        yield Item(name, None, video.problem.removeprefix(f"{name}: "))


def from_frame(name: str, pixels: NDArray[np.uint8], taken: ImageInput) -> Item:
    """A picture (height, width, 3) that is in memory already."""
    if taken.resize == "letterbox":
        return squared(name, pixels, taken.height)
    return Item(name, scaled(pixels, taken.height, taken.width, taken.channels))


def from_bytes(
    data: bytes, taken: Taken, *, most: int, arrays: bool = False, table: bool = False
) -> Iterator[Item]:
    """One picture or recording, the rows of a `table`, or the records of an .npz file, that somebody sent; of more than `most` one more than that.

    It lies in memory and nowhere else, under a name that the readers can open.
    """
    handle = os.memfd_create("input", os.MFD_CLOEXEC)
    try:
        with os.fdopen(handle, "wb", closefd=False) as file:
            file.write(data)
        path = f"/proc/self/fd/{handle}"
        found: Iterable[Item]
        if arrays:
            found = _from_archive(path, taken, most=MOST_SENT, records=most + 1)
        elif table and isinstance(taken, ColumnsInput):
            found = _from_table(path, STDIN, taken)
        else:
            found = [from_file(path, STDIN, taken)]
        for item in found:
            yield replace(item, name=item.name.replace(path, STDIN), why=item.why.replace(path, STDIN))  # fmt: skip
    finally:
        os.close(handle)


def _from_table(path: str, name: str, taken: ColumnsInput) -> Iterator[Item]:
    from edgeveil.agent.inference import columns  # noqa: PLC0415 - pictures need none of it

    try:
        for where, record, why in columns.read(Path(path), taken):
            yield Item(f"{name}: {where}" if where else name, record, why)
    except DataError as error:
        yield Item(name, None, error.message.removeprefix(f"{path}: "))


def _from_moments(path: str, taken: MomentInput, first: int) -> Iterator[Item]:
    from edgeveil.agent.inference import moments  # noqa: PLC0415 - pictures need none of it

    try:
        for where, record, why in moments.read(Path(path), taken, first):
            yield Item(f"{path}: {where}", record, why)
    except DataError as error:
        yield Item(path, None, error.message.removeprefix(f"{path}: "))


def _from_archive(
    path: str,
    taken: Taken,
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
