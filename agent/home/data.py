"""The owner's data folder: checked at start, read once per task and options, never sent."""

from collections.abc import Callable
from pathlib import Path

from edgeveil.shared.data.probe import count_records, probe
from edgeveil.shared.tasks.spec import Examples, Options, Task


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
        self._examples: Examples | None = None

    def count(self) -> int:
        """Raw records on the disk, whatever a task can use of them."""
        return count_records(self.path)

    def load(self, task: Task, options: Options) -> Examples:
        """The examples as this task prepares them, perhaps none; raises DataError.

        How many a task cannot use is told to the owner and changes nothing else: a coordinator that
        chooses the options must not learn from an answer which labels are there.
        """
        key = (task.spec.id, task.spec.version, options)
        if self._examples is None or key != self._key:
            examples = task.load(self.path, options)
            if examples.skipped:
                left = f"{len(examples.skipped)} left out, the first because: {examples.skipped[0]}"
                self._on_status(f"data: {len(examples)} records usable for {task.spec.id}; {left}")
            self._key, self._examples = key, examples
        return self._examples
