"""The lines of records.csv: which files belong together as one record, and its label.

The table has the column label and two or three of image, sound and window; each line names files inside its folder.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgeveil.shared.base.errors import DataError
from edgeveil.shared.data.left_out import LeftOut, Reason
from edgeveil.shared.data.pictures import read_bytes
from edgeveil.shared.data.sounds.recordings import MAX_BYTES
from edgeveil.shared.data.tabular.lines import read_lines
from edgeveil.shared.data.tree import nfc

FILE = "records.csv"
SENSES = ("image", "sound", "window")
LABEL = "label"
MOST_ROWS = 1_000_000


@dataclass(frozen=True, slots=True)
class Line:
    """The file of each sense that the table has, in their order."""

    files: tuple[tuple[str, Path], ...]
    label: str


def holds(path: Path) -> bool:
    return path.is_dir() and (path / FILE).is_file()


def raw_pairs(path: Path) -> Iterator[bytes]:
    """Of each line that names readable files all of them, one after the other, each after its length."""
    for each in read_pairs(path):
        if isinstance(each, Line):
            parts = [read_bytes(file, *_most(name)) for name, file in each.files]
            found = [part for part in parts if not isinstance(part, LeftOut)]
            if len(found) == len(parts):
                sizes = [len(part).to_bytes(8, "big") for part in found[:-1]]
                yield b"".join([*sizes, *found])


def _most(name: str) -> tuple[int, ...]:
    return (MAX_BYTES,) if name == "sound" else ()


def senses_of(path: Path, *, labelled: bool = True) -> tuple[str, ...]:
    """Which columns the table has; raises DataError unless they are two or more, each once, and a label."""
    return tuple(name for name in SENSES if name in _titles(path, labelled=labelled))


def _titles(path: Path, *, labelled: bool = True) -> list[str]:
    table = path / FILE
    _, titles = next(read_lines(table, ",", "utf-8"), (0, None))
    names = [title.strip().lower() for title in titles or ()]
    there = [name for name in SENSES if name in names]
    needed = [*there, LABEL] if labelled else there
    twice = [name for name in needed if names.count(name) != 1]
    if twice or len(there) < 2:
        which = f"{twice[0]} is not" if twice else f"only {', '.join(there) or 'none'} is there"
        raise DataError(
            f"{table}: the first line names the columns {'label and ' * labelled}two or three of {', '.join(SENSES)}, "
            f"each once; {which}"
        )
    return names


def read_pairs(path: Path) -> Iterator[Line | LeftOut]:
    """Every line of the table; raises DataError for one without its columns, or with too many lines."""
    return (line for _, line in numbered_pairs(path))


def numbered_pairs(path: Path, *, labelled: bool = True) -> Iterator[tuple[int, Line | LeftOut]]:
    """As read_pairs(), each with its number in the file; unless `labelled` no line needs a label, nor is one read."""
    table, root = path / FILE, path.resolve()
    names = _titles(path, labelled=labelled)
    senses = [name for name in SENSES if name in names]
    lines = read_lines(table, ",", "utf-8")
    next(lines, None)
    for count, (number, cells) in enumerate(lines):
        if count >= MOST_ROWS:
            raise DataError(f"{table}: more than {MOST_ROWS:,} lines")
        if cells is None or len(cells) != len(names):
            why = f"line {number} has not the {len(names)} cells of the first"
            yield number, LeftOut(Reason.RAGGED, FILE, why)
            continue
        label = cells[names.index(LABEL)].strip() if labelled else ""
        found = [(name, _inside(root, cells[names.index(name)].strip())) for name in senses]
        files = tuple((name, file) for name, file in found if file is not None)
        if len(files) < len(found):
            why = f"line {number} names a file that is not inside this folder"
            yield number, LeftOut(Reason.UNREADABLE, FILE, why)
        elif labelled and not label:
            yield number, LeftOut(Reason.LABEL, FILE, f"line {number} has no label")
        else:
            yield number, Line(files, nfc(label) or label)


def _inside(root: Path, name: str) -> Path | None:
    """The file that is meant; None for a name that leads out of the folder, by itself or by a link."""
    if not name or "\0" in name or Path(name).is_absolute():
        return None
    try:
        found = (root / name).resolve()
    except (OSError, RuntimeError):  # a link that leads to itself
        return None
    return found if found.is_relative_to(root) and found != root else None
