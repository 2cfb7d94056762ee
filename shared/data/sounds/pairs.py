"""Records of several senses: a picture, a recording, a window of sensor values of the same moment; two of them or all.

`records.csv` in a folder has the columns label and two or three of image, sound and window; each line names files
inside that folder. Each file goes through the door of its kind, and a line of which one cannot be used is left
out as a whole, for its own sake alone. A window is a small table of its own, whose columns `window.toml` describes
as schema.toml does those of a table; its first rows are the record.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeveil.shared.base.config import load
from edgeveil.shared.base.errors import ConfigError, DataError
from edgeveil.shared.base.names import listed
from edgeveil.shared.data.folders import record_shape
from edgeveil.shared.data.left_out import LeftOut, Reason, by_reason
from edgeveil.shared.data.pictures import read_picture
from edgeveil.shared.data.schema import COLOURS, MOST_LABELS, PHOTO, Survey, mostly_coloured
from edgeveil.shared.data.sounds.gathering import Part, Record, gather, survey
from edgeveil.shared.data.sounds.pair_table import (
    FILE,
    SENSES,
    Line,
    numbered_pairs,
    read_pairs,
    senses_of,
)
from edgeveil.shared.data.sounds.recordings import read_sound
from edgeveil.shared.data.sounds.schema import LENGTH_MS, heard_as, usual_rate
from edgeveil.shared.data.tabular.layout import Layout
from edgeveil.shared.data.tabular.reading import first_record

KIND = "pairs"
WINDOW_FILE = "window.toml"
MOST_NAMED = 1000  # lines that are named one by one


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Of the same records, by sense: image (N, H, W[, 3]) in 0..1, sound (N, length) in -1..1, window (N, T, C)."""

    parts: dict[str, Part]
    targets: NDArray[np.int64]  # (N,)
    left: tuple[LeftOut, ...]
    columns: tuple[str, ...] = ()  # of the window, in their order
    advice: str = ""

    @property
    def group_ids(self) -> tuple[bytes, ...]:
        """Of each record the content of what lasts, its recording or else its window: moments may have it in common."""
        lasting = next(self.parts[name] for name in ("sound", "window") if name in self.parts)
        return tuple(np.ascontiguousarray(each).tobytes() for each in lasting)

    @property
    def skipped(self) -> tuple[str, ...]:
        return tuple(each.sentence for each in self.left)


@dataclass(frozen=True, slots=True)
class PairSchema:
    """`picture` is height, width and channels, () without; `rate` in samples a second, 0 without recordings;
    `window` rows of `columns` (`name [unit]`), 0 without; `labels` in their order.
    """

    picture: tuple[int, int, int] | tuple[()]
    rate: int
    length_ms: int
    labels: tuple[str, ...]
    columns: tuple[str, ...] = ()
    window: int = 0
    kind: str = KIND

    def __str__(self) -> str:
        return f"{self.kind} of {self.described}, labels {listed(self.labels)}"

    @property
    def described(self) -> str:
        """A record in words, without its labels."""
        told = []
        if self.picture:
            height, width, channels = self.picture
            told.append(f"{height}×{width} {'grey' if channels == COLOURS[0] else 'in colours'}")
        if self.rate:
            told.append(heard_as(self.rate, self.length_ms))
        if self.window:
            told.append(f"{self.window} rows of {listed(self.columns)}")
        return " and ".join(told)

    @property
    def senses(self) -> tuple[str, ...]:
        there = bool(self.picture), bool(self.rate), bool(self.window)
        return tuple(name for name, has in zip(SENSES, there, strict=True) if has)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of one record, by sense."""
        found: dict[str, tuple[int, ...]] = {
            "sound": (self.rate * self.length_ms // 1000,),
            "window": (self.window, len(self.columns)),
        }
        if self.picture:
            found["image"] = record_shape(self.picture)
        return {name: found[name] for name in self.senses}

    @property
    def shape(self) -> tuple[int, ...]:
        """All numbers of a record: pixels, then samples, then values of the window row by row."""
        return (sum(int(np.prod(shape)) for shape in self.shapes.values()),)

    def fits(self, asked: object) -> bool:
        """Whether a task for `asked` can use such records: with its senses, of its sizes, and perhaps with more.

        A class that is not here is no hindrance.
        """
        if not isinstance(asked, PairSchema) or not set(asked.senses) <= set(self.senses):
            return False
        same = {
            "image": self.picture == asked.picture,
            "sound": (self.rate, self.length_ms) == (asked.rate, asked.length_ms),
            "window": self.window == asked.window and set(asked.columns) <= set(self.columns),
        }
        return all(same[name] for name in asked.senses) and set(self.labels) <= set(asked.labels)

    def read(self, path: Path) -> Pairs:
        """Every record that can be used; raises DataError for a table that is none."""
        lines = list(read_pairs(path))
        found = gather(self._records(path, lines), self.shapes, len(lines))
        return Pairs(found.parts, found.targets, _named(found.left), self.columns)

    def survey(self, path: Path) -> Survey:
        """What read() would give, in numbers, and without holding a record; raises DataError."""
        counts, left = survey(self._records(path, read_pairs(path)), len(self.labels))
        return Survey(counts, _named(left))

    def each(self, path: Path, first: int = 0) -> Iterator[tuple[int, dict[str, Part] | LeftOut]]:
        """The parts of every line, with its number, from the `first` on, whatever its label; raises DataError."""
        layout = self._layout(path) if self.window else None
        for number, line in islice(numbered_pairs(path, labelled=False), first, None):
            yield number, line if isinstance(line, LeftOut) else self._parts(dict(line.files), layout)  # fmt: skip

    def _records(
        self, path: Path, lines: Iterator[Line | LeftOut] | list[Line | LeftOut]
    ) -> Iterator[Record]:
        places = {name: index for index, name in enumerate(self.labels)}
        layout = self._layout(path) if self.window else None
        for line in lines:
            if isinstance(line, LeftOut):
                yield line
            elif line.label not in places:
                why = f"{line.label!r} is not a class of this task: {listed(self.labels)}"
                yield LeftOut(Reason.LABEL, FILE, why)
            else:
                found = self._parts(dict(line.files), layout)
                yield found if isinstance(found, LeftOut) else (found, places[line.label])

    def _parts(self, files: dict[str, Path], layout: Layout | None) -> dict[str, Part] | LeftOut:
        made: dict[str, Part] = {}
        for name in self.senses:
            part = self._part(name, files.get(name), layout)
            if isinstance(part, LeftOut):
                return part
            made[name] = part
        return made

    def _part(self, name: str, file: Path | None, layout: Layout | None) -> Any:
        if file is None:
            return LeftOut(Reason.UNREADABLE, FILE, f"the table has no column {name}")
        if name == "image" and self.picture:
            return read_picture(file, *self.picture)
        if name == "sound" or layout is None:
            return read_sound(file, self.rate, *self.shapes["sound"])
        found = first_record(file, layout)
        if isinstance(found, LeftOut):
            return found
        own = [str(each.column) for each in layout.features]
        return found[:, [own.index(each) for each in self.columns]]

    def _layout(self, path: Path) -> Layout:
        """Raises DataError where windows are by now something else."""
        layout = window_layout(path)
        own = {str(each.column) for each in layout.features}
        if layout.window != self.window or not set(self.columns) <= own:
            raise DataError(
                f"{path / WINDOW_FILE}: describes {layout.window} rows of {listed(sorted(own))}, and {self.window} "
                f"rows of {listed(self.columns)} are asked for; put it back, or change [data] of policy.toml"
            )
        return layout


def window_layout(path: Path) -> Layout:
    """What window.toml of a folder says; raises DataError, also for what belongs into records.csv."""
    file = path / WINDOW_FILE
    try:
        found = load(file, Layout)
    except ConfigError as error:
        raise DataError(str(error)) from error
    if not found.window:
        raise DataError(
            f"{file}: window = ROWS is missing: how many rows of each file are the record"
        )
    if found.of("label") or found.of("target"):
        raise DataError(f"{file}: a label stands in {FILE}, and a target has no place here; leave both out")  # fmt: skip
    return found


def infer_pairs(path: Path) -> PairSchema:
    """Of a folder as it is now, colours and rate as most have them; raises DataError."""
    known = [each for each in read_pairs(path) if isinstance(each, Line)]
    files = {name: [dict(each.files)[name] for each in known] for name in senses_of(path)}
    labels = sorted({each.label for each in known})
    if len(labels) > MOST_LABELS:
        raise DataError(f"{path / FILE}: {len(labels)} labels, at most {MOST_LABELS}")
    picture: tuple[int, int, int] | tuple[()] = ()
    if "image" in files:
        picture = (*PHOTO, 3 if mostly_coloured(files["image"]) else 1)
    rate = usual_rate(files["sound"]) if "sound" in files else 0
    length_ms = LENGTH_MS if rate else 0
    if "window" not in files:
        return PairSchema(picture, rate, length_ms, tuple(labels))
    layout = window_layout(path)
    columns = tuple(str(each.column) for each in layout.features)
    return PairSchema(picture, rate, length_ms, tuple(labels), columns, layout.window)


def check(path: Path) -> None:
    """Raise DataError unless the table has its columns, and a line, and windows are described."""
    if "window" in senses_of(path):
        window_layout(path)
    if next(read_pairs(path), None) is None:
        raise DataError(f"{path / FILE}: holds no line with a record")


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
