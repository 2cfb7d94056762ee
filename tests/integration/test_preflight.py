"""Asked before anybody trains: what a refusal costs the others, and what asking can and cannot do to a device."""

from dataclasses import replace

import pytest
from events_bench import read_events
from fakes_federation import POLICY, Federation, plan_for

from edgeveil.agent.ledger.budget import read_budget
from edgeveil.coordinator.machine.transport import Presence
from edgeveil.coordinator.rounds.attempt_runner import Stopped
from edgeveil.coordinator.rounds.preflight.check import RUN, check
from edgeveil.coordinator.rounds.preflight.question import WholePlan
from edgeveil.shared.base.errors import PolicyRefusal, RefusalCode, RunFailed
from edgeveil.shared.base.failpoints import Crash, Failpoint, install
from edgeveil.shared.tasks import registry
from edgeveil.shared.wire.identity import Identity
from edgeveil.shared.wire.messages import (
    VERSIONS,
    Asking,
    Attempt,
    PreflightAnswer,
    PreflightQuestion,
    Stage,
    make_request,
)
from edgeveil.shared.wire.roster import Roster, SignedRoster
from edgeveil.shared.wire.versions import Versions

BEFORE = Attempt(RUN, 1, 1)


@pytest.fixture
def federation(tmp_path):
    made = Federation(tmp_path, agents=3)
    yield made
    made.close()


@pytest.fixture
def divided(tmp_path):
    """Agent 2 allows one step a round; the others anything."""
    made = Federation(tmp_path, agents=3, own={"agent-2": {"steps_max": 1}})
    yield made
    made.close()


def spent(federation):
    return [read_budget(home.path).epsilon_spent for home in federation.homes]


def asked(federation):
    return [request.stage for _, request in federation.wire.requests]


def whole_plan(federation, plan, size=650):
    task = registry.find(plan.task.id, plan.task.version)
    loaded = registry.load(task)
    tensors = loaded.tensors(loaded.parse_options(plan.task.options))
    size = sum(each.shape[0] * (each.shape[1] if each.shape[1:] else 1) for each in tensors)
    return WholePlan.of(plan, task, size, federation.coordinator)


def question(federation, plan, attempt=BEFORE, roster=None):
    """What is asked of agent 1."""
    agent = federation.homes[0].pinned().agent_id
    roster = roster or federation.store.roster()
    return whole_plan(federation, plan).questions(attempt, roster, {agent: b""})[agent]


def put(federation, request):
    """The answer of agent 1."""
    reply = federation.sessions[federation.homes[0].pinned().agent_id].handle(request)
    return reply if reply.refusal else PreflightAnswer.decode(reply.body)


def changed(federation, request, **fields):
    """The same question with other fields, signed anew by the coordinator."""
    body = replace(PreflightQuestion.decode(request.body), **fields).encode()
    agent = federation.homes[0].pinned().agent_id
    return make_request(federation.coordinator, agent, request.stage, request.attempt, body)


def sizes(federation):
    """Bytes of every file of agent 1."""
    home = federation.homes[0].path
    return {p.relative_to(home): p.stat().st_size for p in home.rglob("*") if p.is_file()}


def checked(federation, plan):
    task = registry.load(registry.find(plan.task.id, plan.task.version))
    store, signer = federation.store, federation.coordinator
    return check(plan, task, BEFORE, store=store, signer=signer, around=federation.hands())


def test_one_that_refuses_costs_the_others_nothing(divided):
    with pytest.raises(
        RunFailed, match=r"2 of 3 agents would take part; needs 3: agent-2 .*POLICY_STEPS"
    ):
        divided.train(plan_for(3))
    assert spent(divided) == [0, 0, 0]
    assert set(asked(divided)) == {Asking.PREFLIGHT}
    assert divided.store.rounds() == []
    dropped = [line for line in read_events(divided.events.path) if line.event == "agent.drop"]
    assert [(line.agent, line.stage, line.reason) for line in dropped] == [
        ("agent-2", "preflight", "refused:POLICY_STEPS")
    ]
    assert any("would refuse (POLICY_STEPS)" in status for status in divided.statuses)


def test_without_asking_the_others_pay(divided):
    """What the preflight is for: this is how it was."""
    with pytest.raises(RunFailed):
        divided.train(plan_for(3, rounds__attempts=1), ask=False)
    assert sorted(epsilon > 0 for epsilon in spent(divided)) == [False, True, True]


def test_an_owner_who_changes_the_policy_is_asked_anew(divided):
    with pytest.raises(RunFailed):
        divided.train(plan_for(3, rounds__count=1))
    home = divided.homes[1]
    divided.policies[home] = POLICY.model_copy(update={"data": divided.policy.data})
    divided.restart("agent-2")
    divided.train(plan_for(3, rounds__count=1))
    assert len(divided.store.rounds()[-1].survived) == 3


def test_whoever_would_refuse_is_left_out_of_the_first_round(tmp_path):
    federation = Federation(tmp_path, agents=4, own={"agent-2": {"steps_max": 1}})
    federation.train(plan_for(4, rounds__count=1, rounds__goal=3))
    (record,) = federation.store.rounds()
    assert record.selected == ("agent-1", "agent-3", "agent-4")
    assert record.extra["not_asked"] == {"agent-2": "refused:POLICY_STEPS"}
    assert spent(federation)[1] == 0
    federation.close()


def test_whoever_refused_before_the_first_round_is_left_out_later_and_heard_of(
    tmp_path, monkeypatch
):
    """A cohort drawn around it would cost the others the round; its owner may change the policy."""
    monkeypatch.setattr("edgeveil.coordinator.rounds.preflight.willing.AGAIN_S", 0.0)
    federation = Federation(tmp_path, agents=4, own={"agent-2": {"steps_max": 1}})
    driver, _ = federation.driver(plan_for(4, rounds__count=4, rounds__goal=3))
    for number in (1, 2, 3):
        if number == 3:
            home = federation.homes[1]
            federation.policies[home] = POLICY.model_copy(update={"data": federation.policy.data})
            federation.restart("agent-2")
        driver._complete(number)
    first, second, third = federation.store.rounds()
    assert "agent-2" not in {*first.selected, *second.selected}
    assert second.not_asked == {"agent-2": "refused:POLICY_STEPS"}
    assert "agent-2" in third.selected
    federation.close()


def test_who_may_not_train_now_is_asked_again_and_no_answer_of_it_is_kept(federation):
    home, allowed = federation.homes[0], []

    def may_train():
        if not allowed:
            raise PolicyRefusal(RefusalCode.POLICY_WHEN, "not now")

    federation.may_train[home] = may_train
    asked_of = question(federation, plan_for(3))
    assert put(federation, asked_of).code == "POLICY_WHEN"
    allowed.append(True)
    assert put(federation, asked_of).code is None


def test_a_run_waits_while_somebody_who_may_say_yes_is_not_there(tmp_path):
    """Four members, one of them refuses, one is away: nothing begins, and nothing has failed."""
    federation = Federation(tmp_path, agents=4, own={"agent-2": {"steps_max": 1}})
    away, wire = federation.id_of("agent-4"), federation.wire
    everybody = wire.presence
    wire.presence = lambda: {a: Presence(a != away, 0.0) for a in everybody()}
    driver, first = federation.driver(plan_for(3, rounds__count=1))
    waits = []

    def pause(_seconds):
        waits.append(asked(federation))
        if len(waits) == 3:
            wire.presence = everybody

    driver._sums._selection._pause = pause
    driver.drive(first)
    assert len(waits) >= 3
    assert waits[2] == [Asking.PREFLIGHT] * 3, "each was asked once, and nobody trained"
    assert federation.store.rounds()[0].survived == ("agent-1", "agent-3", "agent-4")
    said = [
        line.reason for line in read_events(federation.events.path) if line.event == "round.wait"
    ]
    assert said[0] == "2-of-3-agents"
    federation.close()


def test_a_stop_while_asking_ends_the_run_and_it_can_go_on(federation):
    driver, first = federation.driver(plan_for(3, rounds__count=1))
    driver._around.stop.set()
    with pytest.raises(Stopped):
        driver.drive(first)
    assert spent(federation) == [0, 0, 0]
    federation.train(plan_for(3, rounds__count=1))


def test_a_kill_before_the_first_round_asks_again_and_a_later_one_does_not(federation):
    plan = plan_for(3, rounds__count=2)

    def die(point):
        if point is Failpoint.COORDINATOR_ATTEMPT_BEFORE:
            raise Crash(point.value)

    install(die)
    try:
        with pytest.raises(Crash):
            federation.train(plan)
    finally:
        install(None)
    assert asked(federation) == [Asking.PREFLIGHT] * 3
    driver, first = federation.driver(plan)
    driver._complete(1)
    assert asked(federation).count(Asking.PREFLIGHT) == 6
    driver, first = federation.driver(plan)
    assert first == 2
    driver.drive(first)
    assert asked(federation).count(Asking.PREFLIGHT) == 6


def test_a_check_says_who_would_and_who_not_and_why_and_begins_nothing(divided):
    found = checked(divided, plan_for(3))
    assert (found["would"], found["asked"], found["needs"], found["enough"]) == (2, 3, 3, False)
    assert found["sentence"].startswith("2 of 3 agents would take part; needs 3: agent-2 ")
    (no,) = [row for row in found["agents"] if not row["would"]]
    assert (no["agent"], no["reason"]) == ("agent-2", "refused:POLICY_STEPS")
    assert no["why"]
    assert no["fix"]
    assert divided.store.runs() == []
    assert spent(divided) == [0, 0, 0]
    assert checked(divided, plan_for(3, training__steps=1))["enough"]


def test_a_device_answers_the_same_question_from_what_it_keeps_also_after_a_restart(
    federation, monkeypatch
):
    plan = plan_for(3)
    assert put(federation, question(federation, plan)).code is None
    session = federation.sessions[federation.homes[0].pinned().agent_id]
    monkeypatch.setattr(session._work, "admit", lambda *_: pytest.fail("judged a second time"))
    again = put(federation, question(federation, plan))
    assert again.code is None
    federation.restart("agent-1")
    session = federation.sessions[federation.homes[0].pinned().agent_id]
    monkeypatch.setattr(session._work, "admit", lambda *_: pytest.fail("judged after a restart"))
    assert put(federation, question(federation, plan, Attempt("run-2", 1, 1))).code is None


def test_what_a_run_spent_is_not_forgotten_by_a_kept_answer(federation):
    """Else the same plan would get a yes for ever, and its offers a no."""
    plan = plan_for(3, rounds__count=1)
    assert put(federation, question(federation, plan)).code is None
    federation.train(plan)
    federation.train(plan_for(3, rounds__count=1, training__epsilon=1.0))
    assert str(put(federation, question(federation, plan)).code).startswith(
        ("BUDGET_", "POLICY_SIGMA")
    )


def test_a_fourth_plan_in_an_hour_is_told_later_whatever_it_asks(federation):
    plans = [plan_for(3, training__learning_rate=10.0 + n) for n in range(4)]
    codes = [put(federation, question(federation, plan)).code for plan in plans]
    assert codes == [None, None, None, "PREFLIGHT_LATER"]
    outside = plan_for(3, training__clip_norm=11.0, training__learning_rate=1.0)
    assert put(federation, question(federation, outside)).code == "PREFLIGHT_LATER"
    federation.restart("agent-1")
    assert put(federation, question(federation, plans[3])).code == "PREFLIGHT_LATER"
    assert put(federation, question(federation, plans[0])).code is None


def test_a_thousand_questions_make_no_file_grow(federation):
    for number in range(3):
        put(federation, question(federation, plan_for(3, training__learning_rate=10.0 + number)))
    before = sizes(federation)
    known = question(federation, plan_for(3, training__learning_rate=10.0))
    new = [
        question(federation, plan_for(3, training__learning_rate=20.0 + number))
        for number in range(5)
    ]
    broken = replace(known, body=known.body[:-1] + b"x")
    for number in range(1000):
        put(federation, [known, new[number % 5], broken][number % 3])
    assert sizes(federation) == before


def test_a_changed_byte_is_refused_wherever_it_is(federation):
    asked_of = question(federation, plan_for(3))
    for place in range(0, len(asked_of.body), 7):
        body = bytearray(asked_of.body)
        body[place] ^= 1
        assert put(federation, replace(asked_of, body=bytes(body))).refusal == "COORDINATOR_UNKNOWN"
    other = replace(asked_of, attempt=Attempt("run-9", 1, 1))
    assert put(federation, other).refusal == "COORDINATOR_UNKNOWN"
    assert put(federation, replace(asked_of, stage=Stage.ROUND)).refusal == "COORDINATOR_UNKNOWN"
    assert not (federation.homes[0].path / "preflights.json").exists()


def test_a_question_for_another_agent_or_by_another_key_is_refused(federation):
    asked_of = question(federation, plan_for(3))
    (_, second, _) = federation.sessions.values()
    assert second.handle(asked_of).refusal == "COORDINATOR_UNKNOWN"
    agent = federation.homes[0].pinned().agent_id
    forged = make_request(Identity.generate(), agent, asked_of.stage, BEFORE, asked_of.body)
    assert put(federation, forged).refusal == "COORDINATOR_UNKNOWN"


def test_bytes_that_are_no_question_are_malformed_and_newer_ones_name_the_versions(federation):
    agent = federation.homes[0].pinned().agent_id
    junk = make_request(federation.coordinator, agent, Asking.PREFLIGHT, BEFORE, b"\x20junk")
    assert put(federation, junk).refusal == "MALFORMED"
    newer = Versions(VERSIONS.newest + 1, VERSIONS.newest + 1)
    asked_of = question(federation, plan_for(3))
    body = asked_of.body.replace(VERSIONS.encode(), newer.encode(), 1)
    reply = put(
        federation, make_request(federation.coordinator, agent, Asking.PREFLIGHT, BEFORE, body)
    )
    assert (reply.refusal, reply.body) == ("VERSION", VERSIONS.encode())


def test_a_question_of_an_older_roster_is_answered_stale_and_costs_no_plan(federation):
    old, signed = federation.store.roster(), federation.store.roster().roster
    newer = Roster(signed.federation_id, 2, signed.issued, signed.expires, signed.members)
    newer = SignedRoster.sign(newer, federation.federation)
    assert put(federation, question(federation, plan_for(3), roster=newer)).code is None
    for number in range(5):
        plan = plan_for(3, training__learning_rate=20.0 + number)
        answer = put(federation, question(federation, plan, roster=old))
        assert answer.code == "ROSTER_STALE"
        assert answer.about == (2).to_bytes(8, "big")
    assert (
        put(federation, question(federation, plan_for(3, rounds__count=1), roster=newer)).code
        is None
    )


def test_a_replayed_question_gets_the_kept_answer_and_a_replayed_answer_fits_no_other(federation):
    asked_of = question(federation, plan_for(3))
    first = put(federation, asked_of)
    assert put(federation, asked_of) == first
    assert put(federation, question(federation, plan_for(3))).question != first.question


def test_a_run_that_went_further_is_told_so_each_time(federation):
    federation.train(plan_for(3, rounds__count=1))
    run = federation.store.runs()[-1].run_id
    for _ in range(2):
        answer = put(federation, question(federation, plan_for(3), Attempt(run, 1, 1)))
        assert (answer.code, answer.about) == ("ROUND_REPLAY", Attempt(run, 1, 1).position())


def test_the_declared_size_is_told_only_by_leave_of_the_owner(federation):
    plan = plan_for(3, secagg__n_ref_min=61)
    answer = put(federation, question(federation, plan))
    assert (answer.code, answer.about) == ("POLICY_SIZE", b"")
    federation.tell(federation.homes[0])
    answer = put(federation, question(federation, plan))
    assert (answer.code, answer.about) == ("POLICY_SIZE", (60).to_bytes(4, "big"))


def test_a_question_leaves_the_attempt_at_hand_alone(federation):
    """It may come while a round is under way; the round must not notice."""
    wire, seen = federation.wire, []
    handed = wire.receive

    def receive(timeout_s):
        found = handed(timeout_s)
        if found and found[0].reply.stage is Stage.SHARE and not seen:
            other = plan_for(3, rounds__count=1, training__epsilon=1.0)
            seen.append(put(federation, question(federation, other)).code)
        return found

    wire.receive = receive
    federation.train(plan_for(3, rounds__count=1, rounds__attempts=1))
    assert seen == [None]
    assert len(federation.store.rounds()[0].survived) == 3


def test_a_full_disk_is_no_reason_to_judge_what_cannot_be_kept(federation, monkeypatch):
    def full(*_arguments, **_options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("edgeveil.agent.rounds.preflight.kept.write_atomic", full)
    assert put(federation, question(federation, plan_for(3))).code == "STORAGE_FAILED"


def test_parameters_below_the_owner_s_floors_and_other_code_are_told_as_in_an_offer(federation):
    asked_of = question(federation, plan_for(3))
    assert (
        put(federation, changed(federation, asked_of, code_hash=bytes(32))).code == "TASK_UNKNOWN"
    )
    assert put(federation, changed(federation, asked_of, params=b"")).code == "MALFORMED"
    weak = whole_plan(federation, plan_for(3)).params
    weak = replace(weak, n_min=2).encode()
    assert put(federation, changed(federation, asked_of, params=weak)).code == "POLICY_SECAGG"
