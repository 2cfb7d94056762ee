"""schema.toml: what the columns of the owner's files are, and how the files are written.

It stays on the machine. What others may know of it, names and units of columns, window and classes, is
pinned in policy.toml (edgeveil.shared.data.tabular.schema).
"""

import unicodedata
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from edgeveil.shared.base.config import Settings, load
from edgeveil.shared.base.errors import ConfigError, DataError
from edgeveil.shared.data.tabular.columns import Column, check_once, check_range

FILE = "schema.toml"
LONGEST_WINDOW = 4096  # rows
MOST_LABELS = 1000
Role = Literal["feature", "target", "label", "group", "time", "ignore"]
Kind = Literal["number", "text", "timestamp"]
NUMERIC: tuple[Role, ...] = ("feature", "target")
ONCE: tuple[Role, ...] = ("target", "label", "group", "time")


class ColumnSection(Settings):
    """One `[[columns]]`; `header` is what the file calls it, `name` what plans do."""

    name: str
    role: Role = "feature"
    unit: str = ""
    header: str = ""
    type: Kind | None = None
    range: tuple[float, float] | None = None
    missing: Literal["leave_out"] | float = "leave_out"
    labels: tuple[str, ...] = Field(default=(), max_length=MOST_LABELS)

    @model_validator(mode="after")
    def _complete(self) -> Self:
        """A mistake names the column: its place in the file tells its owner nothing."""
        try:
            self._check()
        except ValueError as error:
            raise ValueError(f"the column {self.name!r}: {error}") from error
        return self

    def _check(self) -> None:
        if self.role in NUMERIC:
            Column.parse(str(self.column))
            self._check_numbers()
        elif self.range is not None or self.missing != "leave_out":
            raise ValueError(
                f"range and missing belong to a feature or target, not to a {self.role}"
            )
        if self.type not in self._types():
            raise ValueError(
                f"a {self.role} has the type {' or '.join(map(str, self._types()[1:]))}"
            )
        if (self.role == "label") != bool(self.labels):
            raise ValueError('a label, and nothing else, lists its classes: labels = ["…", "…"]')
        if len(set(self.labels)) != len(self.labels):
            raise ValueError("a class is listed twice")

    @field_validator("name", "unit", "header")
    @classmethod
    def _in_one_form(cls, value: str) -> str:
        return unicodedata.normalize("NFC", value)

    @field_validator("labels")
    @classmethod
    def _labels_in_one_form(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(unicodedata.normalize("NFC", label.strip()) for label in value)

    def _check_numbers(self) -> None:
        if self.range is None:
            raise ValueError(
                "range = [low, high] is missing: what the sensor can give at all, from its data "
                "sheet; not what it happened to give"
            )
        check_range(*self.range)
        if self.missing != "leave_out" and not self.low <= self.missing <= self.high:
            raise ValueError(f"missing = {self.missing:g} is outside of range")

    def _types(self) -> tuple[Kind | None, ...]:
        if self.role in NUMERIC:
            return (None, "number")
        if self.role == "time":
            return (None, "number", "timestamp")
        return (None, "text", "number", "timestamp") if self.role == "ignore" else (None, "text")

    @property
    def column(self) -> Column:
        return Column(self.name, self.unit)

    @property
    def low(self) -> float:
        return self.range[0] if self.range else 0.0

    @property
    def high(self) -> float:
        return self.range[1] if self.range else 0.0

    @property
    def title(self) -> str:
        """What the file calls it."""
        return self.header or self.name


class Layout(Settings):
    """`window` 0: a record is a row; else so many rows in a row, the next beginning `step` rows later.

    A window never reaches over a change of label or group, a time that does not go on, or a jump in time
    above `gap`.
    """

    separator: Literal[",", ";", "\t", "|"] = ","
    decimal: Literal[".", ","] = "."
    encoding: Literal["utf-8", "latin-1", "cp1252"] = "utf-8"
    header: bool = True
    skip_lines: int = Field(default=0, ge=0, le=10_000)
    window: int = Field(default=0, ge=0, le=LONGEST_WINDOW)
    step: int | None = Field(default=None, ge=1, le=LONGEST_WINDOW)
    gap: float | None = Field(default=None, gt=0)
    columns: tuple[ColumnSection, ...] = Field(min_length=1, max_length=4096)

    @field_validator("window")
    @classmethod
    def _a_window_holds_rows(cls, value: int) -> int:
        if value == 1:
            raise ValueError("a window has at least 2 rows; without window a record is one row")
        return value

    @model_validator(mode="after")
    def _columns_fit_together(self) -> Self:
        for role in ONCE:
            if len(self.of(role)) > 1:
                raise ValueError(f"two columns are the {role}")
        if not self.of("feature"):
            raise ValueError("no column is a feature")
        check_once(each.column for each in (*self.features, *self.of("target")))
        titles = [each.title for each in self.columns]
        if len(set(titles)) != len(titles):
            raise ValueError("two columns have the same header")
        if self.separator == self.decimal:
            raise ValueError("separator and decimal are both ','; with a decimal comma it is ';'")
        if self.step is not None and not self.window:
            raise ValueError("step belongs to a window")
        if self.gap is not None and not (self.window and self.of("time")):
            raise ValueError("gap belongs to a window with a column of time")
        return self

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read schema.toml of a folder, or the one beside a file; raises DataError with every mistake."""
        try:
            return load(schema_of(path), cls)
        except ConfigError as error:
            raise DataError(str(error)) from error

    def of(self, role: Role) -> tuple[ColumnSection, ...]:
        return tuple(each for each in self.columns if each.role == role)

    def one(self, role: Role) -> ColumnSection | None:
        return next(iter(self.of(role)), None)

    @property
    def features(self) -> tuple[ColumnSection, ...]:
        return self.of("feature")

    @property
    def numbers(self) -> tuple[ColumnSection, ...]:
        """The features, then the target if there is one."""
        return (*self.features, *self.of("target"))

    @property
    def labels(self) -> tuple[str, ...]:
        found = self.one("label")
        return () if found is None else found.labels

    @property
    def stride(self) -> int:
        """Rows from the beginning of a record to that of the next."""
        return (self.step or self.window) if self.window else 1


def schema_of(path: Path) -> Path:
    return path / FILE if path.is_dir() else path.with_name(FILE)
