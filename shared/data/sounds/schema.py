"""What recordings are: samples a second, and how long one record is; fixed by their owner, asked for by a plan."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeveil.shared.base.names import listed
from edgeveil.shared.data.left_out import LeftOut, Reason, by_reason
from edgeveil.shared.data.schema import LOOKED_AT, Survey
from edgeveil.shared.data.sounds import compressed
from edgeveil.shared.data.sounds.gathering import Record, gather, survey
from edgeveil.shared.data.sounds.recordings import MOST_TIMES, SOUNDS, rate_of, read_sound
from edgeveil.shared.data.sounds.wav import Samples
from edgeveil.shared.data.tree import Tree, look

KIND = "sounds"
RATES = (8000, 11_025, 16_000, 22_050, 24_000)  # that a record may have
RATE, LENGTH_MS = 16_000, 1000  # of a record, unless its owner says otherwise
SHORTEST_MS, LONGEST_MS = 300, 10_000


@dataclass(frozen=True, slots=True, eq=False)
class Sounds:
    """`samples` (N, length) in -1..1."""

    samples: Samples
    targets: NDArray[np.int64]  # (N,)
    left: tuple[LeftOut, ...]
    advice: str = ""

    @property
    def skipped(self) -> tuple[str, ...]:
        return tuple(each.sentence for each in self.left)


@dataclass(frozen=True, slots=True)
class SoundSchema:
    """`rate` in samples a second, `labels` in the order of their indices."""

    rate: int
    length_ms: int
    labels: tuple[str, ...]
    kind: str = KIND

    def __str__(self) -> str:
        return f"{self.kind} of {heard_as(self.rate, self.length_ms)}, labels {listed(self.labels)}"

    @property
    def length(self) -> int:
        """Samples of one record."""
        return self.rate * self.length_ms // 1000

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.length,)

    def fits(self, asked: object) -> bool:
        """Whether a task for `asked` can use such records; a class that is not here is no hindrance."""
        if not isinstance(asked, SoundSchema):
            return False
        same = (self.rate, self.length_ms) == (asked.rate, asked.length_ms)
        return same and set(self.labels) <= set(asked.labels)

    def read(self, path: Path) -> Sounds:
        """Every recording that can be used; raises DataError for a folder that cannot be listed."""
        found = look(path, SOUNDS)
        made = gather(self._records(found), {KIND: self.shape}, len(found.files))
        left = [*found.left, *self._strange(path, found), *made.left]
        return Sounds(made.parts[KIND], made.targets, by_reason(left))

    def survey(self, path: Path) -> Survey:
        """What read() would give, in numbers, and without holding a recording; raises DataError."""
        found = look(path, SOUNDS)
        counts, left = survey(self._records(found), len(self.labels))
        return Survey(counts, by_reason([*found.left, *self._strange(path, found), *left]))

    def _records(self, found: Tree) -> Iterator[Record]:
        """Every file of a class, in the order of classes and names."""
        for index, name in enumerate(self.labels):
            for label, path in found.files:
                if label == name:
                    heard = read_sound(path, self.rate, self.length)
                    yield heard if isinstance(heard, LeftOut) else ({KIND: heard}, index)

    def _strange(self, root: Path, found: Tree) -> Iterator[LeftOut]:
        """One per folder that is no class; usually a typing mistake."""
        counts = Counter(label for label, _ in found.files)
        for name in found.labels:
            if name not in self.labels:
                why = f"folder {name!r} is not a class of this task; rename it to one of {listed(self.labels)}"  # fmt: skip
                yield LeftOut(Reason.LABEL, str(root), why, counts[name])


def heard_as(rate: int, length_ms: int) -> str:
    """A recording in words."""
    return f"{length_ms / 1000:g} s at {rate} samples a second"


def infer_sounds(path: Path) -> SoundSchema:
    """Of a folder as it is now; raises DataError if it cannot be listed.

    The rate is that of most recordings among those looked at, or a part of it: no single one decides.
    """
    found = look(path, SOUNDS)
    return SoundSchema(usual_rate([file for _, file in found.files]), LENGTH_MS, found.labels)


def usual_rate(files: Sequence[Path]) -> int:
    """At which these are taken, by the headers of some, evenly spread."""
    count = len(files)
    looked = min(count, LOOKED_AT)
    rates = Counter(rate_of(files[at * count // looked]) for at in range(looked))
    rates.pop(None, None)
    most = max(rates, key=lambda rate: (rates[rate], rate or 0), default=RATE)
    return _taken(most or RATE)


def holds(path: Path) -> bool:
    """Whether it is a folder with recordings in class folders, by names alone."""
    return path.is_dir() and bool(look(path, SOUNDS).files)


def check(path: Path) -> None:
    """Raise NotInstalled if there are files that only an extra can read."""
    for _, file in look(path, SOUNDS).files:
        if file.name.lower().endswith(compressed.SUFFIXES):
            compressed.check_installed(str(file))
            return


def _taken(own: int) -> int:
    """The rate at which recordings of the rate `own` are taken: RATE if it can be had, else the highest."""
    possible = [rate for rate in RATES if own % rate == 0 and own // rate <= MOST_TIMES]
    return RATE if RATE in possible or not possible else max(possible)
