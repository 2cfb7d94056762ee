"""Records of several senses for a model: lines of records.csv, read as training reads them.

What the graph does not hold of a window's preparation is done by the code that does it for windows alone
(edgeveil.agent.inference.columns).
"""

import hashlib
import math
from collections.abc import Iterator, Mapping
from itertools import accumulate
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeveil.agent.inference import columns
from edgeveil.shared.base.errors import DataError
from edgeveil.shared.base.names import listed
from edgeveil.shared.data.left_out import LeftOut
from edgeveil.shared.data.sounds.pair_table import FILE, numbered_pairs, senses_of
from edgeveil.shared.data.sounds.pairs import WINDOW_FILE, PairSchema, window_layout
from edgeveil.shared.models.taken import ColumnsInput, ImageInput, MomentInput, SoundInput

Values = NDArray[np.float32]
Found = tuple[str, Values | None, str]  # the line, its record as the graph takes it, or why not


def read(file: Path, taken: MomentInput, first: int = 0) -> Iterator[Found]:
    """Every line of a records.csv from the `first` on, whether it has a label or not.

    Raises:
        DataError: the table lacks a sense of the model, or its windows are others.
    """
    folder, wanted = file.parent, _wanted(taken)
    _check(folder, wanted, labelled=False)
    for number, parts in wanted.each(folder, first):
        if isinstance(parts, LeftOut):
            yield f"line {number}", None, parts.sentence
        else:
            told = {sense: part[np.newaxis] for sense, part in parts.items()}
            yield f"line {number}", _joined(told, taken)[0], ""


def labelled(
    path: Path, taken: MomentInput, labels: tuple[str, ...]
) -> tuple[Values, NDArray[np.int64], tuple[LeftOut, ...]]:
    """Records, the indices of their labels among `labels`, and what was left out; raises DataError as read()."""
    wanted = _wanted(taken, labels)
    _check(path, wanted)
    found = wanted.read(path)
    return _joined(found.parts, taken), found.targets, found.left


def prepared(values: Values, taken: MomentInput) -> Values:
    """(n, *shape) as the graph takes them, of values (n, *record_shape)."""
    return _joined({sense: part for sense, part, _ in split(values, taken)}, taken)


def split(values: Values, taken: MomentInput) -> Iterator[tuple[str, Values, ImageInput | SoundInput | ColumnsInput]]:  # fmt: skip
    """The part (n, …) of each sense in values (n, *record_shape)."""
    shapes = [part.record_shape if isinstance(part, ColumnsInput) else part.shape for part in taken.parts.values()]  # fmt: skip
    ends = list(accumulate(math.prod(shape) for shape in shapes))
    for (sense, part), shape, end in zip(taken.parts.items(), shapes, ends, strict=True):
        yield sense, values[:, end - math.prod(shape) : end].reshape(-1, *shape), part


class Growing:
    """How many lines of each records.csv were told: of one that has grown since, only the new ones are new."""

    def __init__(self) -> None:
        self._told: dict[str, tuple[int, int, bytes]] = {}  # bytes, lines, SHA-256 of those bytes

    def told(self, path: str) -> int:
        """Lines of the file as it is now that need not be told again; from now on all of it counts as told."""
        table = Path(path)
        if table.name != FILE:
            return 0
        try:
            data = table.read_bytes()
            lines = sum(1 for _ in numbered_pairs(table.parent, labelled=False))
        except (OSError, DataError):  # said by whoever reads it
            return 0
        size, before, known = self._told.get(path, (0, 0, b""))
        self._told[path] = (len(data), lines, _hash(data))
        if not size or _hash(data[:size]) != known:
            return 0
        unfinished = data[size - 1 : size] != b"\n" and data[size : size + 1] not in {b"", b"\n", b"\r"}  # fmt: skip
        return before - unfinished


def _hash(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def _joined(parts: Mapping[str, Values], taken: MomentInput) -> Values:
    """Each with the statistics of its window in the place of the window."""
    made = []
    for sense, part in taken.parts.items():
        values = parts[sense]
        if isinstance(part, ColumnsInput):
            values = columns.prepared(values, part)
        made.append(values.reshape(len(values), -1))
    return np.concatenate(made, axis=1)


def _wanted(taken: MomentInput, labels: tuple[str, ...] = ()) -> PairSchema:
    image, sound, window = taken.image, taken.sound, taken.window
    return PairSchema(
        () if image is None else (image.height, image.width, image.channels),
        0 if sound is None else sound.rate,
        0 if sound is None else sound.length_ms,
        labels,
        () if window is None else tuple(str(each.column) for each in window.ranges),
        0 if window is None else window.window,
    )


def _check(path: Path, wanted: PairSchema, *, labelled: bool = True) -> None:
    """Raise DataError unless the folder has what the model takes, and windows as it takes them."""
    if not (path / FILE).is_file():
        raise DataError(f"{path}: this model takes moments of {wanted.described}; name a folder with {FILE}")  # fmt: skip
    own = senses_of(path, labelled=labelled)
    if absent := [sense for sense in wanted.senses if sense not in own]:
        raise DataError(
            f"{path / FILE}: has no column {absent[0]}; this model takes {listed(wanted.senses)} of each moment"
        )
    if wanted.window:
        layout = window_layout(path)
        names = [str(each.column) for each in layout.features]
        if layout.window != wanted.window or set(wanted.columns) - set(names):
            raise DataError(
                f"{path / WINDOW_FILE}: describes {layout.window} rows of {listed(names)}; this model takes "
                f"{wanted.window} rows of {listed(wanted.columns)}"
            )
