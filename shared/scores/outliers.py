"""How well a score tells odd records from normal ones, from histograms of scores that add up.

Bins are equal in the logarithm of the score, over a public range: what lies beyond counts in the outer bins.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeveil.shared.scores.metric import LOSS, MetricSpec, Scoring
from edgeveil.shared.scores.tallies import Tallies, TallyForm
from edgeveil.shared.scores.views import Curve, Row, Table, View

KEPT = "scores"  # in a round record's extra
BINS = 256
ENDS = (1e-2, 1e3)  # of the score
RATES = (0.1, 0.05, 0.01, 0.001)  # of false alarms, for which a threshold is shown
Counts = NDArray[np.int64]
_METRICS = (
    MetricSpec("roc_auc", ("ROC AUC", "ROC 曲线下面积"), True, "", (0.0, 1.0), ("Separation per round", "每轮区分度")),
    MetricSpec("average_precision", ("Average precision", "平均精确率"), True, "", (0.0, 1.0), ("Separation per round", "每轮区分度")),
    MetricSpec("detected", ("Detected at the wanted false-alarm rate", "指定误报率下的检出率"), True, "%", (0.0, 1.0)),
    MetricSpec(LOSS, ("Loss", "损失"), False, "", (None, None)),
)  # fmt: skip


class OutlierScoring(Scoring):
    def views(self, extra: Mapping[str, Any]) -> tuple[View, ...]:
        found = extra.get(KEPT)
        if not isinstance(found, dict):
            return ()
        counts = np.array(found["counts"], np.int64)
        rows: list[Row] = [
            (f"{rate:.1%}", f"{threshold(counts, rate):.4g}", f"{detected(counts, rate):.1%}")
            for rate in RATES
        ]
        alarms, hits = curve(counts)
        return (
            Table(
                ("Thresholds", "阈值"),
                (("Normal records above it", "高于阈值的正常记录"), (">Score", ">分数"), (">Odd records above it", ">高于阈值的异常记录")),
                rows,
            ),
            Curve(
                ("Detected by false alarms", "检出率与误报率"),
                ("False alarms", "误报率"),
                [(("Detected", "检出率"), alarms.tolist(), hits.tolist())],
                "%",
            ),
        )  # fmt: skip


OUTLIERS = OutlierScoring(_METRICS)


FORM = TallyForm((("normal", (BINS,)), ("odd", (BINS,))), most=1)


def binned(scores: NDArray[np.float64], odd: NDArray[np.bool_]) -> Tallies:
    """Normal and odd records (N,) by score; NaN counts as the highest."""
    low, high = np.log(ENDS)
    known = np.clip(np.nan_to_num(scores, nan=ENDS[1], posinf=ENDS[1], neginf=ENDS[0]), *ENDS)
    place = ((np.log(known) - low) / (high - low) * BINS).astype(np.int64)
    return Tallies.one_each(odd.astype(np.int64) * BINS + np.minimum(place, BINS - 1))


def figures(counts: Counts, rate: float) -> dict[str, float]:
    """Every metric from counts (2, BINS); 0/0 counts as 0, and so do counts that noise made negative."""
    normal, odd = np.maximum(counts, 0)
    alarms, hits = curve(counts)
    return {
        "roc_auc": float(np.trapezoid(hits, alarms)) if normal.sum() and odd.sum() else 0.0,
        "average_precision": _precision(normal, odd),
        "detected": detected(counts, rate),
    }


def curve(counts: Counts) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Shares (BINS + 1,) of normal and of odd records above each edge, from the highest edge down."""
    shares = [np.concatenate([[0.0], np.cumsum(each[::-1]) / max(1, each.sum())]) for each in np.maximum(counts, 0)]  # fmt: skip
    return shares[0], shares[1]


def threshold(counts: Counts, rate: float) -> float:
    """The lowest edge of a bin above which at most `rate` of the normal records lie."""
    alarms, _ = curve(counts)
    below = int(np.flatnonzero(alarms <= rate)[-1])
    low, high = np.log(ENDS)
    return float(np.exp(low + (BINS - below) / BINS * (high - low)))


def detected(counts: Counts, rate: float) -> float:
    """The share of odd records above that threshold."""
    alarms, hits = curve(counts)
    return float(hits[np.flatnonzero(alarms <= rate)[-1]])


def _precision(normal: Counts, odd: Counts) -> float:
    """Precision at each edge, weighted by the odd records that it adds."""
    found, wrong = np.cumsum(odd[::-1]), np.cumsum(normal[::-1])
    precision = found / np.maximum(1, found + wrong)
    return float((precision * odd[::-1]).sum() / max(1, odd.sum()))
