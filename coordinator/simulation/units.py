"""What can be parted among devices: files of classes, rows of arrays, rows or whole recordings of tables."""

import csv
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeveil.shared.base.errors import ConfigError, DataError
from edgeveil.shared.data.boxes import schema as boxes
from edgeveil.shared.data.sounds import pair_table
from edgeveil.shared.data.tabular.layout import FILE, Layout
from edgeveil.shared.data.tabular.lines import read_lines
from edgeveil.shared.data.tabular.reading import text_files

Rows = NDArray[np.int64]


class Units(ABC):
    """`labels` and `groups` of each unit, in the order of time; "" where there are none."""

    what = "records"

    def __init__(self, labels: list[str], groups: list[str]) -> None:
        if not labels:
            raise DataError("no records were found")
        self.labels, self.groups = np.array(labels), np.array(groups)

    @abstractmethod
    def write(self, folder: Path, rows: Rows) -> None:
        """Make `folder` with these units."""


class Files(Units):
    """Of folders named by class; a copy shares its bytes where the file system can link."""

    what = "files"

    def __init__(self, source: Path) -> None:
        self._paths = sorted(
            path
            for path in source.glob("*/*")
            if path.is_file() and "." not in {path.name[0], path.parent.name[0]}
        )
        super().__init__([path.parent.name for path in self._paths], [""] * len(self._paths))

    def write(self, folder: Path, rows: Rows) -> None:
        for row in rows:
            path = self._paths[row]
            to = folder / path.parent.name / path.name
            to.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(path, to)
            except OSError:
                shutil.copyfile(path, to)


class Arrays(Units):
    """Of one .npz; a schema.toml beside it goes along."""

    def __init__(self, archive: Path) -> None:
        try:
            with np.load(archive, allow_pickle=False) as found:
                self._arrays = {name: found[name] for name in found.files}
            count = len(self._arrays["X"])
            plain = [""] * count
            labels = [str(each) for each in self._arrays["y"]] if "y" in self._arrays else plain
        except (OSError, EOFError, KeyError, TypeError, ValueError) as error:
            raise DataError(f"{archive}: cannot be read as arrays X and y ({error})") from error
        groups = (
            [str(each) for each in self._arrays["groups"]] if "groups" in self._arrays else plain
        )
        if not count == len(labels) == len(groups):
            raise DataError(f"{archive}: X, y and groups differ in length")
        super().__init__(labels, groups)
        self._schema = archive.parent / FILE

    def write(self, folder: Path, rows: Rows) -> None:
        folder.mkdir(parents=True)
        kept = {name: each[rows] for name, each in self._arrays.items() if name != "groups"}
        np.savez_compressed(folder / "data.npz", **kept)
        if self._schema.is_file():
            shutil.copyfile(self._schema, folder / FILE)


class Tables(Units):
    """Of text files beside a schema.toml: a unit is a row, or where it has windows, a recording."""

    def __init__(self, source: Path) -> None:
        self._source = source
        self._layout = layout = Layout.load(source)
        if not layout.header or layout.skip_lines:
            raise ConfigError(
                f"{source}: only tables that begin with the names of their columns are parted"
            )
        if layout.window:
            self.what = "recordings"
        self._headers: list[list[str]] = []
        self._units: list[tuple[int, list[list[str]]]] = []  # number of the file, lines
        keys: list[tuple[str, str]] = []
        for number, path in enumerate(text_files(source)):
            for key, lines in self._recordings(path):
                self._units.append((number, lines))
                keys.append(key)
        super().__init__([label for label, _ in keys], [group for _, group in keys])

    def _recordings(self, path: Path) -> Iterator[tuple[tuple[str, str], list[list[str]]]]:
        lines = (
            cells
            for _, cells in read_lines(path, self._layout.separator, self._layout.encoding)
            if cells
        )
        header = next(lines, [])
        self._headers.append(header)
        titles = [each.title for role in ("label", "group") if (each := self._layout.one(role))]
        if missing := [title for title in titles if title not in header]:
            raise DataError(f"{path}: has no column {missing[0]}")
        places = [
            header.index(each.title) if (each := self._layout.one(role)) else None
            for role in ("label", "group")
        ]
        last: tuple[str, str] | None = None
        held: list[list[str]] = []
        for cells in lines:
            label, group = (
                cells[at].strip() if at is not None and at < len(cells) else "" for at in places
            )
            if held and (not self._layout.window or (label, group) != last):
                yield last or ("", ""), held
                held = []
            last = (label, group)
            held.append(cells)
        if held:
            yield last or ("", ""), held

    def write(self, folder: Path, rows: Rows) -> None:
        """A recording gets a file of its own, so that it does not run on into the next."""
        folder.mkdir(parents=True)
        shutil.copyfile(self._source / FILE, folder / FILE)
        if self._layout.window:
            for name, row in enumerate(rows, 1):
                number, lines = self._units[row]
                self._file(folder / f"{name:05}.csv", self._headers[number], lines)
            return
        for number in sorted({self._units[row][0] for row in rows}):
            lines = [
                line
                for row in rows
                if self._units[row][0] == number
                for line in self._units[row][1]
            ]
            self._file(folder / f"{number + 1:05}.csv", self._headers[number], lines)

    def _file(self, path: Path, header: list[str], lines: list[list[str]]) -> None:
        with path.open("w", encoding=self._layout.encoding, newline="") as file:
            writer = csv.writer(file, delimiter=self._layout.separator, lineterminator="\n")
            writer.writerow(header)
            writer.writerows(lines)


def parquets(source: Path) -> bool:
    return any(path.suffix == ".parquet" for path in source.glob("*"))


def open_units(source: Path) -> Units:
    """Those of a folder or an .npz file; raises DataError, ConfigError."""
    if not source.exists():
        raise DataError(f"{source}: there is no such folder")
    if boxes.holds(source) or pair_table.holds(source) or parquets(source):
        raise DataError(
            f"{source}: pictures with boxes, pairs and Parquet files are not parted here"
        )
    archives = [source] if source.suffix == ".npz" else sorted(source.glob("*.npz"))
    if len(archives) == 1:
        return Arrays(archives[0])
    return Tables(source) if (source / FILE).is_file() else Files(source)
