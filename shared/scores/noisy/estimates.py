"""Figures from a sum of counts with known noise, each with the interval in which noise leaves it.

No cell is cut at zero before it is added to others: that would shift every sum upwards. Sums may come out
negative or too large; only ratios of them are brought back into the range of their figure, at the end. An interval
is what the noise alone leaves open, which is known exactly; how the records happen to be drawn is not in it.
The noise is drawn again around the counts: how far that moves a figure is how far it may lie from the truth.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from edgeveil.shared.scores import detection, matching, outliers
from edgeveil.shared.scores.noisy.released import Released

CONFIDENCE = 0.95
WIDTH = 1.96  # standard deviations to either side that hold so much of a normal error
DRAWS = 1000  # of the noise; the ends of an interval are good to a twentieth of its length
DRAWN_BYTES = 64 << 20  # of counts at a time
SEED = 20_311  # public: the same counts give the same intervals
MOST_CLASSES = 100  # of more no figures by class are kept

Floats = NDArray[np.float64]
Figures = dict[str, Floats]  # by name, of one count vector or of many at once


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure, and the interval that holds it with CONFIDENCE as far as noise is concerned."""

    value: float
    low: float
    high: float

    def as_json(self) -> list[float]:
        return [self.value, self.low, self.high]


@dataclass(frozen=True, slots=True)
class Task:
    """What of a task's options counts here: names of classes, a wanted rate of false alarms, and its own
    metrics, a function of one tally, for everything that is known in no other way.
    """

    metrics: Callable[[NDArray[np.int64]], Mapping[str, float]]
    labels: tuple[str, ...] = ()
    false_alarms: float = 0.01

    @classmethod
    def of(cls, metrics: Callable[[NDArray[np.int64]], Mapping[str, float]], options: Any) -> Self:
        """With what the options of a task say of it, where they have such keys."""
        labels = tuple(getattr(options, "class_names", ()))
        return cls(metrics, labels, getattr(options, "false_alarms", 10) / 1000)


def estimates(released: Released, counts: Floats, spread: float, task: Task) -> dict[str, Estimate]:
    """Every figure of counts (L,), whose cells each hold noise of standard deviation `spread`."""
    figures = figures_of(released, task)
    found = figures(counts)
    random = np.random.default_rng(SEED)
    each = max(1, min(DRAWS // 2, DRAWN_BYTES // (16 * counts.size)))
    moved: dict[str, list[Floats]] = {name: [] for name in found}
    for at in range(0, DRAWS // 2, each):
        noise = random.normal(0, spread, (min(each, DRAWS // 2 - at), counts.size))
        # Each draw and its mirror image, so that no figure is moved by how these draws fell.
        for name, values in figures(counts + np.concatenate([noise, -noise])).items():
            moved[name].append(np.atleast_1d(values))
    return {
        name: _interval(float(value), np.concatenate(moved[name])) for name, value in found.items()
    }


def _interval(value: float, drawn: Floats) -> Estimate:
    """The figure less the error that noise makes: by the ends of what was drawn, or by its deviation if that is wider."""
    errors, tail = drawn - value, (1 - CONFIDENCE) / 2
    low, high = np.quantile(errors, [tail, 1 - tail])
    reach = WIDTH * float(errors.std())
    low, high = min(low, errors.mean() - reach), max(high, errors.mean() + reach)
    return Estimate(value, value - float(high), value - float(low))


def figures_of(released: Released, task: Task) -> Callable[[Floats], Figures]:
    """What to compute of counts (…, L)."""
    form = released.form
    names = [name for name, _ in form.cells]
    if released.classes:
        return lambda counts: by_class(counts, task.labels)
    if form == outliers.FORM:
        return lambda counts: _separation(counts, task.false_alarms)
    if names == ["detections", "truths"]:
        return lambda counts: _boxes(counts, form.cells[1][1][0])
    first = np.array([1 / released.unit, *[1.0] * (form.length - 1)])
    return lambda counts: _each(counts * first, task.metrics)


def by_class(counts: Floats, labels: Sequence[str]) -> Figures:
    """Of right, missed and wrong (…, 3K): averages, and "precision of NAME" and the like by class."""
    right, missed, wrong = np.split(counts, 3, axis=-1)
    support, total = right + missed, (right + missed).sum(axis=-1)
    each = {
        "precision": _ratio(right, right + wrong),
        "recall": _ratio(right, support),
        "f1": _ratio(2 * right, 2 * right + missed + wrong),
    }
    found: Figures = {"accuracy": _ratio(right.sum(axis=-1), total)}
    for name, values in each.items():
        found[f"macro_{name}"] = values.mean(axis=-1)
        found[f"weighted_{name}"] = _ratio((values * support).sum(axis=-1), total)
    for at, label in enumerate(labels[:MOST_CLASSES]):
        for name, values in each.items():
            found[f"{name} of {label}"] = values[..., at]
        found[f"support of {label}"] = support[..., at]
    found["records"] = total
    return found


def _separation(counts: Floats, rate: float) -> Figures:
    """Of histograms (…, 2·BINS) of the scores of normal and odd records, from the highest score down."""
    normal, odd = (half[..., ::-1] for half in np.split(counts, 2, axis=-1))
    alarms, hits = normal.cumsum(axis=-1), odd.cumsum(axis=-1)
    normals, odds = alarms[..., -1], hits[..., -1]
    area = (normal * (hits - odd / 2)).sum(axis=-1)
    precision = _ratio(hits, hits + alarms)
    within = np.where(_share(alarms, normals) <= rate, np.arange(alarms.shape[-1]), -1).max(axis=-1)
    at = np.maximum(within, 0)[..., None]
    detected = np.take_along_axis(_share(hits, odds), at, axis=-1)[..., 0]
    return {
        "roc_auc": _ratio(area, normals * odds),
        "average_precision": _ratio((odd * precision).sum(axis=-1), odds),
        "detected": np.clip(np.where(within < 0, 0.0, detected), 0, 1),
        "records": normals + odds,
    }


def _boxes(counts: Floats, classes: int) -> Figures:
    """Of boxes by class, overlap and score: precision as recall grows, without a maximum, which noise would lift."""
    found = counts[..., :-classes].reshape(
        *counts.shape[:-1], classes, len(matching.THRESHOLDS), 2, -1
    )
    truths = counts[..., -classes:]
    right, wrong = found[..., matching.RIGHT, ::-1], found[..., matching.WRONG, ::-1]
    hits, false = right.cumsum(axis=-1), wrong.cumsum(axis=-1)
    area = (right * _ratio(hits, hits + false)).sum(axis=-1)  # (…, classes, overlaps)
    precision = _ratio(area, truths[..., None])
    at = right.shape[-1] - 1 - matching.edge(detection.SHOWN_AT)
    shown, others = hits[..., 0, at], false[..., 0, at]
    f1 = _ratio(2 * shown, shown + others + truths)
    sums = [each.sum(axis=-1) for each in (shown, others, truths)]
    return {
        "map50": precision[..., 0].mean(axis=-1),
        "map": precision.mean(axis=(-2, -1)),
        "micro_f1": _ratio(2 * sums[0], sum(sums)),
        "macro_f1": f1.mean(axis=-1),
        "boxes": sums[2],
    }


def _each(counts: Floats, metrics: Callable[[NDArray[np.int64]], Mapping[str, float]]) -> Figures:
    """By a task's own function, which takes one tally of whole numbers."""
    rows = np.rint(np.atleast_2d(counts)).astype(np.int64)
    found = [metrics(row) for row in rows]
    values = {name: np.array([each[name] for each in found]) for name in found[0]}
    return values if counts.ndim > 1 else {name: each[0] for name, each in values.items()}


def _ratio(part: Floats, whole: Floats) -> Floats:
    """In 0..1; 0 of nothing, or of less."""
    return np.clip(_share(part, whole), 0, 1)


def _share(part: Floats, whole: Floats) -> Floats:
    below = np.broadcast_to(np.asarray(whole)[..., None] if np.ndim(whole) < np.ndim(part) else whole, np.shape(part))  # fmt: skip
    return np.divide(part, below, out=np.zeros(np.shape(part)), where=below > 0)


def told(estimates: Mapping[str, Estimate]) -> dict[str, Any]:
    """As JSON values: name → value, lower and upper end."""
    return {name: each.as_json() for name, each in estimates.items()}
