"""Errors from sums, held against scikit-learn's from the values themselves."""

import numpy as np
import pytest
from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score

from edgeveil.shared.scores.regression import FORM, REGRESSION, errors, mean, parts
from edgeveil.shared.scores.tallies import summed

SPAN = 500.0


def counted(predicted, targets):
    return summed(parts(predicted, targets), FORM)


@pytest.fixture
def drawn():
    random = np.random.default_rng(2)
    targets = random.random(1000)
    return np.clip(targets + random.normal(0, 0.1, 1000), 0, 1), targets


def test_errors_are_those_of_the_values_themselves(drawn):
    predicted, targets = drawn
    found = errors(counted(predicted, targets), SPAN)
    assert found["mae"] == pytest.approx(mean_absolute_error(targets, predicted) * SPAN, rel=1e-4)
    assert found["rmse"] == pytest.approx(np.sqrt(mean_squared_error(targets, predicted)) * SPAN, rel=1e-4)  # fmt: skip
    assert found["r2"] == pytest.approx(r2_score(targets, predicted), abs=1e-4)
    assert mean(counted(predicted, targets)) == pytest.approx(targets.mean(), abs=1e-6)


def test_sums_of_single_records_are_the_sum_of_all_bit_for_bit(drawn):
    predicted, targets = drawn
    each = [counted(predicted[at : at + 1], targets[at : at + 1]) for at in range(1000)]
    assert sum(each).tobytes() == counted(predicted, targets).tobytes()


def test_no_record_counts_for_more_than_the_whole_range():
    wild = np.array([9.0, -9.0, np.nan, np.inf])
    found = errors(counted(wild, np.array([0.5, 0.5, 0.5, 0.5])), SPAN)
    assert found["mae"] == SPAN
    assert found["rmse"] == SPAN


def test_no_records_or_one_target_for_all_have_figures_too():
    assert errors(np.zeros(5, np.int64), SPAN) == {"mae": 0.0, "rmse": 0.0, "r2": 0.0}
    constant = counted(np.full(4, 0.25), np.full(4, 0.5))
    assert errors(constant, SPAN) == {"mae": 125.0, "rmse": 125.0, "r2": 0.0}


def test_a_report_names_the_target_with_its_unit():
    kept = {"regression": {"target": "power [W]", "mean": 1.0, "mae": 2.0, "rmse": 3.0, "r2": 0.5}}
    (table,) = REGRESSION.views(kept)
    assert "power [W]" in table.title[0]
