"""A first schema.toml from what lies in a file: commented, to be completed by its owner.

What a column's values happen to span is written down as a comment, so that a wrong unit is noticed. It is
not taken for the range: that has to come from the sensor, or the records would decide how they are scaled.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from edgeveil.shared.base.errors import DataError
from edgeveil.shared.data.tabular import parquet
from edgeveil.shared.data.tabular.layout import MOST_LABELS
from edgeveil.shared.data.tabular.lines import Line, read_lines
from edgeveil.shared.data.tabular.reading import SUFFIXES, text_files
from edgeveil.shared.data.tabular.rows import MISSING, plain

LOOKED_AT = 200_000  # lines of all files
LEAST_OF_EACH = 200  # so at most a thousand files
_UNIT = re.compile(r"(?P<name>[^()\[\],]{1,60}?) ?[(\[](?P<unit>[^()\[\],]{1,60})[)\]]")
SEPARATORS = (",", ";", "\t", "|")
MOST_CLASSES = 50  # different texts in a column that is taken for a label
TIMES = ("time", "timestamp", "date", "datetime")
GROUPS = ("group", "subject", "person", "session", "machine", "unit_id", "recording", "device")
LABELS = ("label", "class", "activity", "state", "status", "target", "y")


@dataclass(slots=True)
class _Seen:
    """Of one column."""

    numbers: int = 0
    words: int = 0
    texts: set[str] = field(default_factory=set)
    many: bool = False  # more different values than a label has
    empty: int = 0
    low: float = float("inf")
    high: float = float("-inf")

    def see(self, cell: str, *, comma: bool, text: bool) -> None:
        if cell.casefold() in MISSING:
            self.empty += 1
            return
        value = None if text else plain(cell, comma=comma)
        if value is not None:
            self.numbers += 1
            self.low, self.high = min(self.low, value), max(self.high, value)
        else:
            self.words += 1
        if not self.many:
            self.texts.add(cell)
            self.many = len(self.texts) > MOST_CLASSES


@dataclass(frozen=True, slots=True)
class _Written:
    """How the first file is written; the others are taken to be alike. `texts`: columns of that type."""

    separator: str = ","
    comma: bool = False
    encoding: str = "utf-8"
    parquet: bool = False
    texts: frozenset[str] = frozenset()

    @classmethod
    def of(cls, file: Path) -> "_Written":
        if parquet.is_parquet(file):
            return cls(parquet=True, texts=parquet.text_columns(file))
        encoding = "cp1252" if _is_foreign(file) else "utf-8"
        separator = _separator(file, encoding)
        lines = islice(read_lines(file, separator, encoding), 1, 201)
        return cls(separator, separator != "," and _commas(lines), encoding)

    def lines(self, file: Path) -> Iterator[Line]:
        if parquet.is_parquet(file):
            return parquet.read_rows(file)
        return read_lines(file, self.separator, self.encoding)

    @property
    def keys(self) -> dict[str, str]:
        """As schema.toml has them; Parquet says itself how it is written."""
        if self.parquet:
            return {}
        keys = {"separator": self.separator, "decimal": "," if self.comma else "."}
        return keys if self.encoding == "utf-8" else keys | {"encoding": self.encoding}


def draft(path: Path) -> str:
    """The text of a first schema.toml for a folder of files of rows, or one; raises DataError."""
    files = text_files(path)
    if not files:
        raise DataError(f"{path}: no {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]} file to look at")
    file = files[0]
    written = _Written.of(file)
    first = next(written.lines(file), (1, None))[1]
    if first is None:
        raise DataError(f"{file}: has no line that names its columns")
    titles = [cell.strip() for cell in first]
    seen = [_Seen() for _ in titles]
    each = max(LEAST_OF_EACH, LOOKED_AT // len(files))
    for other in files[: LOOKED_AT // each]:  # often one recording of one class
        for cells in _rows(written.lines(other), titles, each):
            for title, column, cell in zip(titles, seen, cells, strict=True):
                column.see(cell.strip(), comma=written.comma, text=title in written.texts)
    return "\n".join(_text(file, written.keys, titles, seen))


def _rows(lines: Iterator[Line], titles: list[str], most: int) -> Iterator[list[str]]:
    """Its first lines as cells; none of a file with other columns."""
    first = next(lines, (1, None))[1]
    if first is not None and [cell.strip() for cell in first] == titles:
        yield from (
            cells for _, cells in islice(lines, most) if cells and len(cells) == len(titles)
        )


def _is_foreign(file: Path) -> bool:
    """Whether the first lines hold bytes that are not UTF-8, as of an old spreadsheet."""
    first = islice(read_lines(file, ",", "utf-8"), 50)
    return any("\ufffd" in cell for _, cells in first for cell in cells or ())


def _separator(file: Path, encoding: str) -> str:
    """What cuts the first line into most cells, and most of those after it into as many."""
    best, most = ",", 1
    for separator in SEPARATORS:
        widths = [
            len(cells or ()) for _, cells in islice(read_lines(file, separator, encoding), 50)
        ]
        alike = sum(width == widths[0] for width in widths)
        if widths and widths[0] > most and 2 * alike > len(widths):
            best, most = separator, widths[0]
    return best


def _commas(lines: Iterable[Line]) -> bool:
    """Whether more cells are numbers with a decimal comma than with a point."""
    cells = [cell.strip() for _, row in lines for cell in row or ()]
    with_comma = sum("," in cell and plain(cell, comma=True) is not None for cell in cells)
    with_point = sum("." in cell and plain(cell, comma=False) is not None for cell in cells)
    return with_comma > with_point


def _text(
    file: Path, written: Mapping[str, str], titles: list[str], seen: list[_Seen]
) -> Iterator[str]:
    yield f"# What the columns of {_shown(file.name)} are. Written by `agent data schema`; complete it, then try it with"
    yield "# agent data check. It stays on this machine, as all figures in it do."
    for key, value in written.items():
        yield f"{key} = {_toml(value)}"
    yield "# window = 100  # for recordings: so many rows are one record; without it each row is one"
    yield "# step = 100    # rows from one window to the next; less than window puts an event into two records"
    roles = _roles(titles, seen)
    for title, column, role in zip(titles, seen, roles, strict=True):
        yield ""
        yield "[[columns]]"
        yield from _column(title, column, role)
        if role == "ignore":
            yield f"# not used because {_why_not(title, column, roles)}"


def _roles(titles: list[str], seen: list[_Seen]) -> list[str]:
    """By name where it says so, else numbers are features and texts are not used; at most one label."""
    roles = []
    for title, column in zip(titles, seen, strict=True):
        word = title.casefold()
        if word in TIMES:
            roles.append("time")
        elif word in GROUPS:
            roles.append("group")
        elif word in LABELS and not column.many and column.texts:
            roles.append("label")
        else:
            roles.append("feature" if column.numbers > column.words else "ignore")
    once = ("time", "group", "label")
    roles = [
        "ignore" if role in once and role in roles[:at] else role for at, role in enumerate(roles)
    ]
    if "label" not in roles:
        few = [at for at, each in enumerate(seen) if not each.numbers and len(each.texts) >= 2 and not each.many]  # fmt: skip
        if few and roles[few[-1]] == "ignore":
            roles[few[-1]] = "label"
    return roles


def _why_not(title: str, column: _Seen, roles: list[str]) -> str:
    """What its owner may want to change, in the words of `role`."""
    if not column.numbers and not column.words:
        return "no line that was looked at has a value in it"
    word = title.casefold()
    for role, names in (("time", TIMES), ("group", GROUPS), ("label", LABELS)):
        if word in names and role in roles:
            return f"another column is the {role} already"
    if column.many:
        return f"it holds text, of more than {MOST_CLASSES} kinds: too many for a label"
    if len(column.texts) < 2:
        return "it says the same in every line"
    if "label" in roles:
        return "it holds text, and another column is the label already"
    return "most of its values are text"


def _column(title: str, column: _Seen, role: str) -> Iterator[str]:
    told = _UNIT.fullmatch(title)
    name, unit = (told["name"].strip(), told["unit"].strip()) if told else (title, "")
    name = "".join(letter for letter in name if letter not in "[],").strip() or "unnamed"
    yield f"name = {_toml(name)}"
    if name != title:
        yield f"header = {_toml(title)}"
    yield f'role = "{role}"'
    if role == "label":
        yield f"labels = {_toml(sorted(column.texts)[:MOST_LABELS])}"
    elif role == "time":
        yield f'type = "{"number" if column.numbers else "timestamp"}"'
    elif role == "feature":
        yield f"unit = {_toml(unit)}  # what it is measured in; plans ask for name and unit"
        yield f"# here from {column.low:g} to {column.high:g}; {column.empty} without a value"
        yield "# range = [, ]  # required: from the sensor's data sheet, never from these values"
        yield 'missing = "leave_out"  # a record without a value; or the number to put there'


def _shown(name: str) -> str:
    """On one line, whatever the file is called."""
    return "".join(letter if letter.isprintable() else "?" for letter in name)


def _toml(value: str | list[str]) -> str:
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
