"""Classification scores from a confusion matrix: counts that add up over agents and batches.

Rows are the true classes, columns the predicted ones. 0/0 counts as 0 and is flagged; cells that
noise has pushed below zero count as 0 (post-processing).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeveil.shared.scores.tallies import Tallies, TallyForm

Counts = NDArray[np.int64]
Ratios = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """All ratios lie in 0..1; per-class arrays have shape (K,)."""

    accuracy: float  # = micro F1 with one label per record
    macro_f1: float
    weighted_f1: float
    precision: Ratios
    recall: Ratios
    f1: Ratios
    support: Counts  # records per true class
    undefined: tuple[int, ...]  # classes with a ratio 0/0, counted as 0

    def averages(self) -> dict[str, tuple[float, float, float]]:
        """(precision, recall, F1): micro counts records, macro classes, weighted classes by support."""
        per_class = (self.precision, self.recall, self.f1)
        total = max(1, int(self.support.sum()))
        macro = [float(values.mean()) if len(values) else 0.0 for values in per_class]
        weighted = [float((values * self.support).sum() / total) for values in per_class]
        return {
            "micro": (self.accuracy, self.accuracy, self.accuracy),
            "macro": (macro[0], macro[1], macro[2]),
            "weighted": (weighted[0], weighted[1], weighted[2]),
        }


def form(classes: int) -> TallyForm:
    """A matrix (classes, classes), row by row, in which each record counts itself once."""
    return TallyForm((("confusion", (classes, classes)),), most=1)


def confused(predicted: Counts, targets: Counts, classes: int) -> Tallies:
    """The pair (true, predicted) of each record (N,)."""
    return Tallies.one_each(targets.astype(np.int64) * classes + predicted.astype(np.int64))


def scores(matrix: Counts) -> Scores:
    """Scores of one (K, K) matrix; the order of summation does not matter."""
    counts = np.maximum(matrix, 0)
    hits = np.diagonal(counts).astype(np.int64)
    support = counts.sum(axis=1)
    predicted = counts.sum(axis=0)
    total = int(counts.sum())
    f1 = _ratio(2 * hits, support + predicted)
    return Scores(
        accuracy=float(hits.sum() / total) if total else 0.0,
        macro_f1=float(f1.mean()) if len(f1) else 0.0,
        weighted_f1=float((f1 * support).sum() / total) if total else 0.0,
        precision=_ratio(hits, predicted),
        recall=_ratio(hits, support),
        f1=f1,
        support=support,
        undefined=tuple(int(k) for k in np.flatnonzero((support == 0) | (predicted == 0))),
    )


def _ratio(part: Counts, whole: Counts) -> Ratios:
    return np.where(whole > 0, part / np.maximum(whole, 1), 0.0)
