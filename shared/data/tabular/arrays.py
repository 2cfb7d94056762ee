"""Records as arrays beside a schema.toml: `X` (n, columns) or (n, window, columns), and `y` (n,)."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeveil.shared.base.errors import DataError
from edgeveil.shared.data.arrays import open_arrays
from edgeveil.shared.data.left_out import LeftOut, Reason, by_reason
from edgeveil.shared.data.tabular.layout import FILE, ColumnSection, Layout
from edgeveil.shared.data.tabular.reading import MOST_NAMED, MOST_VALUES, Table, advice_on

Mask = NDArray[np.bool_]


def read_archive(path: Path, layout: Layout) -> Table:
    """Every record of an .npz file, its columns in the order of the features in schema.toml.

    `y` holds the index of the class, or the target. Raises DataError for other shapes and types.
    """
    raw, labels = open_archive(path, layout)
    rows = raw.reshape(-1, raw.shape[-1]) if raw.size else np.zeros((0, raw.shape[-1]))
    values = np.empty(rows.shape, np.float32)
    finite = np.ones(len(rows), dtype=np.bool_)
    clipped = []
    for at, section in enumerate(layout.features):
        values[:, at], known, count = _cut(rows[:, at], section)
        finite &= known
        clipped.append((section.title, count))
    usable = finite.reshape(len(raw), -1).all(axis=1)
    targets, numbers, known = _targets(labels, layout, len(raw))
    kept = usable & known
    left = (
        *_named(path, Reason.MISSING, ~usable & known, "has a value that is missing or not finite"),
        *_named(path, Reason.LABEL, ~known, _strange(layout)),
    )
    found = tuple((name, count) for name, count in clipped if count)
    shaped = values.reshape(raw.shape)[kept]
    advice = advice_on(found, len(rows))
    columns = tuple(str(each.column) for each in layout.features)
    return Table(columns, shaped, targets[kept], numbers[kept], by_reason(left), found, 0, advice)


def open_archive(
    path: Path, layout: Layout
) -> tuple[NDArray[np.generic], NDArray[np.generic] | None]:
    """`X` and `y` as they are; raises DataError unless they can be what schema.toml says."""
    wanted = bool(layout.of("label")) + bool(layout.of("target"))
    if wanted > 1:
        raise DataError(f"{path}: y is a label or a target, and {FILE} has both")
    names = ("X", "y") if wanted else ("X",)
    arrays = open_arrays(path, names, most=8 * MOST_VALUES)
    raw, labels = arrays["X"], arrays.get("y")
    shape = (layout.window,) * bool(layout.window) + (len(layout.features),)
    if raw.shape[1:] != shape or raw.ndim < 2 or raw.dtype.kind not in "iuf":
        asked = ", ".join(str(side) for side in shape)
        raise DataError(
            f"{path}: X has shape {raw.shape} and type {raw.dtype}, {FILE} asks for numbers (n, {asked})"
        )
    if labels is not None and (
        labels.shape != (len(raw),) or labels.dtype.kind not in ("iu" if layout.labels else "iuf")
    ):
        raise DataError(
            f"{path}: y has shape {labels.shape} and type {labels.dtype}, expected {len(raw)} "
            f"{'integers' if layout.labels else 'numbers'}"
        )
    if raw.size > MOST_VALUES:
        raise DataError(f"{path}: X has {raw.size} values, at most {MOST_VALUES}")
    return raw, labels


def _cut(
    column: NDArray[np.generic], section: ColumnSection
) -> tuple[NDArray[np.float32], Mask, int]:
    """Values in range, which of them were any, and how many had to be cut."""
    numbers = column.astype(np.float64)
    known = np.isfinite(numbers)
    if section.missing != "leave_out":
        numbers = np.where(np.isnan(numbers), section.missing, numbers)
        known = np.isfinite(numbers)
    numbers = np.where(known, numbers, section.low)
    cut = np.clip(numbers, section.low, section.high)
    return cut.astype(np.float32), known, int(np.count_nonzero(cut != numbers))


def _targets(
    labels: NDArray[np.generic] | None, layout: Layout, count: int
) -> tuple[NDArray[np.int64], NDArray[np.float32], Mask]:
    """Class indices, target values, and which of them can be used."""
    nothing = np.zeros(count, np.float32)
    target = layout.one("target")
    if labels is not None and target is not None:
        numbers, known, _ = _cut(labels, target)
        return nothing.astype(np.int64), numbers, known
    if labels is None:
        return nothing.astype(np.int64), nothing, np.ones(count, dtype=np.bool_)
    # Bounds first: an unsigned 64-bit label would wrap around in the cast.
    known = np.asarray((labels >= np.int64(0)) & (labels < np.int64(len(layout.labels))), np.bool_)
    return np.where(known, labels, 0).astype(np.int64), nothing, known


def _strange(layout: Layout) -> str:
    if layout.labels:
        return f"has a label outside 0 to {len(layout.labels) - 1}"
    return "has a target that is missing or not finite"


def _named(path: Path, reason: Reason, rows: Mask, why: str) -> Iterator[LeftOut]:
    """One for each row, as long as they are not too many to be read."""
    places = np.flatnonzero(rows)
    for row in places[:MOST_NAMED]:
        yield LeftOut(reason, path.name, f"record {row} {why}")
    rest = len(places) - MOST_NAMED
    if rest > 0:
        yield LeftOut(reason, path.name, f"each of {rest} more records {why}", rest)
