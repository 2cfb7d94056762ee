"""The owner's data folder: checked and read at start, never sent."""

import contextlib
import hashlib
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgeveil.agent.home.records.usable import Summary
from edgeveil.shared.base.errors import DataError
from edgeveil.shared.data.boxes.schema import BOXES
from edgeveil.shared.data.images import MAX_VALUES
from edgeveil.shared.data.kinds import Found, RecordSchema
from edgeveil.shared.data.left_out import total
from edgeveil.shared.data.probe import count_records, probe
from edgeveil.shared.tasks.records import Records
from edgeveil.shared.tasks.spec import Options, Task


def check_folder(path: Path) -> Path:
    """The absolute path of something a task may be able to read; raises DataError otherwise."""
    found = path.expanduser().absolute()
    probe(found)
    return found


def check_fits(path: Path, values: int, count: int) -> None:
    """Raise DataError unless memory holds `count` records of so many values each."""
    if values * count > MAX_VALUES:
        raise DataError(
            f"{path}: {count} records take {values * count} values in memory, at most {MAX_VALUES}; "
            "choose a smaller height and width in policy.toml, less overlap of windows, or fewer "
            "records"
        )


@dataclass(frozen=True)
class InUse:
    """The records that this device trains on: `labels` → how many are usable; `left_out` of all there are.

    Of pictures with boxes `labels` counts the boxes.
    """

    path: Path
    kind: str
    shape: tuple[int, ...]
    labels: Mapping[str, int]
    left_out: int
    usable: int


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """All that lay in the folder at one time: the records under their owner's schema, and a summary."""

    records: Any  # Found
    summary: Summary
    seen: bytes  # signature of the folder, from before it was read


class DataShelf:
    """The records, read whole under their owner's schema, whatever anybody asks for.

    Without a schema nothing is read before a task asks, and a task reads for itself. `complete` adds
    to all records what is to be known of them before anybody asks. A later look takes the place of the
    first where a folder is watched (agent.home.watching); everything else sees one look at a time.
    """

    def __init__(
        self,
        path: Path,
        on_status: Callable[[str], None] = lambda _sentence: None,
        schema: RecordSchema | None = None,
    ) -> None:
        self.path = path
        self._on_status = on_status
        self._schema = schema
        self._look: Look | None = None
        self._add: list[Callable[[Any], Any]] = []
        self._count: int | None = None
        self._key: tuple[str, str, Options] | None = None
        self._records: Records | None = None

    def fill(self) -> None:
        """Read everything, once; call it before the first offer can come.

        Raises:
            DataError: the folder cannot be read as what the schema says, or holds too much for memory.
        """
        if self._schema is None or self._look is not None:
            return
        self._look = self._looked(self._schema, self.count())
        self._on_status(f"data: {self._look.summary.sentence}")
        advice = self._look.records.advice
        if advice and advice not in self._look.records.skipped:
            self._on_status(f"data: {advice}")

    def _looked(self, schema: RecordSchema, count: int) -> Look:
        if schema.kind != BOXES:  # which have a limit of their own: 8 bits, tiles
            check_fits(self.path, math.prod(schema.shape), count)
        seen = self.signature()  # first, so that what comes meanwhile is seen the next time
        read: Found = schema.read(self.path)
        counts = np.bincount(read.targets, minlength=max(1, len(schema.labels))).tolist()
        why, objects = "".join(read.skipped[:1]), getattr(read, "objects", ())
        summary = Summary(schema, tuple(counts), read.left, why, objects)
        return Look(read, summary, seen)

    @property
    def found(self) -> Any:
        """The records in use as their owner's schema read them; None where a task reads for itself."""
        return None if self._look is None else self._look.records

    @property
    def seen(self) -> bytes:
        """The signature of what is in use."""
        return b"" if self._look is None else self._look.seen

    def signature(self) -> bytes:
        """Of names, sizes and times of all files there now; another one means that something has changed."""
        found = hashlib.sha256()
        for place in self._places():
            with contextlib.suppress(OSError):
                what = place.stat() if place.exists() else place.lstat()
                found.update(f"{what.st_size} {what.st_mtime_ns} {what.st_ino} ".encode())
                found.update(os.fsencode(place) + b"\0")
        return found.digest()

    def _places(self) -> list[Path]:
        """All files, those in linked folders of classes too, which are read like any other."""
        if self.path.is_file():
            return [self.path]
        found = set(self.path.rglob("*"))
        linked = (each for each in self.path.glob("*") if each.is_symlink() and each.is_dir())
        return sorted(found.union(*(each.rglob("*") for each in linked)))

    def look_again(self) -> Look:
        """What lies there now, complete and beside what is in use; raises DataError as fill() does."""
        if self._schema is None:
            raise DataError(f"{self.path}: not declared what these records are; run: agent run")
        found = self._looked(self._schema, count_records(self.path))
        for add in self._add:
            found = replace(found, records=add(found.records))
        return found

    def take_over(self, found: Look) -> None:
        """Use these from now on; what a task made of the former ones is forgotten."""
        self._look, self._key, self._records = found, None, None

    def summary(self) -> Summary:
        """What fill() found under the owner's schema, which there must be; raises DataError as it does."""
        self.fill()
        if self._look is None:
            raise DataError(f"{self.path}: not declared what these records are; run: agent run")
        return self._look.summary

    def complete(self, add: Callable[[Any], Any]) -> None:
        """Let `add` look at all that is read, before anybody asks for it: it returns the same with more."""
        self.fill()
        if self._look is not None:
            self._look = replace(self._look, records=add(self._look.records))
            self._add.append(add)

    def in_use(self) -> "InUse | None":
        """What was read, for the owner alone; None before that, and where a task reads for itself."""
        if self._look is None:
            return None
        found = self._look.summary
        labels = dict(found.labelled)
        kind, shape = found.schema.kind, found.schema.shape
        return InUse(self.path, kind, shape, labels, total(found.left), found.usable)

    def count(self) -> int:
        """Raw records on the disk at the first call, whatever a task can use of them."""
        if self._count is None:
            self._count = count_records(self.path)
        return self._count

    def load(self, task: Task, options: Options) -> Records:
        """The records as this task prepares them, perhaps none; raises DataError.

        How many cannot be used is told to the owner and changes nothing else.
        """
        key = (task.spec.id, task.spec.version, options)
        if self._records is None or key != self._key:
            self.fill()
            if self._schema is None or self._look is None:
                records = task.load(self.path, options)
                self._tell(len(records), records.skipped, task.spec.id)
            else:
                records = task.prepare(self._look.records, self._schema.labels, options)
            self._key, self._records = key, records
        return self._records

    def _tell(self, usable: int, skipped: tuple[str, ...], task: str) -> None:
        if skipped:
            left = f"{len(skipped)} left out, the first because: {skipped[0]}"
            self._on_status(
                f"data: {usable} records usable for {task}; {left} (agent data check: all)"
            )
