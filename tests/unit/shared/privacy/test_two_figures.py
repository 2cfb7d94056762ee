"""The two ε of noise in shares: one bar with two marks, one sentence each, in every language and on any screen."""

import math
import re

import pytest

from edgeveil.shared.pages.words import LANGUAGES
from edgeveil.shared.privacy.report.two_figures import EMPTY, FULL, HALF, TwoFigures
from edgeveil.shared.privacy.unlimited import UNLIMITED

TWO = TwoFigures(sums=0.5, sums_limit=1.0, alone=2.0, alone_limit=8.0, honest=6)


def test_each_sentence_has_its_figure_its_limit_and_when_it_holds():
    sums, alone = TWO.sentences()
    assert sums == (
        "ε of sums: 0.5 of at most 1. Holds towards whoever sees only sums, if each sum holds at least 6 honest agents "
        "and the masks hold."
    )
    assert alone == (
        "ε alone: 2 of at most 8. Holds towards everybody, even if nobody but the device itself is honest."
    )


def test_sums_of_several_plans_need_what_each_plan_stated():
    told, _ = TwoFigures(0.5, 1.0, 2.0, 8.0).sentences()
    assert "as many honest agents as its plan states" in told


def test_a_figure_without_a_limit_or_a_bound_says_so():
    sums, alone = TwoFigures(UNLIMITED, UNLIMITED, UNLIMITED, 8.0).sentences()
    assert sums.startswith("ε of sums: not limited. Holds")
    assert alone.startswith("ε alone: not limited. Holds")


@pytest.mark.parametrize(
    ("two", "marks"),
    [
        (TWO, (0.0625, 0.25)),
        (TwoFigures(0.0, 1.0, 0.0, 8.0), (0.0, 0.0)),
        (TwoFigures(1.0, 1.0, 8.5, 8.0), (0.125, 1.0)),
        (
            TwoFigures(1.0, 1.0, 4.0, UNLIMITED),
            (0.25, 1.0),
        ),  # ends at the greater where nothing limits it
        (TwoFigures(UNLIMITED, 1.0, UNLIMITED, 8.0), (1.0, 1.0)),
        (
            TwoFigures(0.6, 1.0, 0.5, 1.0),
            (0.5, 0.5),
        ),  # rounded apart, never drawn the wrong way round
    ],
)
def test_both_marks_stand_on_one_bar(two, marks):
    assert two.marks == pytest.approx(marks)


@pytest.mark.parametrize("width", [20, 24, 7])
def test_a_terminals_bar_is_as_long_as_it_is_said_to_be_and_never_shrinks(width):
    drawn = [TwoFigures(k / 40, 1.0, k / 10, 8.0).blocks(width) for k in range(101)]
    assert {len(each) for each in drawn} == {width}
    assert all(re.fullmatch(f"{FULL}*{HALF}*{EMPTY}*", each) for each in drawn)
    used = [width - each.count(EMPTY) for each in drawn]
    assert used == sorted(used)
    assert TwoFigures(2.0, 4.0, 4.0, 8.0).blocks(8) == FULL * 2 + HALF * 2 + EMPTY * 4


@pytest.mark.parametrize("lang", LANGUAGES)
def test_a_pages_bar_has_two_marks_a_spoken_label_and_both_sentences(lang):
    drawn = TWO.bar(lang)
    assert re.search(r'class="mark" d="M6\.\d+ 0V6M25 0V6"', drawn)
    assert "25%" in drawn
    assert "6%" in drawn
    assert [said in drawn for said in TWO.sentences(lang)] == [True, True]
    assert "style=" not in drawn


def test_a_mark_at_either_end_stays_on_the_bar():
    drawn = TwoFigures(0.0, 1.0, 8.0, 8.0).bar("en")
    ends = [float(x) for x in re.search(r'd="M([\d.]+) 0V6M([\d.]+) 0V6"', drawn).groups()]
    assert 0 < ends[0] < 1
    assert 99 < ends[1] < 100
    assert all(map(math.isfinite, ends))
