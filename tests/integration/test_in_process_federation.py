"""The whole product but the wire: offers, DP-SGD, ledgers, masks, sums, checkpoints, records."""

import contextlib
import json
import time
from dataclasses import replace

import numpy as np
import pytest
from fakes_federation import DIGITS, POLICY, Federation, plan_for

from edgeveil.agent.ledger.budget import read_budget
from edgeveil.agent.ledger.store import LedgerStore
from edgeveil.agent.rounds.upload import vector_lanes
from edgeveil.coordinator.runs import checkpoint
from edgeveil.shared.base.errors import DataError, RunFailed
from edgeveil.shared.vector.model_vector import count
from edgeveil.shared.wire.messages import Stage


@pytest.fixture
def federation(tmp_path):
    made = Federation(tmp_path)
    yield made
    made.close()


def sealed_updates(monkeypatch):
    """What every agent sealed: the plain update, seen by the test only."""
    seen = []
    original = LedgerStore.seal

    def keep(self, attempt, blob, **facts):
        seen.append((attempt.round, np.frombuffer(blob, "<f4").astype(np.float64)))
        return original(self, attempt, blob, **facts)

    monkeypatch.setattr(LedgerStore, "seal", keep)
    return seen


def test_two_rounds_train_charge_and_commit(federation):
    driver = federation.train(plan_for(4, evaluation__data=str(federation.test)))
    records = federation.store.rounds()
    assert [(row.round, row.attempt, row.outcome) for row in records] == [
        (1, 1, "committed"),
        (2, 1, "committed"),
    ]
    assert records[1].survived == ("agent-1", "agent-2", "agent-3", "agent-4")
    assert records[1].bytes_up > 4 * 3 * 5890
    assert 0.3 < records[1].metrics["accuracy"] <= 1.0
    saved = checkpoint.load(
        driver.run.folder / "round-0002.safetensors", sha256=records[1].model_sha256
    )
    assert np.array_equal(saved.vector, driver.learned.model)
    for home in federation.homes:
        budget = read_budget(home.path)
        assert budget.rounds == 2
        assert 0 < budget.epsilon_spent < 8
        assert budget.ledger_head is not None


def test_the_sum_is_that_of_the_quantised_plain_updates_bit_for_bit(federation, monkeypatch):
    from edgeveil.agent.rounds import work

    lanes = []
    original = work.vector_lanes

    def keep(update, params, n_ref):
        lanes.append(original(update, params, n_ref))
        return lanes[-1]

    sums = []
    from edgeveil.coordinator.rounds import training_round

    averaged = training_round.mean_update

    def keep_sum(result, params):
        sums.append(result.lanes.copy())
        return averaged(result, params)

    monkeypatch.setattr(work, "vector_lanes", keep)
    monkeypatch.setattr(training_round, "mean_update", keep_sum)
    federation.train(plan_for(4, rounds__count=1))
    assert len(lanes) == 4
    assert np.array_equal(sums[0], np.sum(lanes, axis=0))
    assert sums[0][0] == sum(each[0] for each in lanes)


def test_the_coordinator_receives_noise_and_never_an_update(federation, monkeypatch):
    """Positive control first: the same test recognises an update that was not masked."""
    updates = sealed_updates(monkeypatch)
    driver = federation.train(plan_for(4, rounds__count=1))
    received = [
        reply.bulk
        for _, request, reply in federation.wire.captured
        if request.stage is Stage.MASKED
    ]
    assert len(received) == 4
    assert len(updates) == 4
    bytes_per_lane = driver._training._params.bits // 8
    for _, update in updates:
        plain = vector_lanes(update.astype(np.float32), driver._training._params, 1).astype("<i8")
        assert chi_square(plain.view(np.uint8).reshape(-1, 8)[:, :bytes_per_lane]) > 100
    for bulk in received:
        raw = np.frombuffer(bulk, np.uint8).reshape(-1, bytes_per_lane)
        assert chi_square(raw) < 7  # uniform bytes exceed this once in 7e8 vectors (255 degrees)
        lanes = centred(raw)[1:]
        for _, update in updates:
            assert (
                correlation(
                    update, update + np.random.default_rng(0).normal(0, update.std(), update.size)
                )
                > 0.5
            )
            assert abs(correlation(lanes, update)) < 5 / np.sqrt(update.size)


def chi_square(raw):
    """How far the bytes are from uniform, in standard deviations of the statistic."""
    found = np.bincount(raw.ravel(), minlength=256)
    expected = raw.size / 256
    statistic = float(((found - expected) ** 2 / expected).sum())
    return (statistic - 255) / np.sqrt(2 * 255)


def centred(raw):
    """Little-endian lanes of any width as signed numbers."""
    wide = np.zeros((len(raw), 8), np.uint8)
    wide[:, : raw.shape[1]] = raw
    value = wide.view("<i8").ravel()
    half = 1 << (8 * raw.shape[1] - 1)
    return np.where(value >= half, value - 2 * half, value).astype(np.float64)


def correlation(a, b):
    return float(np.corrcoef(a, b)[0, 1])


@pytest.mark.parametrize("stage", list(Stage))
def test_four_agents_complete_the_round_when_one_is_lost_at_any_stage(federation, stage):
    victim = federation.id_of("agent-2")
    federation.wire.silent[victim] = stage
    federation.train(plan_for(4, rounds__count=1))
    (record,) = federation.store.rounds()
    assert record.outcome == "committed"
    assert record.dropped_reasons == {"agent-2": "lost"}
    assert ("agent-2" in record.survived) == (stage in (Stage.AGREE, Stage.UNMASK))


def test_below_the_minimum_the_run_fails_with_the_reason_and_keeps_its_place(federation):
    for name in ("agent-1", "agent-2"):
        federation.wire.silent[federation.id_of(name)] = Stage.ROUND
    with pytest.raises(RunFailed, match="COHORT_TOO_SMALL"):
        federation.train(plan_for(4, rounds__count=1))
    assert [row.reason for row in federation.store.rounds()] == ["COHORT_TOO_SMALL"] * 2
    federation.wire.silent.clear()
    driver = federation.train(plan_for(4, rounds__count=1))
    last = federation.store.last_committed(driver.run.run_id)
    assert (last.round, last.attempt) == (1, 3)


def test_a_sealed_update_that_was_never_sent_costs_nothing_in_the_next_attempt(federation):
    for name in ("agent-1", "agent-2"):
        federation.wire.silent[federation.id_of(name)] = Stage.SHARE
    with pytest.raises(RunFailed):
        federation.train(plan_for(4, rounds__count=1, rounds__attempts=1))
    before = [read_budget(home.path).epsilon_spent for home in federation.homes]
    assert min(before) > 0
    federation.wire.silent.clear()
    federation.train(plan_for(4, rounds__count=1, rounds__attempts=1))
    assert [read_budget(home.path).epsilon_spent for home in federation.homes] == before


def test_a_full_budget_refuses_and_says_so_to_its_owner(tmp_path):
    small = POLICY.model_copy(update={"epsilon_max": 1.0})
    federation = Federation(tmp_path, policy=small)
    try:
        with pytest.raises(RunFailed):
            federation.train(plan_for(4, rounds__count=1), ask=False)
        reasons = set(federation.store.rounds()[0].dropped_reasons.values())
        assert reasons <= {"refused:BUDGET_WOULD_EXCEED", "refused:BUDGET_EXHAUSTED"}
        told = [status for status in federation.statuses if "refused (BUDGET_" in status]
        assert told
        assert all("still fits" in status and "agent budget reset" in status for status in told)
        assert all(status.endswith("agent policy set epsilon_max=E --yes") for status in told)
        assert read_budget(federation.homes[0].path).epsilon_spent == 0
    finally:
        federation.close()


def test_a_restarted_agent_keeps_its_budget_and_takes_part_again(federation):
    federation.train(plan_for(4, rounds__count=1))
    before = read_budget(federation.homes[0].path)
    federation.restart("agent-1")
    assert read_budget(federation.homes[0].path).epsilon_spent == before.epsilon_spent
    federation.train(plan_for(4, rounds__count=2, training__epsilon=1.0))
    assert read_budget(federation.homes[0].path).rounds == 3


def test_a_run_continues_after_its_last_committed_round(federation):
    plan = plan_for(4, rounds__count=3)
    driver, first = federation.driver(plan)
    driver._complete(1)
    again, next_round = federation.driver(plan)
    assert (first, next_round) == (1, 2)
    assert again.run.run_id == driver.run.run_id
    assert np.array_equal(again.learned.model, driver.learned.model)
    assert again.learned.model.size == count(again.run.tensors)


class LaterClock:
    """The real clock, `ahead` seconds later."""

    def __init__(self):
        self.ahead = 0.0

    def monotonic(self):
        return time.monotonic() + self.ahead

    def wall(self):
        return time.time()


def test_an_attempt_that_takes_too_long_gets_nothing_more(federation):
    driver, _ = federation.driver(plan_for(4, rounds__count=1))
    clock = LaterClock()
    victim = federation.sessions[federation.id_of("agent-1")]
    victim._device = replace(victim._device, clock=clock)
    send = federation.wire.send

    def send_late(requests, **options):
        stages = {request.stage for request in requests.values()}
        clock.ahead = 901.0 if Stage.MASKED in stages else 0.0
        return send(requests, **options)

    federation.wire.send = send_late
    driver.drive(1)
    assert federation.store.rounds()[0].dropped_reasons == {"agent-1": "refused:TIMEOUT"}


def test_one_changed_byte_of_an_offer_is_refused_before_anything_is_charged(federation):
    federation.wire.silent = dict.fromkeys(federation.sessions, Stage.ROUND)
    with pytest.raises(RunFailed):
        federation.train(plan_for(4, rounds__count=1, rounds__attempts=1))
    offers = [sent for sent in federation.wire.requests if sent[1].stage is Stage.ROUND]
    agent, request = offers[0]
    session = federation.sessions[agent]
    for changed in (
        replace(request, body=request.body[:-1] + bytes([request.body[-1] ^ 1])),
        replace(request, bulk=bytes([request.bulk[0] ^ 1]) + request.bulk[1:]),
        replace(request, attempt=replace(request.attempt, round=2)),
        replace(request, signature=bytes(64)),
    ):
        assert session.handle(changed).refusal is not None
    assert not any(read_budget(home.path).rounds for home in federation.homes)
    assert session.handle(request).refusal is None
    assert session.handle(request) == session.handle(request), (
        "a transport retry gets the cached reply"
    )


@pytest.mark.parametrize("epsilon", [8.0, 50.0])
def test_no_answer_depends_on_which_labels_the_device_has(tmp_path, epsilon):
    """With and without records of a class that the owner did not name every answer is the same."""
    replies = []
    nine = DIGITS.model_copy(update={"labels": tuple("012345678")})
    for number, top in enumerate((8, 9)):
        folder = tmp_path / str(number)
        folder.mkdir()
        federation = Federation(folder, records=60, data=nine)
        try:
            for piece in federation.pieces:
                with np.load(piece) as kept:
                    pixels, labels = kept["X"], kept["y"].copy()
                labels[labels > top] = top
                np.savez(piece, X=pixels, y=labels)
            plan = plan_for(
                4, rounds__count=1, training__epsilon=epsilon, rounds__attempts=1,
                task__options={"variant": "fixed", "classes": 9},
            )  # fmt: skip
            with contextlib.suppress(RunFailed):
                federation.train(plan)
            replies.append(
                [(r.stage, r.refusal, len(r.body)) for _, _, r in federation.wire.captured]
            )
        finally:
            federation.close()
    assert replies[0] == replies[1]


def test_records_that_are_spoilt_during_a_run_decide_nothing_before_the_next_start(federation):
    for piece in federation.pieces[:1]:
        with np.load(piece) as kept:
            pixels, labels = kept["X"], kept["y"]
        np.savez(piece, X=pixels, y=labels + 50)
    federation.train(plan_for(4, rounds__count=1))
    record = federation.store.rounds()[0]
    assert len(record.survived) == 4
    with pytest.raises(DataError, match="0 of 60 records are usable"):
        federation.restart("agent-1")


def test_waiting_names_what_is_waited_for(federation):
    driver, _ = federation.driver(plan_for(4, rounds__minimum=3))
    for connected in (1, 3):
        driver._sums._selection._announce(1, connected)
    lines = (federation.folder / "events.jsonl").read_text().splitlines()
    said = [json.loads(line)["reason"] for line in lines if "round.wait" in line]
    assert said == ["1-of-3-agents", "3-of-4-agents"]
