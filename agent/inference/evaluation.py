"""How well a model does on labelled records of this device. The figures stay here."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeveil.agent.inference import columns
from edgeveil.agent.inference.boxes import Finder
from edgeveil.agent.inference.records import as_records
from edgeveil.agent.inference.runtime import Model
from edgeveil.shared.base.errors import DataError
from edgeveil.shared.data.arrays import open_arrays
from edgeveil.shared.data.boxes.fitting import MOST_BOXES
from edgeveil.shared.data.boxes.schema import BoxSchema
from edgeveil.shared.data.images import MAX_VALUES
from edgeveil.shared.data.left_out import LeftOut, Reason
from edgeveil.shared.data.probe import probe
from edgeveil.shared.data.schema import IMAGES, Schema
from edgeveil.shared.data.sounds.schema import SoundSchema
from edgeveil.shared.data.tree import archives
from edgeveil.shared.models.manifest import ColumnsInput, ImageInput, SoundInput
from edgeveil.shared.scores import boxes, class_scores, detection, matching
from edgeveil.shared.scores.tallies import Tallies, summed
from edgeveil.shared.scores.views import View
from edgeveil.shared.terminal.progress import progress


@dataclass(frozen=True, slots=True, eq=False)
class Evaluated:
    """`counts` (K, K): true label by predicted label; `left`: records that could not be used."""

    labels: tuple[str, ...]
    counts: NDArray[np.int64]
    left: tuple[LeftOut, ...]

    @property
    def views(self) -> tuple[View, ...]:
        return class_scores.views_of(self.counts, self.labels)

    @property
    def right(self) -> float:
        """The share of records that the model is right on, 0 to 1."""
        return float(np.trace(self.counts) / max(1, int(self.counts.sum())))

    def as_json(self) -> dict[str, Any]:
        return class_scores.as_json(self.counts, self.labels)


@dataclass(frozen=True, slots=True, eq=False)
class FoundBoxes:
    """As Evaluated, of a detector: `tally` as of edgeveil.shared.scores.matching."""

    labels: tuple[str, ...]
    tally: NDArray[np.int64]
    pictures: int
    left: tuple[LeftOut, ...]

    @property
    def views(self) -> tuple[View, ...]:
        return detection.views_of(detection.scores(self.tally, len(self.labels)), self.labels)

    @property
    def right(self) -> float:
        """MAP at overlap .5, 0 to 1."""
        return detection.scores(self.tally, len(self.labels)).figures()["map50"]

    def as_json(self) -> dict[str, Any]:
        found = detection.scores(self.tally, len(self.labels))
        return {"records": self.pictures, **detection.as_json(found, self.labels)}


def evaluate(model: Model, data: Path, *, quiet: bool = False) -> Evaluated | FoundBoxes:
    """Read labelled records as training reads them, and count what the model says of each.

    Raises:
        DataError: no such data, another shape, or no record that can be used.
    """
    probe(data)
    if model.finder is not None:
        return _evaluate_boxes(model, model.finder, data, quiet=quiet)
    records, targets, left = _read(model, data)
    if not len(targets):
        first = f": {left[0].sentence}" if left else ""
        raise DataError(f"{data}: no record can be used{first}")
    counts = np.zeros((len(model.labels),) * 2, np.int64)
    with progress("evaluating the model", len(targets), quiet=quiet) as step:
        for at in range(0, len(targets), model.batch):
            part = slice(at, at + model.batch)
            predicted = model.scores(records[part]).argmax(axis=1)
            counts += class_scores.counts_of(predicted, targets[part], model.labels)
            step(len(predicted))
    return Evaluated(model.labels, counts, left)


def _evaluate_boxes(model: Model, finder: Finder, data: Path, *, quiet: bool) -> FoundBoxes:
    found = BoxSchema(finder.side, model.labels).read(data)
    if not len(found.pixels):
        first = f": {found.left[0].sentence}" if found.left else ""
        raise DataError(f"{data}: no record can be used{first}")
    classes = len(model.labels)
    form = matching.form(classes, MOST_BOXES)
    tally = np.zeros(form.length, np.int64)
    with progress("evaluating the model", len(found.pixels), quiet=quiet) as step:
        for at in range(0, len(found.pixels), model.batch):
            part = slice(at, at + model.batch)
            squares = np.moveaxis(found.pixels[part], 1, 3).astype(np.float32) / np.float32(255)
            outputs = model.outputs(squares)
            pairs = zip(outputs, found.rows[part], strict=True)
            cells = [_cells(finder.rows(output), rows, classes) for output, rows in pairs]
            tally += summed(Tallies.listed(cells), form)
            step(len(outputs))
    return FoundBoxes(model.labels, tally, len(found.pixels), found.left)


def _cells(detected: boxes.Rows, rows: NDArray[np.float32], classes: int) -> NDArray[np.int64]:
    truths = rows[rows[:, 0] >= 0].astype(np.float64)
    return matching.cells(detected, truths, np.zeros(len(truths), np.bool_), classes)


def _read(
    model: Model, data: Path
) -> tuple[NDArray[np.float32], NDArray[np.int64], tuple[LeftOut, ...]]:
    taken = model.input
    if isinstance(taken, ImageInput):
        shape = (taken.height, taken.width, taken.channels)
        found = Schema(IMAGES, shape, model.labels).read(data)
        return found.pixels, found.targets, found.left
    if isinstance(taken, ColumnsInput):
        return columns.labelled(data, taken, model.labels)
    if isinstance(taken, SoundInput):
        heard = SoundSchema(taken.rate, taken.length_ms, model.labels).read(data)
        return heard.samples, heard.targets, heard.left
    found_archives = archives(data)
    if not found_archives:
        raise DataError(f"{data}: this model takes arrays; name an .npz file with X and y")
    archive = found_archives[0]
    arrays = open_arrays(archive, ("X", "y"), most=4 * MAX_VALUES)
    records, usable = as_records(arrays["X"], taken)
    labels = arrays["y"]
    if labels.shape != (len(records),) or labels.dtype.kind not in "iu":
        raise DataError(f"{archive}: y has shape {labels.shape} and type {labels.dtype}")
    known = (labels >= np.int64(0)) & (labels < np.int64(len(model.labels)))
    left = []
    for row in np.flatnonzero(~(known & usable)).tolist():
        why = (
            "a label that the model does not know" if usable[row] else "a value that is not finite"
        )
        reason = Reason.LABEL if usable[row] else Reason.VALUES
        left.append(LeftOut(reason, archive.name, f"record {row} has {why}"))
    kept = known & usable
    return records[kept], labels[kept].astype(np.int64), tuple(left)
