"""From the boxes of an annotation to those a task can use: inside the picture, of a class, each once.

What is wrong with one box is counted and costs that box alone. A box of a crowd, or one marked as difficult, stays
as a row of class IGNORED - class: nothing is to be found there, and nothing found there is wrong.
"""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from edgeveil.shared.data.boxes.formats.annotated import Annotated, Fault, Notes, RawBox
from edgeveil.shared.data.boxes.letterbox import Letterbox

MOST_BOXES = 64  # of one record: what each keeps room for
NONE = -1  # the class of a row that is no box
IGNORED = -4  # and below: of class IGNORED - class
BEYOND = 1.0  # pixels that a box may reach beyond the picture without a word: rounding
LEAST_SIDE = 1.0  # pixels of the square
LEAST_SHARE = 0.4  # of a box, in a tile that is to have it

Rows = NDArray[np.float32]


def fit(
    found: Annotated,
    size: tuple[int, int],
    classes: Mapping[str, int],
    notes: Notes,
    *,
    difficult: bool,
) -> Rows:
    """Rows (M, 5): class, x1, y1, x2, y2, in pixels of the picture of this width and height; the largest first."""
    rows: dict[tuple[float, float, float, float, float], None] = {}
    for box in found.boxes:
        row = row_of(box, found.relative, size, classes)
        if not isinstance(row, Fault) and row in rows:
            row = Fault.TWICE
        if isinstance(row, Fault):
            notes.add(row, where(found, box, row))
            continue
        if box.crowd or (box.difficult and not difficult):
            notes.add(Fault.CROWD if box.crowd else Fault.DIFFICULT, str(found.picture))
            row = (IGNORED - row[0], *row[1:])
        elif _beyond(box, found.relative, size):
            notes.add(Fault.CUT, str(found.picture))
        rows[row] = None
    return _largest_first(np.array(list(rows), dtype=np.float32).reshape(-1, 5))


def row_of(
    box: RawBox, relative: bool, size: tuple[int, int], classes: Mapping[str, int]
) -> tuple[float, float, float, float, float] | Fault:
    """Class and corners in pixels, cut at the edges of the picture, or what is wrong with the box."""
    x1, y1, x2, y2 = _in_pixels(box, relative, size)
    wide, high = size
    index = None if box.label is None else classes.get(box.label)
    rules = (
        (not all(map(math.isfinite, (x1, y1, x2, y2))), Fault.NUMBERS),
        (not (x1 < x2 and y1 < y2), Fault.EMPTY),
        (x2 <= 0 or y2 <= 0 or x1 >= wide or y1 >= high, Fault.OUTSIDE),
        (index is None, Fault.UNKNOWN),
    )
    fault = next((fault for broken, fault in rules if broken), None)
    if fault is not None or index is None:
        return fault or Fault.UNKNOWN
    return (float(index), max(0.0, x1), max(0.0, y1), min(float(wide), x2), min(float(high), y2))


def onto(
    rows: Rows, part: tuple[int, int, int, int], letterbox: Letterbox, name: str, notes: Notes
) -> Rows:
    """The rows (M, 5) of a picture that a part of it (x1, y1, x2, y2) has, on its square; at most MOST_BOXES."""
    left, top, right, bottom = part
    cut = rows.copy()
    cut[:, [1, 3]] = np.clip(rows[:, [1, 3]], left, right) - left
    cut[:, [2, 4]] = np.clip(rows[:, [2, 4]], top, bottom) - top
    inside = _areas(cut) > 0
    enough = _areas(cut) >= LEAST_SHARE * _areas(rows)
    if slivers := int(np.count_nonzero(inside & ~enough)):
        notes.add(Fault.SLIVER, name, slivers)
    cut = cut[inside & enough]
    cut[:, 1:] = letterbox.onto_square(cut[:, 1:])
    large = ((cut[:, 3:] - cut[:, 1:3]) >= LEAST_SIDE).all(axis=1)
    if small := int(np.count_nonzero(~large)):
        notes.add(Fault.SMALL, name, small)
    cut = _largest_first(cut[large])
    if len(cut) > MOST_BOXES:
        notes.add(Fault.MANY, name, len(cut) - MOST_BOXES)
    return cut[:MOST_BOXES]


def truths(rows: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The boxes (M, 5) among padded rows (K, 5), each with its class, and which of them are to be ignored."""
    kinds = rows[:, 0]
    found = rows[(kinds >= 0) | (kinds <= IGNORED)].astype(np.float64)
    ignored = found[:, 0] < 0
    found[ignored, 0] = IGNORED - found[ignored, 0]
    return found, ignored


def padded(rows: Rows, room: int = MOST_BOXES) -> Rows:
    """(room, 5), with the class NONE in rows that are no boxes."""
    full = np.zeros((room, 5), dtype=np.float32)
    full[:, 0] = NONE
    full[: len(rows)] = rows[:room]
    return full


def _beyond(box: RawBox, relative: bool, size: tuple[int, int]) -> bool:
    x1, y1, x2, y2 = _in_pixels(box, relative, size)
    return min(x1, y1) < -BEYOND or x2 > size[0] + BEYOND or y2 > size[1] + BEYOND


def _in_pixels(
    box: RawBox, relative: bool, size: tuple[int, int]
) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = box.corners
    wide, high = size if relative else (1, 1)
    return x1 * wide, y1 * high, x2 * wide, y2 * high


def where(found: Annotated, box: RawBox, fault: Fault) -> str:
    if fault is Fault.UNKNOWN and box.label is not None:
        return repr(box.label)
    return str(found.picture)


def _largest_first(rows: Rows) -> Rows:
    """Those to be ignored come last."""
    return rows[np.lexsort((-_areas(rows), rows[:, 0] < 0))]


def _areas(rows: Rows) -> NDArray[np.float64]:
    sides = rows[:, 3:].astype(np.float64) - rows[:, 1:3]
    return sides[:, 0] * sides[:, 1]
