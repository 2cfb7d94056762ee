"""Pictures with boxes as records: each brought to a square, its boxes with it, or left out with a reason."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeveil.shared.base.errors import DataError
from edgeveil.shared.data.boxes.fitting import IGNORED, MOST_BOXES, NONE, Rows, fit, onto, padded
from edgeveil.shared.data.boxes.formats.annotated import Annotated, Annotations, Note, Notes
from edgeveil.shared.data.boxes.formats.layout import annotations
from edgeveil.shared.data.boxes.letterbox import Letterbox
from edgeveil.shared.data.boxes.tiles import MOST_TILES, parts
from edgeveil.shared.data.left_out import LeftOut, Reason, by_reason
from edgeveil.shared.data.pictures import Upright, read_upright

MOST_BYTES = 2 << 30  # of all squares in memory


@dataclass(frozen=True, slots=True)
class Wanted:
    """How a folder is read; public. `tile` 0 for whole pictures."""

    side: int
    labels: tuple[str, ...]
    tile: int = 0
    difficult: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Square:
    """One record: `pixels` (3, side, side), `rows` (M, 5); `group` says which picture it is of."""

    pixels: NDArray[np.uint8]
    rows: Rows
    group: int
    name: str


@dataclass(frozen=True, slots=True, eq=False)
class BoxRecords:
    """`pixels` (N, 3, side, side) red, green, blue; `rows` (N, MOST_BOXES, 5) with class -1 where there is no box.

    Boxes are in pixels of the square, the largest first. `groups` (N,): tiles of one picture have one number.
    """

    pixels: NDArray[np.uint8]
    rows: NDArray[np.float32]
    groups: NDArray[np.int64]
    left: tuple[LeftOut, ...]
    notes: tuple[Note, ...]
    classes: int
    advice: str = ""

    @property
    def group_ids(self) -> tuple[bytes, ...]:
        """Of each record the content of its picture, all tiles together: equal pictures have one."""
        found: dict[int, Any] = {}
        for group, pixels in zip(self.groups.tolist(), self.pixels, strict=True):
            found.setdefault(group, blake2b(digest_size=16)).update(pixels)
        return tuple(found[group].digest() for group in self.groups.tolist())

    @property
    def targets(self) -> NDArray[np.int64]:
        """One figure for all: a record can show several classes, or none."""
        return np.zeros(len(self.pixels), dtype=np.int64)

    @property
    def objects(self) -> tuple[int, ...]:
        """Boxes of each class."""
        found = self.rows[:, :, 0]
        return tuple(int(np.count_nonzero(found == index)) for index in range(self.classes))

    @property
    def skipped(self) -> tuple[str, ...]:
        return tuple(each.sentence for each in self.left)


def relabelled(
    found: BoxRecords, labels: tuple[str, ...], wanted: tuple[str, ...], room: int
) -> NDArray[np.float32]:
    """Rows (N, room, 5) with the index that their class, one of `labels`, has among `wanted`; others are gone."""
    places = {name: index for index, name in enumerate(wanted)}
    table = np.array([places.get(name, NONE) for name in labels], dtype=np.int64)
    rows = found.rows.copy()
    kinds = rows[:, :, 0].astype(np.int64)
    ignored, there = kinds <= IGNORED, (kinds >= 0) | (kinds <= IGNORED)
    asked = table[np.where(there, np.where(ignored, IGNORED - kinds, kinds), 0)]
    there &= asked >= 0
    rows[:, :, 0] = np.where(there, np.where(ignored, IGNORED - asked, asked), NONE)
    rows[~there, 1:] = 0
    order = np.argsort(~there, axis=1, kind="stable")  # what is there first, as it was
    return np.ascontiguousarray(np.take_along_axis(rows, order[:, :, None], axis=1)[:, :room])


def read_boxes(path: Path, wanted: Wanted) -> BoxRecords:
    """Raise DataError for what is wrong with the whole, and for more than memory should hold."""
    left: list[LeftOut] = []
    look = Look(path, wanted, left)
    room = min(look.most, MOST_BYTES // (3 * wanted.side**2))
    pixels = np.empty((room, 3, wanted.side, wanted.side), dtype=np.uint8)  # taken as it is filled
    rows: list[Rows] = []
    groups: list[int] = []
    for square in look:
        if len(rows) == room:
            raise DataError(
                f"{path}: more than {room:,} records of {wanted.side}×{wanted.side} take more than "
                f"{MOST_BYTES >> 30} GiB in memory; choose a smaller side or no tiles in policy.toml, or fewer "
                "pictures"
            )
        pixels[len(rows)] = square.pixels
        rows.append(padded(square.rows))
        groups.append(square.group)
    return BoxRecords(
        pixels[: len(rows)],
        np.array(rows, dtype=np.float32).reshape(-1, MOST_BOXES, 5),
        np.array(groups, dtype=np.int64),
        by_reason(left),
        look.notes.all(),
        len(wanted.labels),
    )


@dataclass(slots=True)
class Look:
    """Goes through the records one at a time; what it leaves out is added to `left`, faults of boxes to `notes`."""

    path: Path
    wanted: Wanted
    left: list[LeftOut]
    found: Annotations = field(init=False)
    notes: Notes = field(init=False)
    pictures: int = 0

    def __post_init__(self) -> None:
        self.found = annotations(self.path)
        self.notes = self.found.notes()
        self.left += self.found.left

    @property
    def most(self) -> int:
        """Records there can be."""
        return len(self.found.pictures) * (MOST_TILES if self.wanted.tile else 1)

    def __iter__(self) -> Iterator[Square]:
        found = self.found
        classes = {name: index for index, name in enumerate(self.wanted.labels)}
        for group, each in enumerate(found.pictures):
            picture = read_upright(each.picture)
            fault = picture if isinstance(picture, LeftOut) else self._unlike(each, picture)
            if fault is not None or isinstance(picture, LeftOut):
                self.left += [fault] if fault is not None else []
                continue
            self.pictures += 1
            yield from self._squares(each, picture, classes, group)

    def _squares(
        self, each: Annotated, picture: Upright, classes: dict[str, int], group: int
    ) -> Iterator[Square]:
        high, wide = picture.pixels.shape[:2]
        difficult, name = self.wanted.difficult, str(each.picture)
        rows = fit(each, (wide, high), classes, self.notes, difficult=difficult)
        for part in parts(wide, high, self.wanted.tile):
            left, top, right, bottom = part
            letterbox = Letterbox.of(right - left, bottom - top, self.wanted.side)
            mine = onto(rows, part, letterbox, name, self.notes)
            yield Square(letterbox.place(picture.pixels[top:bottom, left:right]), mine, group, name)

    def _unlike(self, each: Annotated, picture: Upright) -> LeftOut | None:
        """A picture that its annotation, or a limit, rules out."""
        high, wide = picture.pixels.shape[:2]
        if (count := len(parts(wide, high, self.wanted.tile))) > MOST_TILES:
            why = f"{count} tiles of {self.wanted.tile} pixels, at most {MOST_TILES}: choose larger ones"
            return LeftOut(Reason.TOO_LARGE, str(each.picture), why)
        return unlike(each, picture)


def unlike(each: Annotated, picture: Upright) -> LeftOut | None:
    """A picture that was annotated at another size than it is shown with."""
    high, wide = picture.pixels.shape[:2]
    if each.size is None or each.size == (wide, high):
        return None
    turned = " before it is turned as its EXIF says" if each.size == picture.stored else ""
    why = (
        f"annotated at {each.size[0]}×{each.size[1]}{turned}, and it is {wide}×{high} as shown: whose pixels "
        "are the boxes in?"
    )
    return LeftOut(Reason.ANNOTATION, str(each.picture), why)
