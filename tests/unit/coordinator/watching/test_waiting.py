"""What a run waits for, in the words of `coordinator status`, `top` and the live page."""

import pytest
from reports_bench import facts_of

from edgeveil.coordinator.records.records import Outcome, RoundRecord
from edgeveil.coordinator.reports.facts import STAGES
from edgeveil.coordinator.reports.words import Words
from edgeveil.coordinator.watching.live import Live, Now
from edgeveil.coordinator.watching.live_page import View, draw, live_page
from edgeveil.coordinator.watching.waiting import sentence, waiting
from edgeveil.shared.events.log import Event, EventLine


def agents(**states):
    return [{"name": name, "state": state, "last_seen": None} for name, state in states.items()]


def said(now, found=(), newest=None, kept_out=None, language="en", **more):
    return sentence(waiting(now, found, newest, kept_out or {}, **more), Words(language))


def failed(**reasons):
    return RoundRecord(
        "run-1", 2, 1, Outcome.ABORTED, reason="COHORT_TOO_SMALL", dropped_reasons=reasons
    )


def told(*lines):
    live = Live()
    for event, values in lines:
        live.take(EventLine(1.0, "info", event, run="run-1", round=2, attempt=1, **values))
    return live.now()


WAIT = (Event.ROUND_WAIT, {"reason": "1-of-3-agents"})


def test_who_is_missing_is_named_and_who_is_not_on_the_roster_yet():
    found = agents(**{"cam-10": "offline", "cam-2": "offline", "cam-3": "connected", "cam-4": "pending"})  # fmt: skip
    text = said(told(WAIT), found)
    assert text == (
        "waiting for agents: 1 of 3 are there; not connected: cam-2, cam-10; "
        "joined, not on a signed roster yet: cam-4"
    )


def test_an_agent_that_is_there_and_may_not_be_asked_is_named_with_the_reason():
    text = said(told(WAIT), agents(**{"cam-1": "connected"}), kept_out={"cam-1": "excluded"})
    assert "connected and not asked: cam-1 (excluded)" in text
    assert "not connected" not in text


def test_a_refusal_is_named_with_its_code_and_not_called_waiting_for_agents():
    newest = failed(**{"cam-1": "refused:POLICY_SIZE:n-ref-9", "cam-2": "lost"})
    now = told((Event.ROUND_START, {}), (Event.ROUND_ABORT, {"reason": "COHORT_TOO_SMALL"}))
    text = said(now, agents(**{"cam-1": "connected"}), newest)
    assert "waiting for agents" not in text
    assert "COHORT_TOO_SMALL" in text
    assert "refused in the last attempt: cam-1 (POLICY_SIZE)" in text
    assert "cam-2" not in text
    assert "cam-1（" in said(now, (), newest, language="zh") or "cam-1 (POLICY_SIZE)" in said(
        now, (), newest, language="zh"
    )


def test_in_a_stage_those_who_have_not_answered_are_named():
    now = told(
        (Event.ROUND_START, {}),
        (Event.AGENT_SELECT, {"agent": "cam-1"}),
        (Event.AGENT_SELECT, {"agent": "cam-2"}),
        (Event.STAGE_START, {"stage": "masked"}),
        (Event.AGENT_REPLY, {"agent": "cam-1", "stage": "masked"}),
    )
    assert said(now) == "Masked update: awaiting cam-2"
    now = told(
        (Event.ROUND_START, {}),
        (Event.AGENT_SELECT, {"agent": "cam-1"}),
        (Event.STAGE_START, {"stage": "unmask"}),
        (Event.AGENT_REPLY, {"agent": "cam-1", "stage": "unmask"}),
    )
    assert said(now) == "evaluating and saving the model"


def test_every_moment_of_an_attempt_has_a_sentence():
    lines = [
        WAIT,
        (Event.ROUND_START, {}),
        (Event.AGENT_SELECT, {"agent": "cam-1"}),
        *((Event.STAGE_START, {"stage": stage}) for stage in STAGES),
        (Event.AGENT_REPLY, {"agent": "cam-1", "stage": "unmask"}),
        (Event.ROUND_COMMIT, {}),
        (Event.ROUND_ABORT, {"reason": "QUORUM"}),
    ]
    for until in range(len(lines) + 1):
        for newest in (None, failed(**{"cam-1": "lost"})):
            for language in ("en", "zh"):
                assert said(told(*lines[:until]), (), newest, language=language)
    assert said(told(*lines[:3])) == "Train: awaiting cam-1"


def test_reading_a_model_and_having_no_run_are_not_waiting_for_agents():
    assert said(Now(), opening=True) == "reading the model and the held-out data"
    assert said(Now()) == "idle, waiting for a run"


def test_a_long_list_is_cut_and_counted():
    names = {f"cam-{number}": "offline" for number in range(1, 31)}
    text = said(told(WAIT), agents(**names))
    assert text.endswith("cam-7, cam-8, +22")


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_live_page_shows_the_active_first_and_folds_those_who_are_away(language):
    states = {"cam-1": "offline", "cam-2": "connected", "cam-3": "pending", "cam-4": "revoked", "cam-5": "connected"}  # fmt: skip
    page = live_page(View("https://x:1", Now(), agents(**states), None, [], 1.0), language)
    section = page[page.index('id="agents"') :]
    places = {name: section.index(f">{name}</th>") for name in states}
    fold = section.index("<details><summary>")
    assert places["cam-2"] < places["cam-5"] < places["cam-3"] < fold < places["cam-1"]
    assert places["cam-1"] < places["cam-4"]
    assert ("2 of 5 away" if language == "en" else "2/5 台不在") in section


def test_the_live_page_begins_with_the_metric_what_it_cost_and_the_time_left():
    found = facts_of(4, 3)
    drawn = draw(found, 4, Words("en"))
    view = View("https://x:1", Now(), (), found, [found.run], 1.0, drawn=drawn)
    page = live_page(view, "en")
    first = page[page.index('id="now"') : page.index('id="quality"')]
    assert "Finished: 4 of 4 rounds" in first
    for text in ("Accuracy, best model", "72.2%", "ε so far, any device", "<polyline"):
        assert text in first, text
