"""What a look at the owner's records found, and whether it is enough for this device to take part.

Decided once at each start, from the usable share alone, and never while a run goes on. Counts and names stay
on the device; that it takes part or not is seen (docs/threat-model.md, "What it does not protect against").
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from edgeveil.shared.base.errors import DataError
from edgeveil.shared.base.files import write_atomic
from edgeveil.shared.data.boxes.schema import BOXES
from edgeveil.shared.data.kinds import RecordSchema
from edgeveil.shared.data.left_out import LeftOut, Reason, total
from edgeveil.shared.data.schema import IMAGES
from edgeveil.shared.data.sounds.pairs import PairSchema
from edgeveil.shared.data.sounds.schema import SoundSchema

FILE = "data.json"
NAMED = 20  # classes in one sentence
WORDS = {
    "images": "images",
    "boxes": "pictures",
    "sounds": "recordings",
    "pairs": "pairs",
    "table": "rows",
    "windows": "windows",
}
NO_RECORD = (Reason.KIND, Reason.HIDDEN)
SHORT = 3  # letters; names up to here differ by one letter because they are short


@dataclass(frozen=True, slots=True)
class Summary:
    """`counts`: usable records of each label, one figure where there are none; `left` out, and `why` first.

    `objects`: boxes of each label, where records are pictures with boxes.
    """

    schema: RecordSchema
    counts: tuple[int, ...]
    left: tuple[LeftOut, ...] = ()
    why: str = ""
    objects: tuple[int, ...] = ()

    @property
    def usable(self) -> int:
        return sum(self.counts)

    @property
    def found(self) -> int:
        """Usable or meant to be; a file of another kind may lie beside every record and be none."""
        return self.usable + total(each for each in self.left if each.reason not in NO_RECORD)

    @property
    def labelled(self) -> Iterator[tuple[str, int]]:
        """Records, or boxes, of each label."""
        yield from zip(self.schema.labels, self.objects or self.counts, strict=False)

    @property
    def sentence(self) -> str:
        text = f"{self.usable} usable {WORDS[self.schema.kind]}{self._classes()}, {self._shape()}"
        if not self.left:
            return text
        return f"{text}; {total(self.left)} left out, the first because: {self.why}"

    @property
    def declared(self) -> str:
        """What the owner is asked about, as in "are these … right?"."""
        known = len(self.schema.labels)
        return f"{known} labels and {self._shape()}" if known else self._shape()

    def _classes(self) -> str:
        known = len(self.schema.labels)
        told = [f"{label} {count}" for label, count in self.labelled][:NAMED]
        if known > NAMED:
            told.append(f"and {known - NAMED} more")
        what = "classes of boxes" if self.objects else "classes"
        return f", {known} {what} ({', '.join(told)})" if known else ""

    def _shape(self) -> str:
        *sides, last = self.schema.shape
        if isinstance(self.schema, PairSchema):
            return self.schema.described
        if isinstance(self.schema, SoundSchema):
            return f"{self.schema.length_ms / 1000:g} s at {self.schema.rate} samples a second"
        if self.schema.kind == BOXES:
            return f"{sides[0]}×{sides[1]} in colours"
        if self.schema.kind == IMAGES:
            height, width = sides
            return f"{height}×{width} {'grey' if last == 1 else 'in colours'}"
        return f"{last} columns" + "".join(f", {rows} rows each" for rows in sides)

    def check(self, least: float, where: Path) -> None:
        """Raise DataError if nothing is usable, or a share below `least`."""
        if self.usable and self.usable >= least * self.found:
            return
        raise DataError(
            f"{where}: {self.usable} of {self.found} records are usable under [data] of policy.toml, and "
            f"{least:.0%} must be (usable_min), at least one: this device does not take part. The first "
            f"is left out because: {self.why or 'there is none'}. Mend the files (agent data check), or what "
            "they are declared as (agent policy set data.labels='[\"NAME\"]' --yes), or accept fewer "
            "(agent policy set data.usable_min=S --yes); then: agent run"
        )


def doubts(summary: Summary) -> Iterator[str]:
    """What in these labels looks mistyped, a sentence each, before they are declared."""
    labels = summary.schema.labels
    few = [label for label, count in summary.labelled if count < 2]
    if few and len(few) < len(labels):
        yield f"one {'box' if summary.objects else 'record'} or none in class {_listed(few)}: a mistyped name?"
    pairs = [f"{one!r} and {other!r}" for one, other in _alike(labels)]
    if pairs:
        shown = "; ".join(pairs[:NAMED])
        yield f"classes whose names differ in case only or by one letter, one mistyped? {shown}"


def _listed(names: Sequence[str]) -> str:
    more = [f"and {len(names) - NAMED} more"] if len(names) > NAMED else []
    return ", ".join([*map(repr, names[:NAMED]), *more])


def _alike(labels: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs that one replaced, added or missing letter tells apart, or case; figures count as meant."""
    groups: dict[str, dict[str, None]] = defaultdict(dict)
    for label in labels:
        low = label.casefold()
        groups[low][label] = None
        for at in range(len(low) + 1):
            if len(low) > SHORT and at < len(low) and not low[at].isdigit():
                groups[f"{low[:at]}\0{low[at + 1 :]}"][label] = None
            if len(low) >= SHORT:
                groups[f"{low[:at]}\0{low[at:]}"][label] = None
    pairs: dict[tuple[str, str], None] = {}
    for members in groups.values():
        first, *others = members
        pairs |= {(min(first, other), max(first, other)): None for other in others}
    return list(pairs)


@dataclass(frozen=True, slots=True)
class LastLook:
    """What the newest start found; `refused` is the sentence with which it ended, or empty."""

    dataset: str
    usable: int
    found: int
    usable_min: float
    refused: str

    def note(self, home: Path) -> None:
        write_atomic(home / FILE, json.dumps(asdict(self), sort_keys=True).encode("ascii"))


def last_look(home: Path, dataset: str) -> LastLook | None:
    """None before the first start of this data set, or if the file is not readable."""
    try:
        values = json.loads((home / FILE).read_bytes())
        found = LastLook(
            str(values["dataset"]),
            int(values["usable"]),
            int(values["found"]),
            float(values["usable_min"]),
            str(values["refused"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if found.dataset == dataset else None
