import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from edgeveil.shared.scores.classification import confused, form, scores
from edgeveil.shared.scores.tallies import summed


def counted(predicted, targets, classes):
    return summed(confused(predicted, targets, classes), form(classes)).reshape(classes, classes)


@pytest.mark.parametrize("seed", range(5))
def test_scores_equal_those_of_scikit_learn(seed):
    random = np.random.default_rng(seed)
    targets = random.integers(0, 7, 200)
    predicted = np.where(random.random(200) < 0.6, targets, random.integers(0, 7, 200))
    matrix = counted(predicted, targets, 7)
    assert np.array_equal(matrix, confusion_matrix(targets, predicted))
    found = scores(matrix)
    precision, recall, f1, support = precision_recall_fscore_support(targets, predicted)
    for ours, theirs in [(found.precision, precision), (found.recall, recall), (found.f1, f1)]:
        assert np.allclose(ours, theirs, atol=1e-12)
    assert found.support.tolist() == support.tolist()
    assert found.accuracy == pytest.approx((targets == predicted).mean())
    for average, ours in [("macro", found.macro_f1), ("weighted", found.weighted_f1)]:
        theirs = precision_recall_fscore_support(targets, predicted, average=average)[2]
        assert ours == pytest.approx(theirs)
    assert found.undefined == ()


def test_zero_by_zero_counts_as_zero_and_is_flagged():
    targets = np.array([0, 0, 1, 3])
    predicted = np.array([0, 1, 1, 1])  # class 2 never occurs, class 3 is never predicted
    found = scores(counted(predicted, targets, 4))
    expected = precision_recall_fscore_support(targets, predicted, labels=range(4), zero_division=0)
    assert np.allclose(found.f1, expected[2])
    assert np.allclose(found.precision, expected[0])
    assert found.macro_f1 == pytest.approx(expected[2].mean())
    assert found.undefined == (2, 3)


def test_an_empty_matrix_gives_zeros_and_not_a_warning():
    with np.errstate(all="raise"):
        found = scores(np.zeros((3, 3), dtype=np.int64))
    assert (found.accuracy, found.macro_f1, found.weighted_f1) == (0.0, 0.0, 0.0)
    assert found.undefined == (0, 1, 2)


def test_cells_that_noise_pushed_below_zero_count_as_zero():
    noisy = np.array([[8, -3], [-1, 4]])
    assert scores(noisy).accuracy == 1.0
    assert scores(noisy).support.tolist() == [8, 4]


def test_confusion_counts_of_agents_add_up_to_the_pooled_ones():
    random = np.random.default_rng(1)
    targets, predicted = random.integers(0, 5, 999), random.integers(0, 5, 999)
    parts = [counted(predicted[i::4], targets[i::4], 5) for i in range(4)]
    assert sum(parts).tobytes() == counted(predicted, targets, 5).tobytes()
