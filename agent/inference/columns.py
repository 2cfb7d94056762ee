"""Tables and windows of sensor values for a model: read as training reads them, prepared by public constants.

What the graph does not hold of a task's preparation, fixed statistics of a window, is done here by the same
code. Without a schema.toml beside a file its first line names the columns; with one it says how it is written.
"""

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edgeveil.shared.base.errors import DataError
from edgeveil.shared.data.left_out import LeftOut
from edgeveil.shared.data.tabular.columns import Column, Ranged
from edgeveil.shared.data.tabular.layout import ColumnSection, Layout, schema_of
from edgeveil.shared.data.tabular.lines import read_lines
from edgeveil.shared.data.tabular.reading import Table, each_record
from edgeveil.shared.data.tabular.schema import TableSchema, infer_table
from edgeveil.shared.models.given import NumberOutput
from edgeveil.shared.models.taken import ColumnsInput
from edgeveil.shared.tasks.sensors import statistics

Separator = Literal[",", ";", "\t", "|"]
SEPARATORS: tuple[Separator, ...] = (",", ";", "\t", "|")
BIAS = np.float32(0.3)  # the constant last input of linear models
TURN = 2.0  # rad/s that count as much as 1 g
RECENT, STRETCH = (
    8,
    4.0,
)  # of a forecast: rows before the last one, and how much their differences to it count
Values = NDArray[np.float32]
Left = tuple[LeftOut, ...]


def prepared(values: Values, taken: ColumnsInput) -> Values:
    """(n, *shape) as the graph takes them, of values (n, *record_shape) in their units."""
    if not taken.features:
        return values
    motion = taken.statistics == "fixed-v1 motion"
    scaled = _scaled(values, taken)
    if motion:  # in g, and in units of 2 rad/s, again
        half = np.array([(each.high - each.low) / 2 for each in taken.ranges], np.float32)
        middle = np.array([(each.high + each.low) / 2 for each in taken.ranges], np.float32)
        units = np.array([1, 1, 1, TURN, TURN, TURN], np.float32)
        scaled = np.asarray((scaled * half + middle) / units, np.float32)
    found = statistics.described(scaled, motion=motion)
    if taken.statistics == "fixed-v1 forecast":
        found = _foretelling(scaled, found, taken)
    return np.concatenate([found, np.full((len(found), 1), BIAS, np.float32)], axis=1)


def _scaled(values: Values, taken: ColumnsInput) -> Values:
    """Cut to their ranges, in -1..1; those with a set point by their distance from it."""
    low = np.array([each.low for each in taken.ranges], np.float32)
    high = np.array([each.high for each in taken.ranges], np.float32)
    cut = np.clip(values, low, high)
    made = np.asarray((cut - low) / (high - low) * 2 - 1, np.float32)
    names = [each.column.name for each in taken.ranges]
    for point in taken.set_points:
        at = names.index(point.column)
        ends = np.array([taken.ranges[at].low, taken.ranges[at].high])
        away = (cut[..., at].astype(np.float64) - point.middle) / point.scale
        most = np.log1p(np.abs((ends - point.middle) / point.scale)).max()
        made[..., at] = np.sign(away) * np.log1p(np.abs(away)) / most
    return made


def _foretelling(scaled: Values, described: Values, taken: ColumnsInput) -> Values:
    """The last value of what is foretold, the window's statistics, and its last rows, of about the same length."""
    place = [each.column for each in taken.ranges].index(Column.parse(taken.foretold))
    last = scaled[:, -1:]
    steps = np.clip(STRETCH * (last - scaled[:, -1 - RECENT : -1]), -1, 1)
    rows = np.concatenate([steps, last], axis=1).reshape(len(scaled), -1)
    near = rows / np.float32(math.sqrt(rows.shape[1]))
    return np.concatenate([scaled[:, -1, place][:, None], described / 2, near], axis=1, dtype=np.float32)  # fmt: skip


def read(file: Path, taken: ColumnsInput) -> Iterator[tuple[str, Values | None, str]]:
    """(lines, record as the graph takes it, "") of each record of a file, or None and why it cannot be used.

    Raises:
        DataError: the file lacks a column, or cannot be read.
    """
    layout, order = _layout(file, taken)
    for where, values, why in each_record(file, layout):
        yield (
            where,
            None if values is None else prepared(values[np.newaxis, ..., order], taken)[0],
            why,
        )


def labelled(
    path: Path, taken: ColumnsInput, labels: tuple[str, ...]
) -> tuple[Values, NDArray[np.int64], Left]:
    """Records, the indices of their labels among `labels`, and what was left out, by schema.toml.

    Raises DataError: other columns, windows or labels than the model's.
    """
    wanted = f"knows the labels {', '.join(labels)}"
    found, own = _table(path, taken, taken.window, wanted)
    if not own.labels or set(own.labels) - set(labels):
        raise _other(path, own, taken, wanted)
    places = np.array([labels.index(name) for name in own.labels], np.int64)
    return prepared(found.values, taken), places[found.targets], found.left


def numbered(
    path: Path, taken: ColumnsInput, given: NumberOutput
) -> tuple[Values, NDArray[np.float64], Left]:
    """Records, the numbers that they should give in their unit, and what was left out, by schema.toml.

    Raises DataError: other columns, windows or another target than the model's.
    """
    column, wanted = given.number.column, f"gives {given.number.column}"
    found, own = _table(path, taken, taken.window + given.ahead, wanted)
    if given.ahead:
        place = [each.column for each in taken.ranges].index(column)
        answers = found.values[:, -1, place]
    elif own.target == str(column):
        answers = found.numbers
    else:
        raise _other(path, own, taken, wanted)
    seen = found.values[:, : taken.window] if given.ahead else found.values
    return prepared(np.ascontiguousarray(seen), taken), answers.astype(np.float64), found.left


def normal_or_odd(
    path: Path, taken: ColumnsInput, normal: tuple[str, ...]
) -> tuple[Values, NDArray[np.bool_], Left]:
    """Records, which of them have a label beside `normal`, and what was left out, by schema.toml.

    Records without labels are all normal. Raises DataError: other columns or windows than the model's.
    """
    found, own = _table(path, taken, taken.window, "tells odd records")
    odd = np.array([name not in normal for name in own.labels] or [False], np.bool_)
    return prepared(found.values, taken), odd[found.targets], found.left


def _table(path: Path, taken: ColumnsInput, window: int, wanted: str) -> tuple[Table, TableSchema]:
    """Records of so many rows with the model's columns, in its order; raises DataError."""
    own = infer_table(path)
    names = tuple(str(each.column) for each in taken.ranges)
    if own.window != window or set(names) - set(own.columns):
        raise _other(path, own, taken, wanted)
    found = own.read(path)
    values = found.values[..., [own.columns.index(name) for name in names]]
    return replace(found, values=values), own


def _other(path: Path, own: TableSchema, taken: ColumnsInput, wanted: str) -> DataError:
    names = ", ".join(str(each.column) for each in taken.ranges)
    return DataError(
        f"{path}: the records are {own}, the model takes windows of {taken.window} of columns {names} and {wanted}"
    )


def _layout(file: Path, taken: ColumnsInput) -> tuple[Layout, list[int]]:
    """Of the file, with the model's columns as the only ones that count; and where each of those stands among them."""
    kept = schema_of(file)
    wanted = {str(each.column): each for each in taken.ranges}
    if not kept.is_file():
        sections = [_section(each, None) for each in taken.ranges]
        layout = Layout(
            separator=_separator(file, taken), window=taken.window, columns=tuple(sections)
        )
        return layout, list(range(len(sections)))
    own = Layout.load(file)
    known = [str(each.column) for each in own.features]
    if absent := [name for name in wanted if name not in known]:
        raise DataError(f"{file}: {kept.name} has no column {absent[0]}")
    columns = [
        _section(wanted[str(each.column)], each)
        if each.role == "feature" and str(each.column) in wanted
        else ColumnSection(name=each.name, header=each.header, role="ignore")
        for each in own.columns  # in their order, which counts in files without a header
    ]
    values = own.model_dump(exclude={"columns", "window", "step", "gap"})
    step = own.step if own.window and taken.window else None
    order = [name for name in known if name in wanted]
    layout = Layout(**values, window=taken.window, step=step, columns=tuple(columns))
    return layout, [order.index(name) for name in wanted]


def _section(ranged: Ranged, own: ColumnSection | None) -> ColumnSection:
    """The model's range and unit, the file's header and missing-value rule, cut to that range."""
    missing = "leave_out" if own is None else own.missing
    if missing != "leave_out":
        missing = min(max(float(missing), ranged.low), ranged.high)
    return ColumnSection(
        name=ranged.column.name,
        unit=ranged.column.unit,
        header="" if own is None else own.header,
        range=(ranged.low, ranged.high),
        missing=missing,
    )


def _separator(file: Path, taken: ColumnsInput) -> Separator:
    """By the first line, which names the columns; raises DataError."""
    names = {each.column.name for each in taken.ranges}
    for separator in SEPARATORS:
        first = next(read_lines(file, separator, "utf-8"), (0, None))[1]
        if first is not None and names <= {cell.strip() for cell in first}:
            return separator
    raise DataError(
        f"{file}: its first line does not name the columns {', '.join(sorted(names))}; a schema.toml beside "
        "it can say what they are called"
    )
