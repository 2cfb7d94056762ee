"""A data folder before any task has read it: does it look usable, and which raw records are in it?

The task's own adapter has the last word on shapes and classes; this finds what no task could read.
"""

from collections.abc import Iterator
from pathlib import Path

from edgeveil.shared.base.errors import DataError
from edgeveil.shared.data.boxes import schema as boxes
from edgeveil.shared.data.left_out import total
from edgeveil.shared.data.sounds import pair_table
from edgeveil.shared.data.sounds import schema as sounds
from edgeveil.shared.data.sounds.recordings import SOUNDS
from edgeveil.shared.data.sources import SOURCES, Source
from edgeveil.shared.data.tabular import schema as tables
from edgeveil.shared.data.tabular.layout import FILE
from edgeveil.shared.data.tabular.reading import text_files
from edgeveil.shared.data.tree import archives, look


def probe(path: Path) -> None:
    """Raise DataError with the path, what is wrong and what was expected."""
    if not path.exists():
        raise DataError(f"{path}: this data folder does not exist; give --data PATH")
    source = _source(path)
    if source is None:
        raise DataError(
            f"{path}: nothing usable in this data folder; {_expected()}{_instead(path)}"
        )
    source.check(path)


def raw_records(path: Path) -> Iterator[bytes]:
    """Every record of a probed folder or file as it lies on the disk, whatever a task makes of it."""
    source = _source(path)
    if source is not None:
        yield from source.records(path)


def count_records(path: Path) -> int:
    """How many records raw_records() would give, without reading images."""
    source = _source(path)
    return 0 if source is None else source.count(path)


def count_left_out(path: Path) -> int:
    """How many entries of class folders are no record by their names alone; 0 for all else."""
    if any(each.holds(path) for each in (tables, pair_table, boxes)) or archives(path):
        return 0
    heard = not look(path).files and sounds.holds(path)
    return total(look(path, SOUNDS).left if heard else look(path).left)


def _source(path: Path) -> Source | None:
    """None for a folder with nothing usable in it; raises DataError for a file of another kind."""
    found = next((source for source in SOURCES if source.holds(path)), None)
    if found is None and path.is_file():
        raise DataError(f"{path}: not a data file; {_expected()}{_described(path)}")
    return found


def _described(path: Path) -> str:
    """How files of lines become usable."""
    if not text_files(path):
        return ""
    return f"; `agent data schema {path}` begins a {FILE} for what is there"


def _instead(path: Path) -> str:
    """What is there, where what is expected is not: usually a level of folders too many or too few."""
    if described := _described(path):
        return described
    left = look(path).left
    return f"; of {total(left)} left out the first is {left[0].sentence}" if left else ""


def _expected() -> str:
    return f"expected {', or '.join(sorted(source.expected for source in SOURCES))}"
