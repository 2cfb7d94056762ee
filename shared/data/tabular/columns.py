"""A column of numbers as both sides name it: its name, its unit, and in a plan its public range.

`name [unit] low..high` stands in plans, `name [unit]` in policies. Names and units are compared in
Unicode form NFC.
"""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

MOST_COLUMNS = 256  # of one record
LONGEST = 60  # characters of a name, and of a unit
LARGEST = 1e30  # of an end of a range: far inside of float32
NARROWEST = 1e-5  # of the larger end: the length of a range
LONGEST_PART = 250  # characters of a column with its range, looked at before anything else
NUMBER = r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,2})?"
COLUMN = r"(?P<name>[^\[\],]+?)(?: \[(?P<unit>[^\[\],]+)\])?"
_COLUMN = re.compile(COLUMN)
_SET_POINT = re.compile(rf"(?P<name>[^\[\],]+?) (?P<middle>{NUMBER})/(?P<scale>{NUMBER})")
_RANGED = re.compile(rf"(?P<column>{COLUMN}) (?P<low>{NUMBER})\.\.(?P<high>{NUMBER})")


@dataclass(frozen=True, slots=True)
class Column:
    """`unit` is empty for a number without one."""

    name: str
    unit: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `name [unit]`; raises ValueError."""
        found = _COLUMN.fullmatch(_short(text))
        if found is None:
            raise ValueError(f"{text!r} is no column; write it as name [unit], or as name alone")
        return cls(_word(found["name"]), _word(found["unit"]) if found["unit"] else "")

    def __str__(self) -> str:
        return f"{self.name} [{self.unit}]" if self.unit else self.name


@dataclass(frozen=True, slots=True)
class Ranged:
    """A column with the public ends of what its values can be; values beyond are cut to them."""

    column: Column
    low: float
    high: float

    def __post_init__(self) -> None:
        check_range(self.low, self.high)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `name [unit] low..high`; raises ValueError."""
        found = _RANGED.fullmatch(_short(text))
        if found is None:
            raise ValueError(f"{text!r} is not written as name [unit] low..high")
        return cls(Column.parse(found["column"]), float(found["low"]), float(found["high"]))

    def __str__(self) -> str:
        return f"{self.column} {self.low:.12g}..{self.high:.12g}"


def ranged(text: str) -> tuple[Ranged, ...]:
    """Columns separated by commas, each once; raises ValueError."""
    parts = text.split(",", MOST_COLUMNS)
    if len(parts) > MOST_COLUMNS:
        raise ValueError(f"too many columns, at most {MOST_COLUMNS}")
    found = tuple(Ranged.parse(part.strip()) for part in parts)
    check_once(each.column for each in found)
    return found


@dataclass(frozen=True, slots=True)
class SetPoint:
    """Public: the value of a column around which differences matter most, and one that is small there."""

    column: str
    middle: float
    scale: float

    def __post_init__(self) -> None:
        if not (-LARGEST <= self.middle <= LARGEST and LARGEST >= self.scale >= 1 / LARGEST):
            raise ValueError(f"{self.middle:g}/{self.scale:g}: the second number is above 0")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `name middle/scale`; raises ValueError."""
        found = _SET_POINT.fullmatch(_short(text))
        if found is None:
            raise ValueError(f"{text!r} is not written as name middle/scale, such as pressure 80/5")
        return cls(_word(found["name"]), float(found["middle"]), float(found["scale"]))

    def __str__(self) -> str:
        return f"{self.column} {self.middle:.12g}/{self.scale:.12g}"


def set_points(text: str) -> tuple[SetPoint, ...]:
    """Separated by commas, each column once, none for an empty text; raises ValueError."""
    parts = text.split(",", MOST_COLUMNS) if text else []
    found = tuple(SetPoint.parse(part.strip()) for part in parts)
    check_once(Column(each.column) for each in found)
    return found


def check_once(columns: Iterable[Column]) -> None:
    """Raise ValueError for a name that stands twice, whatever its unit, or for too many."""
    names = [each.name for each in columns]
    if len(names) > MOST_COLUMNS:
        raise ValueError(f"{len(names)} columns, at most {MOST_COLUMNS}")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"the column {twice[0]!r} is named twice")


def check_range(low: float, high: float) -> None:
    """Raise ValueError unless they are finite ends of a range with something between in float32."""
    if not -LARGEST <= low < high <= LARGEST:
        raise ValueError(f"{low:g}..{high:g} is no range: the first end has to be the lower one")
    if high - low < NARROWEST * max(abs(low), abs(high)):
        raise ValueError(f"{low:.9g}..{high:.9g} is no range: its ends are too close to each other")


def _short(text: str) -> str:
    """In NFC. A coordinator writes plans: nothing of any length goes into an expression."""
    if len(text) > LONGEST_PART:
        raise ValueError(f"{text[:20]!r}…: a column has at most {LONGEST_PART} characters")
    return unicodedata.normalize("NFC", text)


def _word(text: str) -> str:
    if not text.isprintable() or text != text.strip() or not 1 <= len(text) <= LONGEST:
        raise ValueError(
            f"{text!r} cannot name a column or a unit: 1 to {LONGEST} visible characters, none "
            "of [ ] and ,"
        )
    return text
