"""What the records of a table are: the part of schema.toml that is pinned in the policy and asked for by plans.

Names and units of columns, rows of a window and classes; nothing of how a file is written, and no range.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgeveil.shared.base.errors import DataError
from edgeveil.shared.base.names import listed
from edgeveil.shared.data.left_out import LeftOut
from edgeveil.shared.data.tabular import parquet
from edgeveil.shared.data.tabular.arrays import open_archive, read_archive
from edgeveil.shared.data.tabular.layout import FILE, Layout, schema_of
from edgeveil.shared.data.tabular.lines import raw_lines
from edgeveil.shared.data.tabular.reading import (
    SUFFIXES,
    Table,
    check_text,
    count_text,
    read_text,
    text_files,
)
from edgeveil.shared.data.tree import archives

TABLE, WINDOWS = "table", "windows"


@dataclass(frozen=True, slots=True)
class TableSurvey:
    """`usable` records of each label, in their order; one figure in all where there are no labels."""

    usable: tuple[int, ...]
    left: tuple[LeftOut, ...]
    advice: str = ""
    clipped: tuple[tuple[str, int], ...] = ()
    groups: int = 0
    ranges: tuple[tuple[str, float, float], ...] = ()  # of each column, lowest and highest


@dataclass(frozen=True, slots=True)
class TableSchema:
    """`columns` and `target` as `name [unit]`; `window` 0 and `step` 0 for records of one row.

    A plan may ask for some of the columns, in any order.
    """

    columns: tuple[str, ...]
    labels: tuple[str, ...] = ()
    target: str = ""
    window: int = 0
    step: int = 0

    def __str__(self) -> str:
        rows = f"of {self.window} rows, " if self.window else ""
        target = f", target {self.target}" if self.target else ""
        columns, labels = listed(self.columns), listed(self.labels)
        return f"{self.kind} {rows}columns {columns}{target}, labels {labels}"

    @property
    def kind(self) -> str:
        return WINDOWS if self.window else TABLE

    @property
    def shape(self) -> tuple[int, ...]:
        count = len(self.columns)
        return (self.window, count) if self.window else (count,)

    @classmethod
    def of(cls, layout: Layout) -> "TableSchema":
        target = layout.one("target")
        return cls(
            columns=tuple(str(each.column) for each in layout.features),
            labels=layout.labels,
            target="" if target is None else str(target.column),
            window=layout.window,
            step=layout.stride if layout.window else 0,
        )

    def fits(self, asked: object) -> bool:
        """Whether a task for `asked` can use such records: with its columns, target, window and classes.

        One that asks for no classes takes records with and without.
        """
        if not isinstance(asked, TableSchema) or self.window != asked.window:
            return False
        classes = not asked.labels or (bool(self.labels) and set(self.labels) <= set(asked.labels))
        target = not asked.target or asked.target == self.target
        return classes and target and set(asked.columns) <= set(self.columns)

    def read(self, path: Path) -> Table:
        """Every record; raises DataError, also if schema.toml says by now that they are something else."""
        layout = Layout.load(path)
        found = TableSchema.of(layout)
        if found != self:
            raise DataError(
                f"{schema_of(path)}: the records are {found} by now, and were fixed as {self} "
                "([data] of policy.toml); put it back, or confirm the change there"
            )
        archive = the_archive(path)
        return read_text(path, layout) if archive is None else read_archive(archive, layout)

    def survey(self, path: Path) -> TableSurvey:
        """What read() gives, in numbers; raises DataError."""
        found = self.read(path)
        counts = np.bincount(found.targets, minlength=max(1, len(self.labels)))
        layout = Layout.load(path)
        target = layout.one("target")
        columns = (*layout.features, *([] if target is None else [target]))
        ranges = tuple((str(each.column), each.low, each.high) for each in columns)
        left = found.left, found.advice, found.clipped, found.groups
        return TableSurvey(tuple(counts.tolist()), *left, ranges)

    def places(self, asked: "TableSchema") -> list[int]:
        """Where the columns of a schema that this one fits stand among its own."""
        return [self.columns.index(name) for name in asked.columns]


def infer_table(path: Path) -> TableSchema:
    """Of a folder or file with schema.toml; raises DataError."""
    return TableSchema.of(Layout.load(path))


def holds(path: Path) -> bool:
    """Whether a schema.toml lies there, with files that it can be about; by names alone."""
    if not schema_of(path).is_file():
        return False
    return bool(text_files(path)) or the_archive(path) is not None


def the_archive(path: Path) -> Path | None:
    """The .npz file that is meant; None where it is text files. Raises DataError for both."""
    if path.is_file():
        return path if path.suffix == ".npz" else None
    found = archives(path)
    if found and (len(found) > 1 or text_files(path)):
        raise DataError(
            f"{path}: keep either one .npz file or files {', '.join(SUFFIXES)} beside {FILE}"
        )
    return found[0] if found else None


def check(path: Path) -> None:
    """Raise DataError for what is wrong with the whole, without reading all of it."""
    layout, archive = Layout.load(path), the_archive(path)
    if archive is None:
        check_text(path, layout)
    elif len(open_archive(archive, layout)[0]) == 0:
        raise DataError(f"{archive}: holds no record")


def records(path: Path) -> Iterator[bytes]:
    """Every row as it lies on the disk; the line that names the columns is none."""
    layout, archive = Layout.load(path), the_archive(path)
    if archive is not None:
        yield from (each.tobytes() for each in open_archive(archive, layout)[0])
        return
    for file in text_files(path):
        if parquet.is_parquet(file):
            yield from parquet.raw_rows(file, layout.columns)
        else:
            yield from raw_lines(file, layout.skip_lines + layout.header)


def count(path: Path) -> int:
    """Records, whatever can be used of them; raises DataError."""
    layout, archive = Layout.load(path), the_archive(path)
    if archive is None:
        return count_text(path, layout)
    return len(open_archive(archive, layout)[0])
