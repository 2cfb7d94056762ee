"""What a reader of records leaves out, and why: told to the owner, never to anybody else.

A record is left out for its own sake alone, and nothing is left out without a word.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Reason(StrEnum):
    """In the order in which an owner should hear of them."""

    DAMAGED = "damaged or no picture"
    UNREADABLE = "cannot be opened"
    TOO_LARGE = "too large"
    VALUES = "values out of range"
    MISSING = "a missing value"
    TEXT = "text where a number belongs"
    RAGGED = "a line that is no row"
    LABEL = "no class of the task"
    ANNOTATION = "an annotation that cannot be used"
    ABSENT = "annotated, and not there"
    UNLABELLED = "without an annotation"
    KIND = "another kind of file"
    SHORT = "too short for a window"
    NESTED = "in a folder inside a class folder"
    STRAY = "beside the class folders"
    HIDDEN = "hidden"


@dataclass(frozen=True, slots=True)
class LeftOut:
    """`name` is of the owner's disk, so foreign text: it goes to no terminal but through its door.

    `count` is how many records or files it stands for; 0 for a folder without any.
    """

    reason: Reason
    name: str
    why: str
    count: int = 1

    @property
    def sentence(self) -> str:
        return f"{self.name}: {self.why}"


def by_reason(left: Iterable[LeftOut]) -> tuple[LeftOut, ...]:
    """The same, those first that an owner should hear of first."""
    places = {reason: at for at, reason in enumerate(Reason)}
    return tuple(sorted(left, key=lambda each: places[each.reason]))


def total(left: Iterable[LeftOut]) -> int:
    return sum(each.count for each in left)
