"""One line of cells as one row of numbers, or the reason why it is none; a row decides about itself alone."""

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import le
from pathlib import Path

from edgeveil.shared.base.errors import DataError
from edgeveil.shared.data.left_out import Reason
from edgeveil.shared.data.tabular.layout import ColumnSection, Layout

MISSING = frozenset({"", "nan", "na", "n/a", "null", "none", "-", "?"})
MOST_SHOWN = 30  # characters of a cell in a sentence for its owner

Fault = tuple[Reason, str]


@dataclass(slots=True)
class Row:
    """`values` are features, then the target, cut to their ranges; `label` an index, -1 for none.

    `placed`: group and time are its own, and not those of the row before.
    """

    line: int
    values: Sequence[float]
    label: int = 0
    group: str = ""
    time: float = 0.0
    placed: bool = True
    fault: Fault | None = None
    stranger: Fault | None = None  # a label that is none of the classes


class RowReader:
    """Reads the lines of one file; `clipped` counts the values that were cut, by column."""

    def __init__(
        self,
        layout: Layout,
        header: Sequence[str],
        path: Path,
        clipped: list[int],
        *,
        numbers: bool = True,
    ) -> None:
        """Without `numbers` only the place of a row is read, and its values are zeros.

        Raises:
            DataError: naming every column that the file lacks.
        """
        self._clipped, self._wanted = clipped, numbers
        self._comma = layout.decimal == ","
        self._width = len(header)
        places = _places(layout, header, path)
        self._numbers = [(places[each.title], each) for each in layout.numbers]
        self._classes = {name: index for index, name in enumerate(layout.labels)}
        self._label, self._group, self._time = (
            None if (found := layout.one(role)) is None else (places[found.title], found)
            for role in ("label", "group", "time")
        )
        self._empty = [0.0] * len(self._numbers)
        self._lows = [section.low for _, section in self._numbers]
        self._highs = [section.high for _, section in self._numbers]
        self._last = Row(0, self._empty, label=-1)

    def read(self, line: int, cells: list[str] | None) -> Row:
        """A line that is no row keeps the place, group, label and time of the row before it."""
        if cells is None or len(cells) != self._width:
            return self._no_row(line, cells)
        row = Row(line, self._empty)
        if self._wanted:
            self._fill(row, cells)
        try:
            self._place(row, cells)
        except _Unusable as found:
            row.label, row.group, row.time = self._last.label, self._last.group, self._last.time
            row.placed, row.fault = False, row.fault or found.fault
        self._last = row
        return row

    def _fill(self, row: Row, cells: list[str]) -> None:
        """Most rows are plain numbers in range: those are read at once, others cell by cell."""
        chosen = [cells[place] for place, _ in self._numbers]
        plain_row = _plain_row(chosen, comma=self._comma)
        if (
            plain_row is not None
            and all(map(le, self._lows, plain_row))
            and all(map(le, plain_row, self._highs))
        ):
            row.values = plain_row
            return
        try:
            row.values = [
                self._number(cell.strip(), section, at)
                for at, (cell, (_, section)) in enumerate(zip(chosen, self._numbers, strict=True))
            ]
        except _Unusable as found:
            row.fault = found.fault

    def _place(self, row: Row, cells: list[str]) -> None:
        if self._group is not None:
            row.group = cells[self._group[0]].strip()
        if self._time is not None:
            row.time = self._moment(cells[self._time[0]].strip(), self._time[1])
        if self._label is not None:
            self._name(row, cells[self._label[0]])

    def _no_row(self, line: int, cells: list[str] | None) -> Row:
        why = (
            "is too long, or has a quote that is not closed"
            if cells is None
            else f"has {len(cells)} fields, the first line has {self._width}"
        )
        last, fault = self._last, (Reason.RAGGED, why)
        return Row(line, self._empty, last.label, last.group, last.time, placed=False, fault=fault)

    def _name(self, row: Row, cell: str) -> None:
        row.label = self._classes.get(cell, -1)
        if row.label >= 0:
            return
        name = unicodedata.normalize("NFC", cell.strip())
        row.label = self._classes.get(name, -1)
        if row.label < 0:
            known = ", ".join(self._classes)
            row.stranger = (Reason.LABEL, f"has the label {_shown(name)}, not one of {known}")

    def _number(self, cell: str, section: ColumnSection, at: int) -> float:
        value = self._value(cell, section)
        if value < section.low:
            self._clipped[at] += 1
            return section.low
        if value > section.high:
            self._clipped[at] += 1
            return section.high
        return value

    def _value(self, cell: str, section: ColumnSection) -> float:
        """A finite number; a missing one is what the column says. Raises _Unusable."""
        if cell.casefold() in MISSING:
            if section.missing == "leave_out":
                raise _Unusable(Reason.MISSING, f"has no value in {section.title}")
            return section.missing
        value = plain(cell, comma=self._comma)
        if value is None:
            what = "a formula" if cell.startswith("=") else "text"
            raise _Unusable(Reason.TEXT, f"has {what} in {section.title}: {_shown(cell)}")
        if not math.isfinite(value):
            raise _Unusable(Reason.VALUES, f"has {_shown(cell)} in {section.title}")
        return value

    def _moment(self, cell: str, section: ColumnSection) -> float:
        """Seconds for a timestamp, in UTC unless it says otherwise, else the number."""
        if section.type != "timestamp":
            return self._value(cell, section)
        try:
            moment = datetime.fromisoformat(cell)
            # Not the machine's own zone: its clocks go back once a year.
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError, OSError):
            why = f"has no timestamp as 2026-01-31 12:00:00 in {section.title}: {_shown(cell)}"
            raise _Unusable(Reason.TEXT, why) from None


class _Unusable(Exception):
    def __init__(self, reason: Reason, why: str) -> None:
        super().__init__(why)
        self.fault = (reason, why)


def plain(cell: str, *, comma: bool) -> float | None:
    """A number in ASCII digits; None for anything else, as 1_000, 1.234,5 or a formula."""
    if comma:
        if "." in cell:
            return None
        cell = cell.replace(",", ".", 1)
    if "_" in cell or not cell.isascii():
        return None
    try:
        return float(cell)
    except ValueError:
        return None


def _plain_row(cells: list[str], *, comma: bool) -> list[float] | None:
    """All of them as plain() has them; None if there may be one that it does not take."""
    text = "".join(cells)
    if "_" in text or not text.isascii() or (comma and "." in text):
        return None
    try:
        if comma:
            return [float(cell.replace(",", ".", 1)) for cell in cells]
        return [float(cell) for cell in cells]
    except ValueError:
        return None


def _places(layout: Layout, header: Sequence[str], path: Path) -> dict[str, int]:
    """Where each column stands in a line, by what the file calls it."""
    if not layout.header:
        return {each.title: at for at, each in enumerate(layout.columns)}
    found: dict[str, int] = {}
    for at, cell in enumerate(header):
        found.setdefault(unicodedata.normalize("NFC", cell.strip()), at)
    missing = [each.title for each in layout.columns if each.title not in found]
    if missing:
        there = ", ".join(list(found)[:20])
        raise DataError(
            f"{path}: the column {', '.join(map(repr, missing))} of schema.toml is not in this "
            f"file, which has {there}; mend `header` or `separator` in schema.toml"
        )
    return found


def _shown(cell: str) -> str:
    return ascii(cell if len(cell) <= MOST_SHOWN else f"{cell[:MOST_SHOWN]}…")
