"""What is decided before the first answer, by what a fact can be."""

import math

import pytest

from edgeveil.agent.rules.ranges import decided
from edgeveil.agent.rules.rule_file import Rule

RANGES = {"score": (0.0, 1.0), "count": (0.0, math.inf)}


def said(when):
    rule = Rule.model_validate({"name": "a", "when": when, "command": ["/usr/bin/touch", "x"]})
    return [each.removeprefix("rule 'a': ") for each in decided([rule], RANGES)]


@pytest.mark.parametrize(("when", "found"), [
    ("score > 1.5", "score > 1.5 is never true: score is 0 to 1"),
    ("score > 1", "score > 1 is never true: score is 0 to 1"),
    ("1.5 <= score", "1.5 <= score is never true: score is 0 to 1"),
    ("score < 0", "score < 0 is never true: score is 0 to 1"),
    ("score == 90", "score == 90 is never true: score is 0 to 1"),
    ("score != 90", "score != 90 is always true: score is 0 to 1"),
    ("score >= 0", "score >= 0 is always true: score is 0 to 1"),
    ("score <= 1", "score <= 1 is always true: score is 0 to 1"),
    ("count < 0", "count < 0 is never true: count is 0 or more"),
    ("1 > 2", "1 > 2 is never true"),
    ("2 == 2", "2 == 2 is always true"),
])  # fmt: skip
def test_a_comparison_that_no_answer_can_change_is_told(when, found):
    assert said(when) == [found]


@pytest.mark.parametrize("when", [
    "score >= 1", "score > 0", "score < 1", "score <= 0", "score == 1", "score != 0", "count > 1e9", "score > count",
    "score == score", "value > 1.5", "label == 'a'", "anomalous",
])  # fmt: skip
def test_one_that_depends_on_the_answer_is_left_alone(when):
    assert not said(when)


def test_each_of_several_is_found_however_deep_it_stands():
    assert len(said("label == 'a' and (not score > 2 or score < -1) or score > 0.5")) == 2
