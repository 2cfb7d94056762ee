"""Records from files of rows beside a schema.toml: one row each, or windows of rows; and what was left out."""

from array import array
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeveil.shared.base.errors import DataError
from edgeveil.shared.data.left_out import LeftOut, Reason, by_reason
from edgeveil.shared.data.tabular import parquet
from edgeveil.shared.data.tabular.layout import FILE, Layout
from edgeveil.shared.data.tabular.lines import read_lines
from edgeveil.shared.data.tabular.rows import Row, RowReader

SUFFIXES = (".csv", ".tsv", ".txt", parquet.SUFFIX)
MOST_ROWS = 100_000_000
MOST_VALUES = 1 << 28  # of one data set: 1 GiB of float32
MOST_NAMED = 1000  # records that are named one by one, for one reason
MOST_GROUPS = 1 << 20  # that are told apart
MANY = 0.5  # of the values of a column; with more of them cut, it is the range that is wrong


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """`values` (N, C), or (N, T, C) of windows, in the columns' units and cut to their ranges.

    `columns` names the C, as `name [unit]`.
    """

    columns: tuple[str, ...]
    values: NDArray[np.float32]
    targets: NDArray[np.int64]  # (N,) the index of the class; 0 without classes
    numbers: NDArray[np.float32]  # (N,) the target; 0 without one
    left: tuple[LeftOut, ...]
    clipped: tuple[tuple[str, int], ...] = ()  # columns with values that were cut, and how many
    groups: int = 0
    advice: str = ""
    group_ids: tuple[bytes, ...] | None = None  # (N,) whose each record is, or of which recording

    @property
    def skipped(self) -> tuple[str, ...]:
        """A sentence for each, the first being the one to begin with."""
        return tuple(each.sentence for each in self.left)


def text_files(path: Path) -> list[Path]:
    """The file itself, or those of a folder, in the order of their names; hidden ones are not looked at."""
    if path.is_file():
        return [path] if path.suffix.lower() in SUFFIXES else []
    return [each for each in _entries(path) if each.suffix.lower() in SUFFIXES and each.is_file()]


def strangers(path: Path) -> Iterator[LeftOut]:
    """What lies beside the files and is none."""
    for each in _entries(path) if path.is_dir() else ():
        known = each.suffix.lower() in SUFFIXES and each.is_file()
        if not known and each.name != FILE:
            what = "a folder" if each.is_dir() else f"not one of {', '.join(SUFFIXES)}"
            yield LeftOut(Reason.KIND, str(each), f"{what}; records lie beside {FILE}")


def read_text(path: Path, layout: Layout) -> Table:
    """Every record; a record that cannot be used is left out for its own sake alone.

    Raises:
        DataError: a file cannot be read at all, lacks a column, or all hold too much for memory.
    """
    made = _Made(layout)
    for record in _records(path, layout, made):
        made.add(record)
    left = by_reason([*made.named(), *strangers(path)])
    clipped = tuple(
        (each.title, count)
        for each, count in zip(layout.numbers, made.clipped, strict=True)
        if count
    )
    columns = tuple(str(each.column) for each in layout.features)
    advice = advice_on(clipped, made.rows)
    groups, ids = len(made.groups), made.group_ids
    return Table(columns, *made.arrays(), left, clipped, groups, advice, ids)


def count_text(path: Path, layout: Layout) -> int:
    """How many records there are, whatever can be used of them; raises DataError."""
    found = _records(path, layout, _Made(layout), numbers=False)
    return sum(not isinstance(each, LeftOut) for each in found)


def each_record(
    file: Path, layout: Layout
) -> Iterator[tuple[str, NDArray[np.float32] | None, str]]:
    """(lines, values, "") of each record of one file as it comes, or None and why it cannot be used.

    Values are (C,) or (T, C), cut to the ranges. Raises DataError: the file lacks a column, or cannot be read.
    """
    made = _Made(layout)
    rows = _rows(file, layout, made)
    found = _Windows(file.name, layout).of(rows) if layout.window else (_Record(file.name, (row,)) for row in rows)  # fmt: skip
    for record in found:
        left = record if isinstance(record, LeftOut) else made.fault(record)
        if left is not None:
            yield "", None, left.why
        elif isinstance(record, _Record):
            values = np.array([row.values for row in record.rows], np.float32)
            where = (
                f"lines {_span(record.rows)}" if layout.window else f"line {record.rows[0].line}"
            )
            yield where, values if layout.window else values[0], ""


def first_record(file: Path, layout: Layout) -> NDArray[np.float32] | LeftOut:
    """(T, C): the first window of one file, cut to the ranges; whatever is wrong with it leaves it out."""
    if not file.is_file():
        return LeftOut(Reason.UNREADABLE, file.name, "is not there, or no file")
    made = _Made(layout)
    try:
        record = next(_Windows(file.name, layout).of(_rows(file, layout, made)), None)
    except DataError as error:
        return LeftOut(Reason.UNREADABLE, file.name, error.message)
    if record is None:
        return LeftOut(Reason.SHORT, file.name, f"no row, a window takes {layout.window}")
    left = record if isinstance(record, LeftOut) else made.fault(record)
    if left is not None or isinstance(record, LeftOut):
        return left or LeftOut(Reason.SHORT, file.name, "no window")
    return np.array([row.values for row in record.rows], np.float32)


def check_text(path: Path, layout: Layout) -> None:
    """Raise DataError unless each file has every column, and one of them a row."""
    rows = 0
    for file in text_files(path):
        rows += next(_rows(file, layout, _Made(layout)), None) is not None
    if not rows:
        raise DataError(f"{path}: holds no row of values")


def advice_on(clipped: Sequence[tuple[str, int]], rows: int) -> str:
    often = [name for name, count in clipped if count > MANY * rows]
    if not often:
        return ""
    return (
        f"most values in {', '.join(often)} lie outside of the range in {FILE} and were cut to it: "
        "see whether unit and range are those of the sensor"
    )


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(each for each in folder.iterdir() if each.name[0] != ".")
    except OSError as error:
        raise DataError(f"{folder}: this folder cannot be read ({error.strerror})") from error


@dataclass(slots=True)
class _Record:
    """`first`: the rows of the first window of its recording, which stays the same however it goes on."""

    file: str
    rows: Sequence[Row]
    first: Sequence[Row] = ()


class _Made:
    """What has been read so far. Values go straight into flat arrays, so that none is held twice."""

    def __init__(self, layout: Layout) -> None:
        self.clipped = [0] * len(layout.numbers)
        self.groups: set[str] = set()
        self.rows = 0
        self._layout = layout
        self._target = bool(layout.of("target"))
        self._grouped = bool(layout.of("group"))
        self._ids: list[bytes] = []
        self._names: dict[str, bytes] = {}  # so that records of one group share its bytes
        self._recording: tuple[Sequence[Row], bytes] = (), b""
        self._values, self._labels, self._numbers = array("f"), array("q"), array("f")
        self._named: list[LeftOut] = []
        self._more: Counter[Reason] = Counter()
        self._seen: Counter[Reason] = Counter()

    def saw(self, row: Row) -> None:
        self.rows += 1
        if self.rows > MOST_ROWS:
            raise DataError(
                f"more than {MOST_ROWS} rows; take fewer, or a longer time between them"
            )
        if row.group not in self.groups and len(self.groups) < MOST_GROUPS:
            self.groups.add(row.group)

    def add(self, record: _Record | LeftOut) -> None:
        left = record if isinstance(record, LeftOut) else self.fault(record)
        if left is not None:
            self._leave(left)
        elif isinstance(record, _Record):
            self._keep(record)

    def named(self) -> Iterator[LeftOut]:
        yield from self._named
        for reason, count in self._more.items():
            yield LeftOut(reason, "…", f"each of {count} more records", count)

    def arrays(self) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32]]:
        count, columns = len(self._labels), len(self._layout.features)
        shape = (count, self._layout.window, columns) if self._layout.window else (count, columns)
        return (
            np.frombuffer(self._values, np.float32).reshape(shape),
            np.frombuffer(self._labels, np.int64),
            np.frombuffer(self._numbers, np.float32),
        )

    @property
    def group_ids(self) -> tuple[bytes, ...] | None:
        """None where each record is by itself: rows without a column that says whose they are."""
        return tuple(self._ids) if self._grouped or self._layout.window else None

    def _group_of(self, record: _Record) -> bytes:
        """What its owner calls the group, whatever file it is in, else its recording by the content of its first window."""
        if self._grouped:
            name = record.rows[-1].group
            return self._names.setdefault(name, name.encode("utf-8", "surrogatepass"))
        if self._recording[0] is not record.first:
            values = array("f")
            for row in record.first:
                values.extend(self._features(row))
            self._recording = record.first, blake2b(values.tobytes(), digest_size=16).digest()
        return self._recording[1]

    def _keep(self, record: _Record) -> None:
        rows = record.rows
        if self._grouped or self._layout.window:
            self._ids.append(self._group_of(record))
        for row in rows:
            self._values.extend(self._features(row))
        self._labels.append(rows[-1].label)
        self._numbers.append(rows[-1].values[-1] if self._target else 0.0)
        if len(self._values) > MOST_VALUES:
            raise DataError(f"more than {MOST_VALUES} values; take fewer records or columns")

    def _features(self, row: Row) -> Sequence[float]:
        return row.values[:-1] if self._target else row.values

    def _leave(self, left: LeftOut) -> None:
        self._seen[left.reason] += 1
        if self._seen[left.reason] <= MOST_NAMED:
            self._named.append(left)
        else:
            self._more[left.reason] += left.count

    def fault(self, record: _Record) -> LeftOut | None:
        """Of the first row that cannot be used."""
        for row in record.rows:
            found = row.fault or row.stranger
            if found is not None:
                reason, why = found
                where = "" if len(record.rows) == 1 else f"lines {_span(record.rows)}: "
                return LeftOut(reason, record.file, f"{where}line {row.line} {why}")
        return None


def _records(
    path: Path, layout: Layout, made: _Made, *, numbers: bool = True
) -> Iterator[_Record | LeftOut]:
    for file in text_files(path):
        rows = _rows(file, layout, made, numbers=numbers)
        if layout.window:
            yield from _Windows(file.name, layout).of(rows)
        else:
            yield from (_Record(file.name, (row,)) for row in rows)


def _rows(file: Path, layout: Layout, made: _Made, *, numbers: bool = True) -> Iterator[Row]:
    if parquet.is_parquet(file):
        lines, layout = parquet.read_rows(file, layout.columns), parquet.as_written(layout)
    else:
        lines = read_lines(file, layout.separator, layout.encoding)
    for _ in range(layout.skip_lines):
        next(lines, None)
    titles = [each.title for each in layout.columns]
    if layout.header:
        first = next(lines, None)
        if first is None or first[1] is None:
            raise DataError(f"{file}: has no line that names its columns")
        titles = first[1]
    reader = RowReader(layout, titles, file, made.clipped, numbers=numbers)
    for number, cells in lines:
        row = reader.read(number, cells)
        made.saw(row)
        yield row


class _Windows:
    """Windows over the recordings of one file: rows of one label and group, at times that go on."""

    def __init__(self, file: str, layout: Layout) -> None:
        self._file, self._length, self._step = file, layout.window, layout.stride
        self._gap, self._timed = layout.gap, bool(layout.of("time"))
        self._held: deque[Row] = deque()
        self._skip = 0  # rows between this window and the next
        self._made = 0  # windows of this recording
        self._first: Sequence[Row] = ()
        self._last: Row | None = None

    def of(self, rows: Iterator[Row]) -> Iterator[_Record | LeftOut]:
        for row in rows:
            if self._last is not None and self._ends(self._last, row):
                yield from self._end()
            self._last = row
            if row.stranger is not None:
                reason, why = row.stranger
                yield LeftOut(reason, self._file, f"line {row.line} {why}")
            elif self._skip:
                self._skip -= 1
            else:
                self._held.append(row)
                yield from self._full()
        yield from self._end()

    def _full(self) -> Iterator[_Record]:
        if len(self._held) < self._length:
            return
        rows = tuple(self._held)
        self._first = self._first if self._made else rows
        yield _Record(self._file, rows, self._first)
        self._made += 1
        self._skip = max(0, self._step - self._length)
        for _ in range(min(self._step, self._length)):
            self._held.popleft()

    def _ends(self, last: Row, row: Row) -> bool:
        if (row.label, row.group) != (last.label, last.group):
            return True
        if not self._timed or not (row.placed and last.placed):
            return False
        past = row.time - last.time
        return past <= 0 or (self._gap is not None and past > self._gap)

    def _end(self) -> Iterator[LeftOut]:
        """A recording that was too short for a single window is named; what is over after others isn't."""
        if self._held and not self._made:
            why = (
                f"lines {_span(self._held)}: {len(self._held)} rows, a window takes {self._length}"
            )
            yield LeftOut(Reason.SHORT, self._file, why)
        self._held.clear()
        self._skip = self._made = 0


def _span(rows: Sequence[Row]) -> str:
    return f"{rows[0].line} to {rows[-1].line}"
