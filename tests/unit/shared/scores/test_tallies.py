"""What a record adds to a tally, and that no record adds more than was declared."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeveil.shared.scores import matching, regression
from edgeveil.shared.scores.boxes import MOST
from edgeveil.shared.scores.tallies import Tallies, TallyForm, bounded, summed

FORM = TallyForm((("first", (2, 2)), ("rest", (3,))), most=25)
WHOLE = st.integers(-(2**63), 2**63 - 1)


def tallies(*entries, count=4):
    """Of (row, cell, value)."""
    rows, cells, values = np.array(entries, np.int64).reshape(-1, 3).T
    return Tallies(count, rows, cells, values)


def vectors(found, form=FORM):
    """(count, length), each record's own."""
    whole = np.zeros((found.count, form.length), np.int64)
    np.add.at(whole, (found.rows, found.cells), found.values)
    return whole


def test_the_form_knows_its_length_and_its_bound():
    assert (FORM.length, FORM.bound) == (7, 5)


@pytest.mark.parametrize(
    ("cells", "most"), [((), 1), ((("a", (0,)),), 1), ((("a", (3,)),), 0), ((("a", (3,)),), 1 << 49)]
)  # fmt: skip
def test_a_form_without_cells_or_without_a_bound_is_refused(cells, most):
    with pytest.raises(ValueError, match="the form of a tally"):
        TallyForm(cells, most)


def test_what_is_within_the_bound_is_summed_as_it_is():
    made = tallies((0, 0, 3), (0, 6, -4), (1, 2, 5), (3, 2, 1))
    assert summed(made, FORM).tolist() == [3, 0, 6, 0, 0, 0, -4]


def test_a_record_above_its_bound_is_shortened_and_keeps_its_direction():
    made = tallies((0, 0, 300), (0, 1, -400), (1, 2, 5))
    assert vectors(bounded(made, FORM))[:2].tolist() == [[3, -4, 0, 0, 0, 0, 0], [0, 0, 5, 0, 0, 0, 0]]  # fmt: skip


def test_a_record_cannot_exceed_its_bound_in_many_small_parts():
    made = tallies(*[(2, 3, 1)] * 1000)
    assert vectors(bounded(made, FORM))[2].tolist() == [0, 0, 0, 5, 0, 0, 0]


def test_a_record_cannot_count_as_several_that_there_are_not():
    made = tallies((4, 0, 5), (-1, 0, 5), (0, 7, 5), (0, -1, 5), (0, 2**62, 5), (1, 1, 2))
    assert summed(made, FORM).tolist() == [0, 2, 0, 0, 0, 0, 0]


@pytest.mark.parametrize("most", [1, 2, 3, 24, 25, 1 + 4 * (1 << 40), 1 << 48])
@given(entries=st.lists(st.tuples(st.integers(-1, 4), st.integers(-1, 7), WHOLE), max_size=40))
def test_no_record_exceeds_its_bound_whatever_it_adds(most, entries):
    form = TallyForm(FORM.cells, most)
    each = vectors(bounded(tallies(*entries), form), form)
    assert all(sum(value * value for value in row) <= most for row in each.tolist())
    assert summed(tallies(*entries), form).tolist() == each.sum(axis=0).tolist()


@given(entries=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 6), st.integers(-9, 9)), max_size=40))  # fmt: skip
def test_a_records_own_vector_does_not_depend_on_the_others(entries):
    whole = vectors(bounded(tallies(*entries), FORM))
    for row in range(4):
        alone = [(0, cell, value) for at, cell, value in entries if at == row]
        assert vectors(bounded(tallies(*alone, count=1), FORM))[0].tolist() == whole[row].tolist()


@pytest.mark.parametrize(
    "broken",
    [
        Tallies(1, np.zeros(1, np.int64), np.zeros(1, np.int64), np.ones(1)),
        Tallies(1, np.zeros(1, np.int64), np.zeros(2, np.int64), np.ones(1, np.int64)),
        Tallies(1, np.zeros((1, 1), np.int64), np.zeros((1, 1), np.int64), np.ones((1, 1), np.int64)),
    ],
)  # fmt: skip
def test_what_is_no_vector_of_whole_numbers_is_refused(broken):
    with pytest.raises(ValueError, match="vectors of int64"):
        bounded(broken, FORM)


def test_three_ways_to_write_the_same_tallies():
    full = Tallies.full(np.array([[0, 1, 0], [0, 0, 1]]))
    one, several = Tallies.one_each(np.array([1, 2])), Tallies.listed([np.array([1]), np.array([2])])  # fmt: skip
    form = TallyForm((("cells", (3,)),), most=1)
    for each in (full, one, several):
        assert vectors(each, form).tolist() == [[0, 1, 0], [0, 0, 1]]
    twice = Tallies.listed([np.array([0, 0]), np.zeros(0, np.int64)])
    assert vectors(twice, form).tolist() == [[2, 0, 0], [0, 0, 0]]


def test_a_picture_with_all_it_can_hold_is_within_the_bound_of_detection():
    """Every detection in one cell at each overlap, every truth of one class."""
    form = matching.form(2, 64)
    place = [np.full(MOST, overlap * 2 * matching.BINS) for overlap in range(10)]
    truths = np.full(64, form.length - 1)
    made = Tallies.listed([np.concatenate([*place, truths])])
    assert summed(made, form).sum() == 10 * MOST + 64
    assert form.bound == pytest.approx(math.sqrt(10 * MOST**2 + 64**2))


def test_the_worst_record_of_a_regression_is_within_its_bound():
    made = regression.parts(np.array([0.0, np.nan]), np.array([1.0, 1.0]))
    assert bounded(made, regression.FORM).squares().tolist() == [regression.FORM.most] * 2
