"""What records with boxes are: the side of their square and the names of their classes; public, pinned by the owner."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgeveil.shared.base.errors import DataError
from edgeveil.shared.base.names import listed
from edgeveil.shared.data.boxes.formats import layout
from edgeveil.shared.data.boxes.formats.annotated import Note
from edgeveil.shared.data.boxes.reading import BoxRecords, Look, Square, Wanted, read_boxes
from edgeveil.shared.data.left_out import LeftOut, by_reason
from edgeveil.shared.data.pictures import read_bytes, stored_size

BOXES = "boxes"
EXPECTED = layout.EXPECTED
SMALL, SIDE = 128, 416  # of the square, unless its owner says so: of small pictures, of others
LEAST_SIDE, MOST_SIDE, STEP = 64, 640, 32  # STEP: what networks halve five times
LOOKED_AT = 201  # pictures, evenly spread, whose headers say whether most are small


@dataclass(frozen=True, slots=True)
class BoxSurvey:
    """`usable` is one figure, of records; `objects` are the boxes of each class, in all of them."""

    usable: tuple[int, ...]
    left: tuple[LeftOut, ...]
    objects: tuple[int, ...]
    notes: tuple[Note, ...]
    pictures: int
    empty: int
    advice: str = ""


@dataclass(frozen=True, slots=True)
class BoxSchema:
    """`tile` in pixels of the picture, 0 for whole ones; whether boxes marked as difficult are used."""

    side: int
    labels: tuple[str, ...]
    tile: int = 0
    difficult: bool = False

    def __str__(self) -> str:
        tiles = f", tiles of {self.tile}" if self.tile else ""
        return (
            f"{self.kind}, {self.side}×{self.side} in colours{tiles}, labels {listed(self.labels)}"
        )

    @property
    def kind(self) -> str:
        return BOXES

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.side, self.side, 3)

    def fits(self, asked: object) -> bool:
        """Whether a task for `asked` can use such records: of its side, and with at least one of its classes.

        Boxes of classes that it does not ask for are nothing to it.
        """
        if not isinstance(asked, BoxSchema) or asked.side != self.side:
            return False
        return bool(set(asked.labels) & set(self.labels))

    def read(self, path: Path) -> BoxRecords:
        return read_boxes(path, self._wanted())

    def survey(self, path: Path) -> BoxSurvey:
        """The same without keeping a picture."""
        left: list[LeftOut] = []
        look = Look(path, self._wanted(), left)
        objects, records, empty = [0] * len(self.labels), 0, 0
        for square in look:
            records += 1
            empty += not len(square.rows)
            for index in square.rows[:, 0].astype(int).tolist():
                if index >= 0:
                    objects[index] += 1
        return BoxSurvey(
            (records,), by_reason(left), tuple(objects), look.notes.all(), look.pictures, empty
        )

    def squares(self, path: Path, left: list[LeftOut]) -> Iterator[Square]:
        """The records one at a time; what is left out is added to `left`."""
        yield from Look(path, self._wanted(), left)

    def _wanted(self) -> Wanted:
        return Wanted(self.side, self.labels, self.tile, self.difficult)


def infer_boxes(path: Path) -> BoxSchema:
    """Of a folder in one of the formats as it is now; raises DataError, also where no class has a name.

    The square is small if more than half of the pictures looked at are: no single one decides.
    """
    found = layout.annotations(path)
    if not found.categories:
        raise DataError(
            f"{path}: no category has a name, so there is nothing to be found in pictures"
        )
    count = len(found.pictures)
    looked = min(count, LOOKED_AT)
    chosen = (found.pictures[at * count // looked].picture for at in range(looked))
    sizes = [size for path in chosen if (size := stored_size(path)) is not None]
    small = 2 * sum(max(size) <= SMALL for size in sizes) > len(sizes)
    return BoxSchema(SMALL if small else SIDE, found.categories)


def holds(path: Path) -> bool:
    return layout.form_of(path) is not None


def check(path: Path) -> None:
    """Raise DataError for what is wrong with the whole of a folder."""
    if not layout.annotations(path).pictures:
        raise DataError(f"{path}: no picture in this folder has an annotation; expected {EXPECTED}")


def records(path: Path) -> Iterator[bytes]:
    """Every annotated picture as it lies on the disk, without its boxes: mended annotations are no new data."""
    for each in layout.annotations(path).pictures:
        data = read_bytes(each.picture)
        if not isinstance(data, LeftOut):
            yield data


def count(path: Path) -> int:
    return len(layout.annotations(path).pictures)
