"""The owner's data folder: checked and read at start, never sent."""

import math
from collections.abc import Callable
from pathlib import Path

from edgeveil.shared.base.errors import DataError
from edgeveil.shared.data.images import MAX_VALUES, Images
from edgeveil.shared.data.left_out import total
from edgeveil.shared.data.probe import count_records, probe
from edgeveil.shared.data.schema import Schema
from edgeveil.shared.tasks.records import Records
from edgeveil.shared.tasks.spec import Options, Task


def check_folder(path: Path) -> Path:
    """The absolute path of something a task may be able to read; raises DataError otherwise."""
    found = path.expanduser().absolute()
    probe(found)
    return found


class DataShelf:
    """The records, read once and whole under their owner's schema, whatever anybody asks for.

    Without a schema nothing is read before a task asks, and a task reads for itself. `complete` adds
    to all records what is to be known of them before anybody asks.
    """

    def __init__(
        self,
        path: Path,
        on_status: Callable[[str], None] = lambda _sentence: None,
        schema: Schema | None = None,
        complete: Callable[[Images], Images] = lambda found: found,
    ) -> None:
        self.path = path
        self._on_status = on_status
        self._schema = schema
        self._complete = complete
        self._read: Images | None = None
        self._count: int | None = None
        self._key: tuple[str, str, Options] | None = None
        self._records: Records | None = None

    def fill(self) -> None:
        """Read everything, once; call it before the first offer can come. Raises DataError.

        Raises:
            DataError: the folder cannot be read as what the schema says, or holds too much for memory.
        """
        schema, count = self._schema, self.count()
        if schema is None or self._read is not None:
            return
        wanted = math.prod(schema.shape) * count
        if wanted > MAX_VALUES:
            raise DataError(
                f"{self.path}: {count} records take {wanted} values in memory, at most {MAX_VALUES}; "
                "choose a smaller height and width in policy.toml, or fewer records"
            )
        self._read = self._complete(schema.read(self.path))
        left = total(self._read.left)
        self._tell(len(self._read.targets), left, self._read.skipped, f"as {schema.kind}")

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
                left = len(records.skipped)
                self._tell(len(records), left, records.skipped, f"for {task.spec.id}")
            else:
                records = task.prepare(self._read, self._schema.labels, options)
            self._key, self._records = key, records
        return self._records

    def _tell(self, usable: int, left: int, skipped: tuple[str, ...], what: str) -> None:
        if skipped:
            first = f"{left} left out, the first because: {skipped[0]}"
            self._on_status(
                f"data: {usable} records usable {what}; {first} (agent data check: all)"
            )
