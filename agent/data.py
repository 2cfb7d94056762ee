"""The owner's data folder: checked at start, read once per task and options, never sent."""

from pathlib import Path

from shared.data.probe import probe
from shared.errors import DataError
from shared.tasks.spec import Examples, Options, Task


def check_folder(path: Path) -> Path:
    """The absolute path of something a task may be able to read; raises DataError otherwise."""
    found = path.expanduser().absolute()
    probe(found)
    return found


class DataShelf:
    """Keeps the last data set it read; a round every few seconds must not read the disk again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._key: tuple[str, str, Options] | None = None
        self._examples: Examples | None = None

    def load(self, task: Task, options: Options) -> Examples:
        """The examples as this task prepares them; raises DataError."""
        key = (task.spec.id, task.spec.version, options)
        if self._examples is None or key != self._key:
            examples = task.load(self.path, options)
            if len(examples) == 0:
                raise DataError(f"{self.path}: no usable record in this data folder")
            self._key, self._examples = key, examples
        return self._examples
