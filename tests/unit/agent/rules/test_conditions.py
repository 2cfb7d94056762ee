"""Conditions of rules: what they say of facts, and what is none."""

import pytest

from edgeveil.agent.rules import condition
from edgeveil.agent.rules.condition import NoCondition, parse

FALL = {"label": "fall", "score": 0.93}


@pytest.mark.parametrize(
    ("text", "follows"),
    [
        ("score > 0.9 and label == 'fall'", True),
        ("score > 0.95 and label == 'fall'", False),
        ('label == "fall"', True),
        ("label != 'fall' or score >= .93", True),
        ("not label == 'fall'", False),
        ("not (label == 'walk' or score < 0.5)", True),
        ("label == 'walk' or label == 'fall' and score > 0.9", True),
        ("(label == 'walk' or label == 'fall') and score > 0.99", False),
        ("0.9 < score", True),
        ("score > -1e-3", True),
        ("true", True),
        ("score == 0.93", True),
    ],
)
def test_a_condition_says_what_it_reads_like(text, follows):
    assert parse(text).follows(FALL) is follows


@pytest.mark.parametrize("text", ["value > 3", "value < 3", "not value > 3", "value > 3 and label == 'fall'", "anomalous", "not anomalous", "anomalous == false"])  # fmt: skip
def test_what_an_answer_does_not_know_follows_from_nothing(text):
    assert not parse(text).follows(FALL)


def test_what_is_not_known_does_not_matter_where_the_rest_decides_in_any_order():
    assert parse("value > 3 or label == 'fall'").follows(FALL)
    assert parse("label == 'fall' or value > 3").follows(FALL)
    assert parse("not (value > 3 and label == 'walk')").follows(FALL)


def test_facts_are_compared_with_each_other():
    assert parse("score > threshold").follows({"score": 3.0, "threshold": 2.5})
    assert not parse("score > threshold").follows({"score": 2.0, "threshold": 2.5})


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "at the end: a name, a number or a 'text' is missing"),
        ("lable == 'fall'", "at character 1: 'lable' is no name; did you mean \"label\"?"),
        ("xyzzy > 3", "there are label, score, value"),
        ("label = 'fall'", "write =="),
        ("label == 'fall' && score > 1", "write and"),
        ("label == 'fall", "is not closed"),
        ("score > 'high'", "a number is compared with a text"),
        ("label > 'fall'", "> compares numbers"),
        ("wrong_way > true", "> compares numbers"),
        ("score", "a number says nothing by itself"),
        ("'fall'", "a text says nothing by itself"),
        ("0 < score < 1", "one comparison at a time"),
        ("(score > 1", "a ) is missing"),
        ("score > 1)", "')' is one too many"),
        ("score > 1 score", "'score' is one too many"),
        ("not", "is missing"),
        ("and score > 1", "is missing"),
        ("score > 0x10", "at character 9"),
        ("score > 1.2.3", "means nothing here"),
        ("score.real > 1", "means nothing here"),
        ("__import__('os')", "is no name"),
        ("label == 'a' if true", "one too many"),
        ("(" * 30 + "true" + ")" * 30, "more than 20 within each other"),
        ("not " * 30 + "true", "more than 20 within each other"),
        ("true or " * 200 + "true", "longer than 1000 characters"),
        ("score > 1\x00", "means nothing here"),
        ("ѕcore > 1", "means nothing here"),
    ],
)
def test_what_is_no_condition_is_refused_in_one_sentence(text, why):
    with pytest.raises(NoCondition) as refused:
        parse(text)
    assert why in str(refused.value)
    assert "\n" not in str(refused.value)


def test_the_names_and_labels_of_a_condition_are_known():
    found = parse("label == 'fall' or 'trip' != label and score > threshold or direction == 'in'")
    assert found.names == {"label", "score", "threshold", "direction"}
    assert found.labels == {"fall", "trip"}


def test_as_long_and_as_deep_as_allowed_is_allowed():
    deep = "(" * condition.MOST_DEPTH + "true" + ")" * condition.MOST_DEPTH
    assert parse(deep).follows({})
    longest = ("true and " * condition.MOST_TEXT)[: condition.MOST_TEXT - 10].rsplit(" and ", 1)[0]
    assert parse(longest).follows({})
