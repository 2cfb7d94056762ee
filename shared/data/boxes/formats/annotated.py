"""What an annotation says of a picture, in the one form that all formats are read into, and what is wrong with boxes."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from edgeveil.shared.data.left_out import LeftOut

FIRST = 5  # names kept for one fault


class Fault(StrEnum):
    """Of a box, in the order in which an owner should hear of them; only a CUT one is learned from all the same."""

    NUMBERS = "not four finite numbers"
    EMPTY = "of no size, or of a negative one"
    OUTSIDE = "outside the picture"
    ORPHAN = "of a picture that is not listed"
    UNKNOWN = "of a category that is no class"
    TWICE = "there twice"
    MANY = "too many in one picture: the largest are kept"
    SMALL = "smaller than a pixel when the picture is scaled"
    SLIVER = "mostly in the tile beside"
    CROWD = "of a crowd: nothing found there is wrong"
    DIFFICULT = "marked as difficult: nothing found there is wrong"
    CUT = "reaches beyond the picture: cut there, and used"


@dataclass(frozen=True, slots=True)
class RawBox:
    """Corners as an annotation means them, half-open; `label` None where its category has no name."""

    label: str | None
    corners: tuple[float, float, float, float]
    crowd: bool = False
    difficult: bool = False


@dataclass(frozen=True, slots=True)
class Annotated:
    """`size` (width, height) as the annotation says it; `relative` corners are shares of the picture's."""

    picture: Path
    boxes: tuple[RawBox, ...]
    size: tuple[int, int] | None = None
    relative: bool = False


@dataclass(frozen=True, slots=True)
class Note:
    """So many boxes with one fault, and where the first of them are: names of the owner's disk."""

    fault: Fault
    count: int
    first: tuple[str, ...]


@dataclass(slots=True)
class Notes:
    """Counts faults while records are read."""

    _counts: dict[Fault, int] = field(default_factory=dict)
    _first: dict[Fault, list[str]] = field(default_factory=dict)

    def add(self, fault: Fault, where: str, count: int = 1) -> None:
        self._counts[fault] = self._counts.get(fault, 0) + count
        names = self._first.setdefault(fault, [])
        if len(names) < FIRST and where not in names:
            names.append(where)

    def all(self) -> tuple[Note, ...]:
        return tuple(
            Note(fault, self._counts[fault], tuple(self._first[fault]))
            for fault in Fault
            if fault in self._counts
        )


@dataclass(frozen=True, slots=True)
class Annotations:
    """Of a whole folder: `pictures` in the order of their names; `categories` each once, as the format orders them."""

    form: str
    pictures: tuple[Annotated, ...]
    categories: tuple[str, ...]
    left: tuple[LeftOut, ...] = ()
    orphans: tuple[str, ...] = ()  # boxes of pictures that are not listed

    def notes(self) -> Notes:
        """To be continued while the boxes are looked at."""
        found = Notes()
        for where in self.orphans:
            found.add(Fault.ORPHAN, where)
        return found


def each_once(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))
