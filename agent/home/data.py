"""The owner's data folder: checked and read at start, never sent."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
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


class DataShelf:
    """The records, read once and whole under their owner's schema, whatever anybody asks for.

    Without a schema nothing is read before a task asks, and a task reads for itself. `complete` adds
    to all records what is to be known of them before anybody asks.
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
        self._read: Found | None = None
        self._summary: Summary | None = None
        self._count: int | None = None
        self._key: tuple[str, str, Options] | None = None
        self._records: Records | None = None

    def fill(self) -> None:
        """Read everything, once; call it before the first offer can come.

        Raises:
            DataError: the folder cannot be read as what the schema says, or holds too much for memory.
        """
        schema, count = self._schema, self.count()
        if schema is None or self._read is not None:
            return
        wanted = math.prod(schema.shape) * count
        if (
            schema.kind != BOXES and wanted > MAX_VALUES
        ):  # which has a limit of its own: 8 bits, tiles
            raise DataError(
                f"{self.path}: {count} records take {wanted} values in memory, at most {MAX_VALUES}; "
                "choose a smaller height and width in policy.toml, less overlap of windows, or fewer "
                "records"
            )
        read: Found = schema.read(self.path)
        self._read = read
        counts = np.bincount(read.targets, minlength=max(1, len(schema.labels))).tolist()
        why, objects = "".join(read.skipped[:1]), getattr(read, "objects", ())
        self._summary = Summary(schema, tuple(counts), read.left, why, objects)
        self._on_status(f"data: {self._summary.sentence}")
        if read.advice and read.advice not in read.skipped:
            self._on_status(f"data: {read.advice}")

    def summary(self) -> Summary:
        """What fill() found under the owner's schema, which there must be; raises DataError as it does."""
        self.fill()
        if self._summary is None:
            raise DataError(f"{self.path}: not declared what these records are; run: agent run")
        return self._summary

    def complete(self, add: Callable[[Any], Any]) -> None:
        """Let `add` look at all that was read, before anybody asks for it: it returns the same with more."""
        self.fill()
        if self._read is not None:
            self._read = add(self._read)

    def in_use(self) -> "InUse | None":
        """What was read, for the owner alone; None before that, and where a task reads for itself."""
        found = self._summary
        if found is None:
            return None
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
            if self._schema is None or self._read is None:
                records = task.load(self.path, options)
                self._tell(len(records), records.skipped, task.spec.id)
            else:
                records = task.prepare(self._read, self._schema.labels, options)
            self._key, self._records = key, records
        return self._records

    def _tell(self, usable: int, skipped: tuple[str, ...], task: str) -> None:
        if skipped:
            left = f"{len(skipped)} left out, the first because: {skipped[0]}"
            self._on_status(
                f"data: {usable} records usable for {task}; {left} (agent data check: all)"
            )
