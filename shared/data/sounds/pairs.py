"""Records of two senses: a picture and a recording of the same moment, named by the lines of one table.

`records.csv` in a folder has the columns image, sound and label; each line names two files inside that
folder. Each file goes through the door of its kind, and a line whose picture or recording cannot be used is
left out as a whole, for its own sake alone.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeveil.shared.base.errors import DataError
from edgeveil.shared.base.names import listed
from edgeveil.shared.data.folders import record_shape
from edgeveil.shared.data.left_out import LeftOut, Reason, by_reason
from edgeveil.shared.data.pictures import read_bytes, read_picture
from edgeveil.shared.data.schema import COLOURS, MOST_LABELS, PHOTO, Survey, mostly_coloured
from edgeveil.shared.data.sounds.recordings import MAX_BYTES, read_sound
from edgeveil.shared.data.sounds.schema import LENGTH_MS, usual_rate
from edgeveil.shared.data.sounds.wav import Samples
from edgeveil.shared.data.tabular.lines import read_lines
from edgeveil.shared.data.tree import nfc

KIND = "pairs"
FILE = "records.csv"
COLUMNS = ("image", "sound", "label")
MOST_ROWS = 1_000_000
MOST_NAMED = 1000  # lines that are named one by one


@dataclass(frozen=True, slots=True)
class Pair:
    image: Path
    sound: Path
    label: str


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """`pixels` (N, H, W[, 3]) in 0..1 and `samples` (N, length) in -1..1 of the same records."""

    pixels: NDArray[np.float32]
    samples: Samples
    targets: NDArray[np.int64]  # (N,)
    left: tuple[LeftOut, ...]
    advice: str = ""

    @property
    def skipped(self) -> tuple[str, ...]:
        return tuple(each.sentence for each in self.left)


@dataclass(frozen=True, slots=True)
class PairSchema:
    """`picture` is height, width and channels; `rate` in samples a second; `labels` in their order."""

    picture: tuple[int, int, int]
    rate: int
    length_ms: int
    labels: tuple[str, ...]
    kind: str = KIND

    def __str__(self) -> str:
        height, width, channels = self.picture
        colour = "grey" if channels == COLOURS[0] else "in colours"
        heard = f"{self.length_ms / 1000:g} s at {self.rate} samples a second"
        return f"{self.kind} of {height}×{width} {colour} and {heard}, labels {listed(self.labels)}"

    @property
    def length(self) -> int:
        """Samples of one record."""
        return self.rate * self.length_ms // 1000

    @property
    def shape(self) -> tuple[int, ...]:
        """All numbers of a record, pixels first."""
        height, width, channels = self.picture
        return (height * width * channels + self.length,)

    def fits(self, asked: object) -> bool:
        """Whether a task for `asked` can use such records; a class that is not here is no hindrance."""
        if not isinstance(asked, PairSchema):
            return False
        own, theirs = ((each.picture, each.rate, each.length_ms) for each in (self, asked))
        return own == theirs and set(self.labels) <= set(asked.labels)

    def read(self, path: Path) -> Pairs:
        """Every record that can be used; raises DataError for a table that is none."""
        lines = list(read_pairs(path))
        pixels = np.empty((len(lines), *record_shape(self.picture)), np.float32)
        samples = np.empty((len(lines), self.length), np.float32)
        targets: list[int] = []
        left: list[LeftOut] = []
        for each in self._records(lines):
            if isinstance(each, LeftOut):
                left.append(each)
            else:
                pixels[len(targets)], samples[len(targets)], index = each
                targets.append(index)
        kept = len(targets)
        return Pairs(pixels[:kept], samples[:kept], np.array(targets, np.int64), _named(left))

    def survey(self, path: Path) -> Survey:
        """What read() would give, in numbers, and without holding a record; raises DataError."""
        counts = [0] * len(self.labels)
        left: list[LeftOut] = []
        for each in self._records(read_pairs(path)):
            if isinstance(each, LeftOut):
                left.append(each)
            else:
                counts[each[2]] += 1
        return Survey(tuple(counts), _named(left))

    def _records(
        self, lines: Iterator[Pair | LeftOut] | list[Pair | LeftOut]
    ) -> Iterator[tuple[NDArray[np.float32], Samples, int] | LeftOut]:
        places = {name: index for index, name in enumerate(self.labels)}
        for line in lines:
            if isinstance(line, LeftOut):
                yield line
            elif line.label not in places:
                why = f"{line.label!r} is not a class of this task: {listed(self.labels)}"
                yield LeftOut(Reason.LABEL, FILE, why)
            else:
                yield self._record(line, places[line.label])

    def _record(self, line: Pair, index: int) -> tuple[NDArray[np.float32], Samples, int] | LeftOut:
        seen = read_picture(line.image, *self.picture)
        if isinstance(seen, LeftOut):
            return seen
        heard = read_sound(line.sound, self.rate, self.length)
        return heard if isinstance(heard, LeftOut) else (seen, heard, index)


def holds(path: Path) -> bool:
    return path.is_dir() and (path / FILE).is_file()


def infer_pairs(path: Path) -> PairSchema:
    """Of a folder as it is now, colours and rate as most have them; raises DataError."""
    known = [each for each in read_pairs(path) if isinstance(each, Pair)]
    channels = 3 if mostly_coloured([each.image for each in known]) else 1
    labels = sorted({each.label for each in known})
    if len(labels) > MOST_LABELS:
        raise DataError(f"{path / FILE}: {len(labels)} labels, at most {MOST_LABELS}")
    rate = usual_rate([each.sound for each in known])
    return PairSchema((*PHOTO, channels), rate, LENGTH_MS, tuple(labels))


def check(path: Path) -> None:
    """Raise DataError unless the table has its columns, and a line."""
    if next(read_pairs(path), None) is None:
        raise DataError(f"{path / FILE}: holds no line with a record")


def raw_pairs(path: Path) -> Iterator[bytes]:
    """Of each line that names two readable files both of them, one after the other."""
    for each in read_pairs(path):
        if isinstance(each, Pair):
            parts = [read_bytes(each.image), read_bytes(each.sound, MAX_BYTES)]
            found = [part for part in parts if not isinstance(part, LeftOut)]
            if len(found) == len(parts):
                yield len(found[0]).to_bytes(8, "big") + b"".join(found)


def read_pairs(path: Path) -> Iterator[Pair | LeftOut]:
    """Every line of the table; raises DataError for one without its columns, or with too many lines."""
    table, root = path / FILE, path.resolve()
    lines = read_lines(table, ",", "utf-8")
    _, titles = next(lines, (0, None))
    names = [title.strip().lower() for title in titles or ()]
    if missing := [name for name in COLUMNS if names.count(name) != 1]:
        raise DataError(f"{table}: the first line names the columns {', '.join(COLUMNS)}, each once; {missing[0]} is not")  # fmt: skip
    places = [names.index(name) for name in COLUMNS]
    for count, (number, cells) in enumerate(lines):
        if count >= MOST_ROWS:
            raise DataError(f"{table}: more than {MOST_ROWS:,} lines")
        if cells is None or len(cells) != len(names):
            yield LeftOut(Reason.RAGGED, FILE, f"line {number} has not the {len(names)} cells of the first")  # fmt: skip
            continue
        image, sound, label = (cells[place].strip() for place in places)
        files = [_inside(root, name) for name in (image, sound)]
        if None in files:
            why = f"line {number} names a file that is not inside this folder"
            yield LeftOut(Reason.UNREADABLE, FILE, why)
        elif not label:
            yield LeftOut(Reason.LABEL, FILE, f"line {number} has no label")
        else:
            yield Pair(files[0] or root, files[1] or root, nfc(label) or label)


def _inside(root: Path, name: str) -> Path | None:
    """The file that is meant; None for a name that leads out of the folder, by itself or by a link."""
    if not name or "\0" in name or Path(name).is_absolute():
        return None
    try:
        found = (root / name).resolve()
    except (OSError, RuntimeError):  # a link that leads to itself
        return None
    return found if found.is_relative_to(root) and found != root else None


def _named(left: list[LeftOut]) -> tuple[LeftOut, ...]:
    """The first of each reason one by one, the others in one sentence."""
    seen: Counter[Reason] = Counter()
    kept: list[LeftOut] = []
    for each in left:
        seen[each.reason] += 1
        kept += [each] if seen[each.reason] <= MOST_NAMED else []
    more = ((reason, count - MOST_NAMED) for reason, count in seen.items() if count > MOST_NAMED)
    rest = (LeftOut(reason, FILE, f"each of {count} more lines", count) for reason, count in more)
    return by_reason([*kept, *rest])
