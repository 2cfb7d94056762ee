"""Figures from noisy counts: nothing is cut before it is added up, and intervals hold what noise cannot tell."""

import numpy as np
import pytest

from edgeveil.shared.scores import classification, matching, outliers, regression
from edgeveil.shared.scores.class_scores import CLASSES
from edgeveil.shared.scores.noisy import noised
from edgeveil.shared.scores.noisy.estimates import Task, estimates, figures_of, told
from edgeveil.shared.scores.noisy.released import Released, released
from edgeveil.shared.scores.tallies import TallyForm, summed

LABELS = ("a", "b", "c")
NONE = Task(lambda _: {}, LABELS)


def matrix(records=3000, seed=1):
    random = np.random.default_rng(seed)
    targets = random.integers(0, 3, records)
    predicted = np.where(random.random(records) < 0.8, targets, random.integers(0, 3, records))
    return classification.confused(predicted, targets, 3)


def test_three_counts_a_class_say_all_that_a_matrix_says_of_precision_recall_and_f1():
    form = classification.form(3)
    tally = summed(matrix(), form)
    what = released(form)
    assert what.form == TallyForm((("right", (3,)), ("missed", (3,)), ("wrong", (3,))), most=2)
    found = figures_of(what, NONE)(what.of(tally).astype(float))
    scores = classification.scores(tally.reshape(3, 3))
    assert found["accuracy"] == pytest.approx(scores.accuracy)
    assert found["macro_f1"] == pytest.approx(scores.macro_f1)
    assert found["weighted_f1"] == pytest.approx(scores.weighted_f1)
    for at, label in enumerate(LABELS):
        assert found[f"precision of {label}"] == pytest.approx(scores.precision[at])
        assert found[f"recall of {label}"] == pytest.approx(scores.recall[at])
        assert found[f"f1 of {label}"] == pytest.approx(scores.f1[at])
        assert found[f"support of {label}"] == scores.support[at]


def test_one_record_moves_what_is_summed_by_no_more_than_its_form_says():
    form = classification.form(4)
    what = released(form)
    for cell in range(16):
        tally = np.zeros(16, np.int64)
        tally[cell] = 1
        assert int((what.of(tally) ** 2).sum()) <= what.form.most
    most = np.array([1, *[regression.UNIT] * 4])
    assert (
        int((released(regression.FORM).of(most) ** 2).sum()) == released(regression.FORM).form.most
    )
    assert released(outliers.FORM) == Released(outliers.FORM)
    twice = TallyForm((("confusion", (4, 4)),), most=4)
    assert released(twice) == Released(
        twice
    )  # a record that counts more than once is not one of a matrix


def test_intervals_hold_the_figure_without_noise_as_often_as_they_say():
    form = classification.form(3)
    what, spread, held, errors = released(form), 25.0, 0, []
    counts = what.of(summed(matrix(), form)).astype(float)
    true = float(figures_of(what, NONE)(counts)["macro_f1"])
    random = np.random.default_rng(5)
    for _ in range(200):
        found = estimates(what, counts + random.normal(0, spread, counts.size), spread, NONE)
        one = found["macro_f1"]
        held += one.low <= true <= one.high
        errors.append(one.value - true)
    assert held >= 180  # of 190 expected
    assert abs(np.mean(errors)) < 3 * np.std(errors) / np.sqrt(200) + 1e-3  # no shift


def test_negative_cells_are_added_up_and_not_cut():
    """Cut at zero first, noise of 20 in 256 bins would pretend two thousand records."""
    counts = np.random.default_rng(2).normal(0, 20, 2 * outliers.BINS)
    found = figures_of(Released(outliers.FORM), NONE)(counts)
    assert float(found["records"]) == pytest.approx(counts.sum())
    assert abs(float(found["records"])) < 2000 < float(np.maximum(counts, 0).sum())


def test_without_noise_the_figures_of_scores_are_those_of_the_coordinators_own_data():
    random = np.random.default_rng(3)
    odd = random.random(4000) < 0.1
    scores = np.exp(random.normal(np.where(odd, 1.0, 0.0), 0.7))
    tally = summed(outliers.binned(scores, odd), outliers.FORM)
    wanted = outliers.figures(tally.reshape(2, -1), 0.05)
    found = figures_of(Released(outliers.FORM), Task(lambda _: {}, (), 0.05))(tally.astype(float))
    for name, value in wanted.items():
        assert float(found[name]) == pytest.approx(value, abs=1e-9), name


def test_boxes_give_nearly_the_average_precision_of_coco():
    form = matching.form(2, 20)
    random = np.random.default_rng(4)
    counts = np.zeros(form.length)
    found, truths = counts[:-2].reshape(2, 10, 2, matching.BINS), counts[-2:]
    truths[:] = 400
    places = np.arange(matching.BINS)
    for kind in range(2):
        for overlap in range(10):
            found[kind, overlap, matching.RIGHT] = random.multinomial(300 - 20 * overlap, np.exp(places / 200) / np.exp(places / 200).sum())  # fmt: skip
            found[kind, overlap, matching.WRONG] = random.multinomial(200 + 20 * overlap, np.exp(-places / 200) / np.exp(-places / 200).sum())  # fmt: skip
    from edgeveil.shared.scores import detection

    wanted = detection.scores(counts.astype(np.int64), 2).figures()
    given = figures_of(Released(form), NONE)(counts)
    for name, value in wanted.items():
        assert float(given[name]) == pytest.approx(value, abs=0.02), name


def test_any_other_task_is_measured_by_its_own_function_of_whole_counts():
    what, unit = released(regression.FORM), regression.UNIT
    tally = np.array([1000, 100 * unit, 20 * unit, 500 * unit, 300 * unit])
    task = Task(lambda tally: regression.errors(tally, 10.0))
    found = estimates(what, what.of(tally).astype(float), 5.0 * unit, task)
    assert found["mae"].value == pytest.approx(1.0)
    assert 0.8 < found["mae"].low < 1.0 < found["mae"].high < 1.2
    assert found["r2"].low < found["r2"].value < found["r2"].high


def test_tables_show_each_figure_with_what_noise_leaves():
    form = classification.form(3)
    what = released(form)
    counts = what.of(summed(matrix(), form)).astype(float)
    extra = {
        noised.KEPT: {
            "agents": 4,
            "confidence": 0.95,
            "figures": told(estimates(what, counts, 9.0, NONE)),
        }
    }
    whole, each = noised.views(extra, CLASSES)
    assert [row[0][0] for row in whole.rows] == ["Accuracy", "Macro F1", "Records"]
    assert [row[0] for row in each.rows][:3] == list(LABELS)
    assert "±" in each.rows[0][1]
    low, high = noised.interval(extra, "accuracy")
    assert low < high
    assert noised.views({}, CLASSES) == ()
    assert noised.summary({noised.KEPT: {"on": "devices"}}) == {}
