"""Figures from histograms of scores, held against scikit-learn's from the scores themselves."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from edgeveil.shared.scores.outliers import (
    BINS,
    ENDS,
    FORM,
    OUTLIERS,
    binned,
    curve,
    detected,
    figures,
    threshold,
)
from edgeveil.shared.scores.tallies import summed


def counted(scores, odd):
    return summed(binned(scores, odd), FORM).reshape(2, BINS)


@pytest.fixture
def drawn():
    random = np.random.default_rng(2)
    odd = random.random(4000) < 0.1
    return np.exp(random.normal(0, 0.6, 4000) + 1.2 * odd), odd


def test_figures_are_those_of_the_scores_themselves_within_a_bin(drawn):
    scores, odd = drawn
    found = figures(counted(scores, odd), 0.05)
    assert found["roc_auc"] == pytest.approx(roc_auc_score(odd, scores), abs=2e-3)
    assert found["average_precision"] == pytest.approx(
        average_precision_score(odd, scores), abs=2e-2
    )
    cut = np.quantile(scores[~odd], 0.95)
    assert found["detected"] == pytest.approx((scores[odd] > cut).mean(), abs=0.05)


@pytest.mark.parametrize("rate", [0.5, 0.05, 0.01, 0.001])
def test_no_more_normal_records_than_wanted_lie_above_the_threshold(drawn, rate):
    scores, odd = drawn
    counts = counted(scores, odd)
    cut = threshold(counts, rate)
    assert (scores[~odd] > cut).mean() <= rate
    assert detected(counts, rate) == pytest.approx((scores[odd] > cut).mean(), abs=1e-12)


def test_perfect_and_hopeless_scores_are_told_as_that():
    odd = np.array([False] * 5 + [True] * 5)
    apart = figures(counted(np.where(odd, 10.0, 1.0), odd), 0.01)
    assert apart == {"roc_auc": 1.0, "average_precision": 1.0, "detected": 1.0}
    assert figures(counted(np.ones(10), odd), 0.01)["roc_auc"] == pytest.approx(0.5)


def test_scores_beyond_the_range_and_none_at_all_count_in_the_outer_bins():
    scores = np.array([0.0, -1.0, ENDS[0] / 9, ENDS[1] * 9, np.inf, np.nan])
    counts = counted(scores, np.zeros(6, np.bool_))
    assert counts[0, 0] == 3
    assert counts[0, BINS - 1] == 3
    assert counts.sum() == 6


def test_figures_without_odd_or_normal_records_are_zero_and_the_curve_ends_at_one():
    for counts in (np.zeros((2, BINS), np.int64), counted(np.ones(3), np.ones(3, np.bool_))):
        assert figures(counts, 0.1)["roc_auc"] == 0
    alarms, hits = curve(counted(np.ones(4), np.array([True, False] * 2)))
    assert (alarms[-1], hits[-1]) == (1, 1)


def test_a_report_shows_thresholds_and_the_curve(drawn):
    kept = {"scores": {"counts": counted(*drawn).tolist()}}
    table, line = OUTLIERS.views(kept)
    assert [row[0] for row in table.rows] == ["10.0%", "5.0%", "1.0%", "0.1%"]
    assert len(line.lines[0][1]) == BINS + 1
