"""The owner's data folder: checked at start, read once per task and options, never sent."""

from collections.abc import Callable
from pathlib import Path

from edgeveil.shared.data.probe import count_records, probe
from edgeveil.shared.tasks.records import Records
from edgeveil.shared.tasks.spec import Options, Task


def check_folder(path: Path) -> Path:
    """The absolute path of something a task may be able to read; raises DataError otherwise."""
    found = path.expanduser().absolute()
    probe(found)
    return found


class DataShelf:
    """Keeps the last data set it read; a round every few seconds must not read the disk again."""

    def __init__(
        self, path: Path, on_status: Callable[[str], None] = lambda _sentence: None
    ) -> None:
        self.path = path
        self._on_status = on_status
        self._key: tuple[str, str, Options] | None = None
        self._records: Records | None = None

    def count(self) -> int:
        """Raw records on the disk, whatever a task can use of them."""
        return count_records(self.path)

    def load(self, task: Task, options: Options) -> Records:
        """The records as this task prepares them, perhaps none; raises DataError.

        How many a task cannot use is told to the owner and changes nothing else: a coordinator that
        chooses the options must not learn from an answer which labels are there.
        """
        key = (task.spec.id, task.spec.version, options)
        if self._records is None or key != self._key:
            records = task.load(self.path, options)
            if records.skipped:
                left = f"{len(records.skipped)} left out, the first because: {records.skipped[0]}"
                self._on_status(f"data: {len(records)} records usable for {task.spec.id}; {left}")
            self._key, self._records = key, records
        return self._records
