"""What the tasks on columns share: their options, and records scaled by the plan's public ranges alone."""

from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

from edgeveil.shared.base.errors import DataError
from edgeveil.shared.data.tabular.columns import Ranged, SetPoint, ranged, set_points
from edgeveil.shared.data.tabular.layout import LONGEST_WINDOW
from edgeveil.shared.data.tabular.reading import Table
from edgeveil.shared.data.tabular.schema import TableSchema, infer_table
from edgeveil.shared.data.tree import nfc
from edgeveil.shared.tasks.records import ArrayRecords
from edgeveil.shared.tasks.spec import Options

MAX_LABEL = 40  # characters of one class name
MAX_PARAMETERS = 1 << 24  # of any variant
BIAS = 0.3  # the constant last input of linear models; small, so that it takes little of the clipping norm

Values = NDArray[np.float32]


class ColumnOptions(Options):
    """`columns`: `name [unit] low..high`, comma-separated, at most 256; the ranges scale to -1..1.

    `signed_log`: `name middle/scale` of those whose values count by their distance from a set point, on a
    logarithmic scale beyond `scale`.
    """

    columns: str = Field(max_length=8192)
    signed_log: str = Field(default="", max_length=8192)

    @field_validator("columns")
    @classmethod
    def _usable_columns(cls, value: str) -> str:
        return ", ".join(str(each) for each in ranged(value))

    @field_validator("signed_log")
    @classmethod
    def _usable_set_points(cls, value: str) -> str:
        return ", ".join(str(each) for each in set_points(value))

    @model_validator(mode="after")
    def _set_points_are_of_columns(self) -> Self:
        known = {each.column.name: each for each in self.ranges}
        for point in set_points(self.signed_log):
            if point.column not in known:
                raise ValueError(f"signed_log: {point.column!r} is none of the columns")
            if not known[point.column].low <= point.middle <= known[point.column].high:
                raise ValueError(f"signed_log: {point} lies outside of the range of that column")
        return self

    @property
    def ranges(self) -> tuple[Ranged, ...]:
        return ranged(self.columns)


class WindowOptions(ColumnOptions):
    """`window`: rows of one record, 0 for one."""

    window: int = Field(default=0, ge=0, le=LONGEST_WINDOW)


class LabelOptions(ColumnOptions):
    """`labels`: the classes, comma-separated, in the order of their indices."""

    labels: str = Field(max_length=8192)

    @field_validator("labels")
    @classmethod
    def _usable_labels(cls, value: str) -> str:
        return usable_labels(value, least=2)

    @property
    def class_names(self) -> tuple[str, ...]:
        return tuple(self.labels.split(","))


def usable_labels(value: str, *, least: int) -> str:
    """The names of classes in NFC; raises ValueError for fewer than `least`, or one that is none."""
    names = (nfc(value) or "").split(",") if value else []
    for name in names:
        if not 1 <= len(name) <= MAX_LABEL or not name.isprintable() or name != name.strip():
            raise ValueError(f"{name!r} cannot be the name of a class")
    if len(set(names)) != len(names):
        raise ValueError("a class is named twice")
    if not least <= len(names) <= 1000:
        raise ValueError(f"{len(names)} classes; {least} to 1000 are needed")
    return ",".join(names)


def check_size(parameters: int) -> None:
    """Raise ValueError before anything is built: the coordinator chooses these numbers."""
    if parameters > MAX_PARAMETERS:
        raise ValueError(f"a model of {parameters} parameters, at most {MAX_PARAMETERS}")


def asked(options: Any, labels: tuple[str, ...] = (), target: str = "") -> TableSchema:
    """The schema that a task asks for."""
    columns = tuple(str(each.column) for each in options.ranges)
    return TableSchema(columns, labels, target, getattr(options, "window", 0))


def read(path: Path, wanted: TableSchema) -> tuple[Table, tuple[str, ...]]:
    """Records and their classes; raises DataError unless they fit `wanted`."""
    own = infer_table(path)
    if not own.fits(wanted):
        raise DataError(f"{path}: the records are {own}, the plan asks for {wanted}")
    return own.read(path), own.labels


def scaled(found: Table, options: ColumnOptions) -> Values:
    """Columns in the plan's order, its ranges brought to -1..1; of each value alone."""
    values, made = in_ranges(found.values, found.columns, options.ranges)
    for point in set_points(options.signed_log):
        at = [each.column.name for each in options.ranges].index(point.column)
        made[..., at] = _signed_log(values[..., at], point, options.ranges[at])
    return made


def in_ranges(
    values: Values, columns: tuple[str, ...], ranges: tuple[Ranged, ...]
) -> tuple[Values, Values]:
    """Of values (…, C) by `columns` those of `ranges`, in their order: cut to them, and brought to -1..1."""
    low = np.array([each.low for each in ranges], np.float32)
    high = np.array([each.high for each in ranges], np.float32)
    cut = np.clip(values[..., [columns.index(str(each.column)) for each in ranges]], low, high)
    return cut, np.asarray((cut - low) / (high - low) * 2 - 1, np.float32)


def _signed_log(values: Values, point: SetPoint, ends: Ranged) -> Values:
    """0 at the set point; 1 or -1 at that end of the range which is further from it."""

    def bent(raw: NDArray[np.float64]) -> NDArray[np.float64]:
        away = (raw - point.middle) / point.scale
        return np.asarray(np.sign(away) * np.log1p(np.abs(away)))

    most = np.abs(bent(np.array([ends.low, ends.high]))).max()
    return np.asarray(bent(values.astype(np.float64)) / most, np.float32)


def relabelled(found: Table, labels: tuple[str, ...], wanted: tuple[str, ...]) -> NDArray[np.int64]:
    """The index that each record's class, one of `labels`, has among `wanted`."""
    places = {name: index for index, name in enumerate(wanted)}
    return np.array([places[name] for name in labels], np.int64)[found.targets]


def scaling(options: ColumnOptions) -> str:
    """What scaled() does, for whoever prepares records elsewhere."""
    return "-1..1 by range" + f"; signed log of {options.signed_log}" * bool(options.signed_log)


def with_bias(rows: Values) -> Values:
    return np.concatenate([rows, np.full((len(rows), 1), BIAS, np.float32)], axis=1)


def records(inputs: Values, targets: NDArray[Any], found: Table) -> ArrayRecords:
    return ArrayRecords(np.ascontiguousarray(inputs), targets, found.skipped)


def normal(shape: tuple[int, ...], random: torch.Generator) -> torch.Tensor:
    return torch.randn(shape, generator=random)
