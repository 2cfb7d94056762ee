"""Errors of predicted numbers, from sums that add up: each record's share is rounded to a whole number first.

All values are in shares of the target's public range, so that a tally has the same bounds for every target.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeveil.shared.scores.metric import LOSS, MetricSpec, Scoring
from edgeveil.shared.scores.tallies import Tallies, TallyForm
from edgeveil.shared.scores.views import Row, Table, View

KEPT = "regression"  # in a round record's extra
UNIT = 1 << 20  # of one: a billion records stay far inside of 64 bits
FIELDS = ("records", "absolute", "squared", "targets", "targets_squared")
# One record, and four values of at most one each.
FORM = TallyForm(tuple((name, ()) for name in FIELDS), most=1 + 4 * UNIT**2)
_CHART = ("Error per round, in the unit of the target", "每轮误差（目标单位）")
_METRICS = (
    MetricSpec("mae", ("Mean absolute error", "平均绝对误差"), False, "", (0.0, None), _CHART),
    MetricSpec("rmse", ("Root mean squared error", "均方根误差"), False, "", (0.0, None), _CHART),
    MetricSpec("r2", ("R²", "R²"), True, "", (None, 1.0)),
    MetricSpec(LOSS, ("Loss", "损失"), False, "", (0.0, None)),
)  # fmt: skip


class RegressionScoring(Scoring):
    def views(self, extra: Mapping[str, Any]) -> tuple[View, ...]:
        found = extra.get(KEPT)
        if not isinstance(found, dict):
            return ()
        rows: list[Row] = [
            (name, f"{found[key]:.4g}")
            for key, name in (
                ("mae", ("Mean absolute error", "平均绝对误差")),
                ("rmse", ("Root mean squared error", "均方根误差")),
                ("mean", ("Mean of the target", "目标均值")),
            )
        ]
        note = f"{found['target']}"
        return (Table((f"Error of {note}", f"误差：{note}"), (("Figure", "指标"), (">Value", ">值")), rows),)  # fmt: skip


REGRESSION = RegressionScoring(_METRICS)


def parts(predicted: NDArray[np.float64], targets: NDArray[np.float64]) -> Tallies:
    """FIELDS of values (N,) in shares of the range; errors count as at most one, NaN as one."""
    targets = np.clip(targets, 0, 1)
    errors = np.clip(np.nan_to_num(np.abs(predicted - targets), nan=1.0), 0, 1)
    shares = np.stack([errors, errors**2, targets, targets**2], axis=1) * UNIT
    units = np.concatenate([np.ones((len(errors), 1)), np.rint(shares)], axis=1)
    return Tallies.full(units.astype(np.int64))


def errors(tally: NDArray[np.int64], span: float) -> dict[str, float]:
    """Figures by name; `span` is the length of the target's range in its unit."""
    count, absolute, squared, total, total_squared = (max(0, int(value)) for value in tally)
    if count == 0:
        return {"mae": 0.0, "rmse": 0.0, "r2": 0.0}
    spread = total_squared - total**2 / (count * UNIT)
    return {
        "mae": span * min(1.0, absolute / UNIT / count),
        "rmse": span * math.sqrt(min(1.0, squared / UNIT / count)),
        "r2": 1 - squared / spread if spread > 0 else 0.0,
    }


def mean(tally: NDArray[np.int64]) -> float:
    """Of the targets, in shares of the range."""
    return max(0, int(tally[3])) / UNIT / max(1, int(tally[0]))
