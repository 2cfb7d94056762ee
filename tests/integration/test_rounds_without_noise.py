"""A fleet of one owner trains without noise: only with every owner's word, marked on both sides, and better for it."""

import json

import numpy as np
import pytest
from fakes_federation import Federation, plan_for

from edgeveil.agent.ledger.budget import read_budget
from edgeveil.agent.ledger.file import ledger_records
from edgeveil.agent.ledger.store import LedgerStore
from edgeveil.agent.reports.page_view import own_state, page
from edgeveil.agent.reports.report import build
from edgeveil.coordinator.reports.facts import RunFacts
from edgeveil.coordinator.reports.privacy import page as privacy_page
from edgeveil.coordinator.reports.privacy import report as privacy_report
from edgeveil.coordinator.runs import checkpoint, initial
from edgeveil.shared.base import failpoints
from edgeveil.shared.base.clock import SystemClock
from edgeveil.shared.base.errors import RunRefused
from edgeveil.shared.base.failpoints import Crash
from edgeveil.shared.privacy.ledger.records import Kind
from edgeveil.shared.privacy.unlimited import UNLIMITED
from edgeveil.shared.wire.messages import Stage

ROUNDS = 4


@pytest.fixture
def federation(tmp_path):
    made = Federation(tmp_path)
    yield made
    made.close()


def without_noise(federation, **changes):
    plan = {
        "training__privacy": "none",
        "training__epsilon": None,
        "training__steps": 18,
        "training__clip_norm": 10.0,
        "training__learning_rate": 0.05,
        "training__optimizer": "adamw",
        "training__weight_decay": 1e-4,
        "training__schedule": "cosine",
        "training__warmup": 1,
        "rounds__count": ROUNDS,
        "evaluation__data": str(federation.test),
    }
    return plan_for(4, **plan | changes)


def kinds(home):
    folder = home.ledger_folder / "data"
    return [record.kind for record in ledger_records(folder, home.identity().public)]


def final(federation, run_id):
    return [row for row in federation.store.rounds(run_id) if row.outcome == "committed"][-1]


def test_adamw_and_cosine_reach_more_than_a_plan_with_noise_and_every_ledger_says_so(federation):
    noised = federation.train(
        plan_for(4, rounds__count=ROUNDS, evaluation__data=str(federation.test))
    )
    before = [read_budget(home.path) for home in federation.homes]
    assert all(0 < found.epsilon_spent < 8 for found in before)
    federation.allow_without_noise()
    driver = federation.train(without_noise(federation))
    plain = final(federation, driver.run.run_id).metrics["accuracy"]
    private = final(federation, noised.run.run_id).metrics["accuracy"]
    assert plain >= max(0.9, private + 0.03), (plain, private)
    for home in federation.homes:
        found = read_budget(home.path)
        assert found.epsilon_spent == UNLIMITED
        assert (found.rounds, found.rounds_without_noise) == (2 * ROUNDS, ROUNDS)
        assert kinds(home)[-4:] == [Kind.UNLIMITED, Kind.SEAL, Kind.SUBMIT, Kind.ACK]


def test_it_is_the_mean_of_what_plain_training_makes_and_within_the_bound(federation, monkeypatch):
    sealed, original = [], LedgerStore.seal

    def keep(self, attempt, blob, **facts):
        sealed.append(np.frombuffer(blob, "<f4").astype(np.float64))
        return original(self, attempt, blob, **facts)

    monkeypatch.setattr(LedgerStore, "seal", keep)
    federation.allow_without_noise()
    changes = {"rounds__count": 1, "training__clip_norm": 0.5, "server__momentum": 0.0}
    driver = federation.train(without_noise(federation, **changes))
    assert [0.49 < np.linalg.norm(update) <= 0.5 for update in sealed] == [True] * 4
    mean = np.mean(sealed, axis=0)
    assert np.linalg.norm(driver.learned.model - mean) <= 0.5 * 1e-3


def test_without_the_owners_word_nobody_trains_and_nothing_is_charged(federation):
    federation.allow_without_noise("agent-1")
    before = [kinds(home) for home in federation.homes]
    with pytest.raises(RunRefused, match="POLICY_DP"):
        federation.train(without_noise(federation))
    assert [kinds(home) for home in federation.homes] == before


def test_a_coordinator_that_does_not_ask_first_is_refused_at_the_offer(federation):
    with pytest.raises(RunRefused, match="POLICY_DP"):
        federation.train(without_noise(federation, rounds__attempts=1), ask=False)
    replies = [reply for _, _, reply in federation.wire.captured]
    assert {(reply.stage, reply.refusal) for reply in replies} == {(Stage.ROUND, "POLICY_DP")}
    for home in federation.homes:
        assert set(kinds(home)) == {Kind.OPEN}


def test_three_who_said_yes_make_a_round_without_the_fourth(federation):
    federation.allow_without_noise("agent-1", "agent-2", "agent-3")
    driver = federation.train(without_noise(federation, rounds__goal=3, rounds__count=1), ask=False)
    record = final(federation, driver.run.run_id)
    assert record.survived == ("agent-1", "agent-2", "agent-3")
    assert read_budget(federation.homes[3].path).limited


@pytest.mark.parametrize("point", ["agent.reserve.after", "agent.train.before", "agent.train.after", "agent.blob.after"])  # fmt: skip
def test_a_power_cut_after_the_mark_leaves_the_mark_and_no_second_update(federation, point):
    federation.allow_without_noise()
    failpoints.install(failpoints.Schedule(f"{point}=raise@2"))
    try:
        with pytest.raises(Crash):
            federation.train(without_noise(federation, rounds__count=1))
    finally:
        failpoints.install(None)
    federation.wire.forget()
    (victim,) = [home for home in federation.homes if kinds(home)[-1] is Kind.UNLIMITED]
    federation.restart(victim.pinned().name)
    found = read_budget(victim.path)
    assert (found.limited, found.rounds_without_noise) == (False, 1)
    assert kinds(victim)[-1] is Kind.UNLIMITED


def test_nothing_of_a_device_says_a_number_afterwards(federation):
    federation.allow_without_noise()
    federation.train(without_noise(federation, rounds__count=1))
    path = federation.homes[0].path
    report = build(path, None, SystemClock())
    assert report["limited"] is False
    assert json.dumps(report, allow_nan=False)
    assert "not limited" in page(own_state(path, "data"), "en")
    assert "不受限制" in page(own_state(path, "data"), "zh")


def test_a_run_with_noise_that_begins_with_such_a_model_is_marked_and_so_are_its_checkpoints(
    federation, tmp_path
):
    federation.allow_without_noise()
    parent = federation.train(without_noise(federation, rounds__count=1)).run.run_id
    child = federation.train(noised(federation, parent)).run
    marked(federation, child.run_id)
    path = child.folder / "round-0001.safetensors"
    assert checkpoint.load(path).metadata["epsilon"] == "not limited"
    grandchild = federation.train(noised(federation, child.run_id)).run.run_id
    marked(federation, grandchild)
    copy = tmp_path / "from-elsewhere.safetensors"  # of which this coordinator knows no run
    copy.write_bytes(path.read_bytes())
    marked(federation, federation.train(noised(federation, str(copy))).run.run_id)
    free = federation.train(plan_for(4, rounds__count=1)).run.run_id
    assert RunFacts(federation.store.run(free), federation.store.rounds(free)).limited


def noised(federation, initial):
    return plan_for(4, rounds__count=1, training__epsilon=2.0, model__initial=initial)


def marked(federation, run_id):
    found = RunFacts(federation.store.run(run_id), federation.store.rounds(run_id))
    assert found.run.initial.unlimited
    assert not found.limited
    assert found.most_charged == UNLIMITED
    report = privacy_report.build(found, SystemClock())
    assert report["guarantee"]["epsilon_at_most"] is None
    assert "began with a model that was trained without noise" in report["not_covered"][0]
    assert "began with a model" in privacy_page.page(report)
    assert (
        "ε of this run's is not limited either" in initial.notices(federation.store, found.run)[0]
    )
