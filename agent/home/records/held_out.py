"""Which records are held out of training for evaluation: by a secret of this device and each record alone.

A record is held out if a keyed hash of it, or of the group that it belongs to, lies below the owner's share of all
hashes. So which side it is on follows from nothing but itself and the key: neither from the order nor from any other
record, which keeps neighbouring data sets neighbours on both sides. A larger share holds out the same records and
more. Without the key nobody can choose records that all fall on one side. A lost key is made anew and draws another line; the budget counts both
sides together, so that costs nothing but figures that are too good for a while (docs/evaluation.md).
"""

import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgeveil.shared.base.errors import StateDamaged
from edgeveil.shared.base.files import read_secret, write_secret
from edgeveil.shared.tasks.records import Batch, Records, Rows
from edgeveil.shared.tasks.spec import Options, Task

KEY = "evaluation.key"
KEY_BYTES = 32
CONTENT = ("pixels", "values", "samples")  # what records are told apart by; labels are not
_WORD = 1 << 64


class Shelf(Protocol):
    """What of agent.home.data.DataShelf is used here."""

    @property
    def found(self) -> Any:
        """The records as their owner's schema read them; None where a task reads for itself."""

    def load(self, task: Task, options: Options) -> Records:
        """The same records as a task prepares them."""


class Chosen:
    """Some of the records, in their order."""

    def __init__(self, records: Records, rows: Rows) -> None:
        self._records, self._rows = records, rows

    @property
    def skipped(self) -> tuple[str, ...]:
        return self._records.skipped

    def __len__(self) -> int:
        return len(self._rows)

    def take(self, rows: Rows) -> tuple[Batch, Batch]:
        return self._records.take(self._rows[rows])


class HeldOut:
    """One device's line between the two sides; reads or makes the key when it is first needed."""

    def __init__(self, home: Path, share: float) -> None:
        self._path = home / KEY
        self._share = share
        self._of: Any = None  # what the sides below are of
        self._held = np.zeros(0, np.bool_)

    def training(self, shelf: Shelf, task: Task, options: Options) -> Records:
        """What may be trained on; raises DataError, StateDamaged."""
        records = shelf.load(task, options)
        return records if not self._share else self._side(shelf, records, held=False)

    def evaluation(self, shelf: Shelf, task: Task, options: Options) -> Records:
        """What is evaluated on; raises DataError, StateDamaged."""
        return self._side(shelf, shelf.load(task, options), held=True)

    def _side(self, shelf: Shelf, records: Records, *, held: bool) -> Records:
        found = shelf.found
        source = records if found is None else found
        if self._of is not source:
            contents = _prepared(records) if found is None else _raw(found, len(records))
            self._held, self._of = self.held(contents), source
        return Chosen(records, np.flatnonzero(self._held == held))

    def held(self, contents: Iterator[bytes]) -> NDArray[np.bool_]:
        """Of each record, by its bytes, whether it is held out."""
        key, line = self._key(), int(self._share * _WORD)
        words = (hashlib.blake2b(each, key=key, digest_size=8).digest() for each in contents)
        return np.array([int.from_bytes(word, "big") < line for word in words], np.bool_)

    def _key(self) -> bytes:
        if not self._path.exists():
            write_secret(self._path, os.urandom(KEY_BYTES))
        key = read_secret(self._path)
        if len(key) != KEY_BYTES:
            raise StateDamaged(f"{self._path}: damaged; remove it, and another line is drawn")
        return key


def _raw(found: Any, count: int) -> Iterator[bytes]:
    """The content of each record as its owner's schema read it, whatever a task makes of it."""
    if (groups := getattr(found, "group_ids", None)) is not None:
        yield from groups
        return
    parts: Mapping[str, NDArray[Any]] = getattr(found, "parts", {})
    arrays = [*parts.values(), *(getattr(found, n) for n in CONTENT if hasattr(found, n))]
    for at in range(count):
        yield b"".join(np.ascontiguousarray(array[at]).tobytes() for array in arrays)


def _prepared(records: Records) -> Iterator[bytes]:
    """The same where a task reads for itself: its inputs."""
    for at in range(len(records)):
        yield _flat(records.take(np.array([at]))[0])


def _flat(batch: Batch) -> bytes:
    if isinstance(batch, tuple | list):
        return b"".join(_flat(part) for part in batch)
    return np.ascontiguousarray(batch).tobytes()
