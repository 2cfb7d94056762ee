"""How well a model does on labelled records of this device. The figures stay here."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeveil.agent.inference import columns, moments
from edgeveil.agent.inference.boxes import Finder
from edgeveil.agent.inference.records import as_records, asked
from edgeveil.agent.inference.runtime import Model, Scores
from edgeveil.shared.base.errors import DataError
from edgeveil.shared.data.arrays import open_arrays
from edgeveil.shared.data.boxes.fitting import MOST_BOXES, truths
from edgeveil.shared.data.boxes.schema import BoxSchema
from edgeveil.shared.data.images import MAX_VALUES
from edgeveil.shared.data.left_out import LeftOut, Reason
from edgeveil.shared.data.probe import probe
from edgeveil.shared.data.schema import IMAGES, Schema
from edgeveil.shared.data.sounds.schema import SoundSchema
from edgeveil.shared.data.tabular.columns import Ranged
from edgeveil.shared.data.tree import archives
from edgeveil.shared.models.given import NumberOutput, OddOutput
from edgeveil.shared.models.taken import ColumnsInput, ImageInput, MomentInput, SoundInput
from edgeveil.shared.scores import class_scores, detection, matching, outliers, regression, views
from edgeveil.shared.scores.tallies import Tallies, summed
from edgeveil.shared.terminal.progress import progress


@dataclass(frozen=True, slots=True, eq=False)
class Evaluated:
    """`counts` (K, K): true label by predicted label; `left`: records that could not be used."""

    labels: tuple[str, ...]
    counts: NDArray[np.int64]
    left: tuple[LeftOut, ...]

    @property
    def views(self) -> tuple[views.View, ...]:
        return class_scores.views_of(self.counts, self.labels)

    @property
    def right(self) -> float:
        """The share of records that the model is right on, 0 to 1."""
        return float(np.trace(self.counts) / max(1, int(self.counts.sum())))

    @property
    def summary(self) -> tuple[str, float]:
        """Name and value, 0 to 1, of the figure that variants are compared by."""
        return class_scores.summary(self.counts)

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
    def views(self) -> tuple[views.View, ...]:
        return detection.views_of(detection.scores(self.tally, len(self.labels)), self.labels)

    @property
    def right(self) -> float:
        """MAP at overlap .5, 0 to 1."""
        return detection.scores(self.tally, len(self.labels)).figures()["map50"]

    @property
    def summary(self) -> tuple[str, float]:
        return "mAP at overlap .5", self.right

    def as_json(self) -> dict[str, Any]:
        found = detection.scores(self.tally, len(self.labels))
        return {"records": self.pictures, **detection.as_json(found, self.labels)}


@dataclass(frozen=True, slots=True, eq=False)
class FoundNumbers:
    """As Evaluated, of a model of numbers: `tally` as of edgeveil.shared.scores.regression."""

    target: Ranged
    tally: NDArray[np.int64]
    left: tuple[LeftOut, ...]

    @property
    def figures(self) -> dict[str, float]:
        return regression.errors(self.tally, self.target.high - self.target.low)

    @property
    def views(self) -> tuple[views.View, ...]:
        span = self.target.high - self.target.low
        mean = self.target.low + regression.mean(self.tally) * span
        kept = {"target": str(self.target.column), "mean": mean, **self.figures}
        return regression.REGRESSION.views({regression.KEPT: kept})

    @property
    def right(self) -> float:
        """One less the mean absolute error in shares of the target's range, 0 to 1."""
        return 1 - self.figures["mae"] / (self.target.high - self.target.low)

    def as_json(self) -> dict[str, Any]:
        return {"records": int(self.tally[0]), "target": str(self.target.column), **self.figures}


@dataclass(frozen=True, slots=True, eq=False)
class FoundOdd:
    """As Evaluated, of a model that tells odd records: `counts` (2, BINS) as of edgeveil.shared.scores.outliers.

    `above` (2,): normal and odd records above `threshold`, where the model has one.
    """

    counts: NDArray[np.int64]
    false_alarms: float
    threshold: float | None
    above: tuple[int, int]
    left: tuple[LeftOut, ...]

    @property
    def views(self) -> tuple[views.View, ...]:
        shown = "–" if self.threshold is None else f"{self.threshold:.4g}"
        rows = [(name, int(each.sum()), "–" if self.threshold is None else above) for name, each, above in zip(("normal", "odd"), self.counts, self.above, strict=True)]  # fmt: skip
        used = views.Table(f"With the threshold in use, {shown}", ("records", ">in all", ">above it"), rows)  # fmt: skip
        return (used, *outliers.OUTLIERS.views({outliers.KEPT: {"counts": self.counts.tolist()}}))

    @property
    def right(self) -> float:
        """ROC AUC; without odd records the share of normal ones that are not above the threshold."""
        if self.counts[1].sum():
            return outliers.figures(self.counts, self.false_alarms)["roc_auc"]
        return 1 - self.above[0] / max(1, int(self.counts[0].sum()))

    def as_json(self) -> dict[str, Any]:
        normal, odd = (int(each.sum()) for each in self.counts)
        figures = outliers.figures(self.counts, self.false_alarms) if odd else {}
        known = self.threshold is not None
        used = {"above_normal": self.above[0], "above_odd": self.above[1]} if known else {}
        return {"records": normal + odd, "odd": odd, "threshold": self.threshold, **used, **figures}


Found = Evaluated | FoundBoxes | FoundNumbers | FoundOdd


def evaluate(model: Model, data: Path, *, quiet: bool = False) -> Found:
    """Read labelled records as training reads them, and count what the model says of each.

    Raises:
        DataError: no such data, another shape, or no record that can be used.
    """
    probe(data)
    if model.finder is not None:
        return _evaluate_boxes(model, model.finder, data, quiet=quiet)
    given = model.manifest.output
    if isinstance(given, NumberOutput | OddOutput):
        return _evaluate_values(model, given, data, quiet=quiet)
    records, targets, left = _read(model, data)
    _check_any(data, len(targets), left)
    counts = np.zeros((len(model.labels),) * 2, np.int64)
    with progress("evaluating the model", len(targets), quiet=quiet) as step:
        for at in range(0, len(targets), model.batch):
            part = slice(at, at + model.batch)
            predicted = model.scores(records[part]).argmax(axis=1)
            counts += class_scores.counts_of(predicted, targets[part], model.labels)
            step(len(predicted))
    return Evaluated(model.labels, counts, left)


def scored(model: Model, given: OddOutput, data: Path, *, quiet: bool) -> tuple[Scores, NDArray[np.bool_], tuple[LeftOut, ...]]:  # fmt: skip
    """How odd each record is, and whether its label says so; raises DataError."""
    probe(data)
    records, odd, left = columns.normal_or_odd(data, _columns(model), given.normal)
    _check_any(data, len(odd), left)
    return _values(model, records, quiet=quiet), odd, left


def _evaluate_values(model: Model, given: NumberOutput | OddOutput, data: Path, *, quiet: bool) -> Found:  # fmt: skip
    if isinstance(given, OddOutput):
        scores, odd, left = scored(model, given, data, quiet=quiet)
        over = scores > (np.inf if model.threshold is None else model.threshold)
        above = int((over & ~odd).sum()), int((over & odd).sum())
        return FoundOdd(summed(outliers.binned(scores, odd), outliers.FORM).reshape(2, -1), given.false_alarms, model.threshold, above, left)  # fmt: skip
    records, wanted, left = columns.numbered(data, _columns(model), given)
    _check_any(data, len(wanted), left)
    target = given.number
    values = _values(model, records, quiet=quiet)
    shares = ((each - target.low) / (target.high - target.low) for each in (values, np.clip(wanted, target.low, target.high)))  # fmt: skip
    return FoundNumbers(target, summed(regression.parts(*shares), regression.FORM), left)


def _columns(model: Model) -> ColumnsInput:
    """What the model takes; raises DataError where its records are no tables."""
    if not isinstance(model.input, ColumnsInput):
        raise DataError("this model takes arrays that were prepared elsewhere, and is not evaluated here")  # fmt: skip
    return model.input


def _values(model: Model, records: NDArray[np.float32], *, quiet: bool) -> Scores:
    found = [np.zeros(0)]
    with progress("evaluating the model", len(records), quiet=quiet) as step:
        for at in range(0, len(records), model.batch):
            found.append(model.values(records[at : at + model.batch]))
            step(len(found[-1]))
    return np.concatenate(found)


def _check_any(data: Path, count: int, left: tuple[LeftOut, ...]) -> None:
    if not count:
        first = f": {left[0].sentence}" if left else ""
        raise DataError(f"{data}: no record can be used{first}")


def _evaluate_boxes(model: Model, finder: Finder, data: Path, *, quiet: bool) -> FoundBoxes:
    found = BoxSchema(finder.side, model.labels).read(data)
    _check_any(data, len(found.pixels), found.left)
    classes = len(model.labels)
    form = matching.form(classes, MOST_BOXES)
    tally = np.zeros(form.length, np.int64)
    with progress("evaluating the model", len(found.pixels), quiet=quiet) as step:
        for at in range(0, len(found.pixels), model.batch):
            part = slice(at, at + model.batch)
            squares = np.moveaxis(found.pixels[part], 1, 3).astype(np.float32) / np.float32(255)
            outputs = model.outputs(squares)
            pairs = zip(outputs, found.rows[part], strict=True)
            cells = [
                matching.cells(finder.rows(output), *truths(rows), classes)
                for output, rows in pairs
            ]
            tally += summed(Tallies.listed(cells), form)
            step(len(outputs))
    return FoundBoxes(model.labels, tally, len(found.pixels), found.left)


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
    if isinstance(taken, MomentInput) and not found_archives:
        return moments.labelled(data, taken, model.labels)
    if not found_archives:
        raise DataError(f"{data}: this model takes arrays; name an .npz file with y and {asked(taken)}")  # fmt: skip
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


def calibration_records(model: Model, data: Path, most: int) -> NDArray[np.float32]:
    """At most so many of these records (n, *shape), spread evenly, as the graph takes them; raises DataError."""
    if model.finder is not None:
        pixels = BoxSchema(model.finder.side, model.labels).read(data).pixels
        chosen = pixels[_spread(len(pixels), most)]
        found = np.moveaxis(chosen, 1, 3).astype(np.float32) / np.float32(255)
    else:
        records, _, _ = _read(model, data)
        found = records[_spread(len(records), most)]
    if not len(found):
        raise DataError(f"{data}: no record can be used")
    return found


def _spread(count: int, most: int) -> NDArray[np.int64]:
    return np.linspace(0, count - 1, min(count, most)).astype(np.int64)
