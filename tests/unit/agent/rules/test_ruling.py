"""From answers to alarms: one event is one alarm, and nothing of an input is in it."""

import pytest

from edgeveil.agent.rules.facts import EventFacts, above, facts_of, names_of
from edgeveil.agent.rules.rule_file import RulesFile
from edgeveil.agent.rules.ruling import Ruling, check_fits
from edgeveil.shared.base.config import validate
from edgeveil.shared.base.errors import ConfigError


def rules(*conditions, **more):
    values = [{"name": f"rule-{n}", "when": when, "webhook": "https://a.example/", **more} for n, when in enumerate(conditions)]  # fmt: skip
    return validate({"rule": values}, RulesFile, source="rules.toml").rule


def fall(score=0.95):
    return {"input": "secret.jpg", "label": "fall", "score": score, "scores": {"fall": score}}


WALK = {"input": "secret.jpg", "label": "walk", "score": 0.99, "scores": {}}


def alarms_of(ruling, answers, every=1.0):
    """The places of the answers that were alarms."""
    return [n for n, answer in enumerate(answers) if ruling.answer(answer, "ab", now=n * every, at=1e9 + n)]  # fmt: skip


def test_one_event_is_one_alarm_however_long_it_lasts():
    ruling = Ruling(rules("label == 'fall'"))
    assert alarms_of(ruling, [fall()] * 5 + [WALK] + [fall()] * 3) == [0, 6]


def test_three_of_five_are_needed_and_then_told_once():
    ruling = Ruling(rules("label == 'fall'", **{"for": "3 of 5"}))
    flickers = [fall(), WALK, fall(), WALK, WALK, fall(), fall(), WALK, fall(), fall(), WALK, WALK]
    answers = [*flickers, *[WALK] * 3, *[fall()] * 3]
    assert alarms_of(ruling, answers) == [6, 17]


def test_within_the_pause_nothing_is_told_and_what_outlasts_it_is_told_then():
    ruling = Ruling(rules("label == 'fall'", cooldown_s=10))
    answers = [fall(), WALK, fall(), WALK, *[WALK] * 4, *[fall()] * 6]
    assert alarms_of(ruling, answers) == [0, 10]


def test_an_alarm_holds_what_was_answered_and_nothing_of_the_input():
    (alarm,) = Ruling(rules("score > .9")).answer(fall(), "ab12", now=0, at=1e9)
    assert alarm.as_json() == {"id": alarm.id, "rule": "rule-0", "time": 1e9, "model": "ab12", "label": "fall", "score": 0.95}  # fmt: skip
    assert len(alarm.id) == 32


def test_of_many_boxes_the_surest_that_fits_is_told_with_how_many_there_are():
    boxes = [{"label": label, "score": score, "x1": 0, "y1": 0, "x2": 1, "y2": 1} for label, score in (("car", 0.9), ("bus", 0.8), ("car", 0.7))]  # fmt: skip
    ruling = Ruling(rules("label == 'car' and count >= 2", "label == 'bus' and count >= 2", "count == 0"))  # fmt: skip
    (alarm,) = ruling.answer({"boxes": boxes}, "ab", now=0, at=0)
    assert (alarm.rule, alarm.fact["score"], alarm.fact["count"]) == ("rule-0", 0.9, 2)
    (alarm,) = ruling.answer({"boxes": []}, "ab", now=1, at=1)
    assert (alarm.rule, dict(alarm.fact)) == ("rule-2", {"count": 0})


@pytest.mark.parametrize(("answer", "names"), [
    ({"input": "x", "label": "a", "score": 0.5, "scores": {"a": 0.5}}, {"label", "score"}),
    ({"input": "x", "score": 3.0, "threshold": 2.0, "anomalous": True}, {"score", "threshold", "anomalous"}),
    ({"input": "x", "value": 3}, {"value"}),
    ({"boxes": []}, {"label", "score", "count"}),
])  # fmt: skip
def test_each_kind_of_answer_has_its_facts(answer, names):
    assert names_of(answer) == names


def test_a_value_that_is_no_number_is_not_known():
    assert facts_of({"value": float("nan")}) == ()
    assert facts_of({"label": None, "score": 0.2}) == ({"score": 0.2},)
    assert facts_of({"score": True, "label": 3, "anomalous": 1}) == ()


def test_crossings_are_counted_by_line_and_way_and_within_a_minute():
    facts = EventFacts()
    found = [facts.of("crossed", at, "car", "gate", way) for at, way in ((0, "in"), (10, "in"), (20, "out"), (65, "in"))]  # fmt: skip
    assert [(f["count"], f["per_minute"]) for f in found] == [(1, 1), (2, 2), (1, 1), (3, 2)]
    assert facts.of("stopped", 70, "car") == {"label": "car", "wrong_way": False, "stopped": True}


def test_each_event_of_a_video_is_told_for_itself():
    ruling, facts = Ruling(rules("wrong_way")), EventFacts()
    told = [ruling.event(facts.of(kind, at, "car", "gate", "out"), "ab", now=at, at=0) for at, kind in enumerate(["wrong way", "wrong way", "crossed", "wrong way"])]  # fmt: skip
    assert [len(each) for each in told] == [1, 1, 0, 1]


def test_many_a_minute_are_told_once_within_the_pause():
    ruling, facts = Ruling(rules("per_minute >= 5", cooldown_s=60)), EventFacts()
    told = [ruling.event(facts.of("crossed", at, "car", "gate", "in"), "ab", now=at, at=0) for at in range(0, 130, 5)]  # fmt: skip
    assert [n * 5 for n, each in enumerate(told) if each] == [20, 80]


def test_a_rule_that_could_never_follow_is_refused_at_the_start():
    names, labels = frozenset({"label", "score"}), ("fall", "walk")
    check_fits(rules("label == 'fall' and score > .5"), names, labels, "rules.toml")
    with pytest.raises(ConfigError, match="no value; they have label, score"):
        check_fits(rules("value > 3"), names, labels, "rules.toml")
    with pytest.raises(ConfigError, match="no label 'fal'; did you mean \"fall\""):
        check_fits(rules("label == 'fal'"), names, labels, "rules.toml")


def test_boxes_that_are_hardly_sure_are_no_facts():
    answer = {"model": "ab", "boxes": [{"label": "car", "score": score} for score in (0.9, 0.3, 0.29)]}  # fmt: skip
    assert [fact["count"] for fact in facts_of(above(answer, 0.3))] == [2, 2]
    assert above({"label": "a", "score": 0.1}, 0.3) == {"label": "a", "score": 0.1}
