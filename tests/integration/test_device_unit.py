"""Agents whose whole updates are hidden: charged once a round, learned from, and no lie makes it cost less.

A small model on rows, so that a budget that a plan may ask for is worth something with three devices.
"""

import json

import numpy as np
import pytest
from conforming_bench import COLUMNS, rows
from evil_bench import Lies
from fakes_federation import POLICY, Federation, plan_for

from edgeveil.agent.home.policy import SharedNoise
from edgeveil.agent.home.records.record_policy import record_policy
from edgeveil.agent.ledger.budget import read_budget
from edgeveil.agent.ledger.file import ledger_records
from edgeveil.agent.ledger.store import LedgerStore
from edgeveil.agent.reports.report import build
from edgeveil.agent.reports.verify import Verdict, check
from edgeveil.coordinator.plan.derived import training_plan
from edgeveil.coordinator.reports.facts import RunFacts
from edgeveil.coordinator.reports.privacy import report as privacy_report
from edgeveil.coordinator.reports.privacy.page import page as run_report_page
from edgeveil.coordinator.reports.rows import planned_facts
from edgeveil.coordinator.reports.words import Words
from edgeveil.shared.base import failpoints
from edgeveil.shared.base.clock import SystemClock
from edgeveil.shared.base.errors import ConfigError
from edgeveil.shared.base.failpoints import Crash
from edgeveil.shared.data.kinds import infer
from edgeveil.shared.privacy.ledger.facts import WHOLE, WHOLE_SHARE
from edgeveil.shared.privacy.ledger.records import Kind
from edgeveil.shared.secagg.agreement import context
from edgeveil.shared.wire.plan import TrainingPlan

ROWS = {"columns": COLUMNS, "labels": "a,b,c"}
AGENTS, ROUNDS = 3, 4


def made_of(folder):
    pieces = [rows(folder / f"piece-{at}", 60) for at in range(AGENTS + 1)]
    policy = POLICY.model_copy(
        update={"data": record_policy(infer(pieces[0])), "epsilon_max": 50.0, "sigma_min": 0.1}
    )
    return Federation(folder, AGENTS, pieces=pieces, policy=policy, offline=True)


def of_devices(made, **changes):
    plan = {
        "task__id": "tabular", "task__options": ROWS, "training__unit": "device", "training__steps": 12,
        "training__batch_size": 10, "training__learning_rate": 0.5, "training__clip_norm": 1.0,
        "training__epsilon": 40.0, "rounds__count": ROUNDS, "rounds__spare": 0, "evaluation__data": str(made.test),
    }  # fmt: skip
    return plan_for(AGENTS, **plan | changes)


@pytest.fixture
def federation(tmp_path):
    made = made_of(tmp_path)
    yield made
    made.close()


def records(home):
    return list(ledger_records(home.ledger_folder / "data", home.identity().public))


def reserved(home):
    return [r for r in records(home) if r.kind in (Kind.RESERVE, Kind.SHARED)]


def test_three_devices_train_and_each_is_charged_once_a_round_and_told_so(federation):
    driver = federation.train(of_devices(federation))
    for home in federation.homes:
        found = read_budget(home.path)
        assert found.rounds == ROUNDS
        assert 30 < found.epsilon_spent <= 40
        assert [(r.text("mechanism"), r.number("steps_planned")) for r in reserved(home)] == [(WHOLE, 1)] * ROUNDS  # fmt: skip
        assert check(home.path, None, None).verdict is Verdict.OK
        report = build(home.path, None, SystemClock())
        assert report["mechanism"]["whole_updates"] == ROUNDS
        assert report["mechanism"]["gradient_modes"] == {"batch": ROUNDS}
        assert "any two data sets" in report["privacy_unit"]["neighbours"]
        path = home.path / "report.json"
        path.write_text(json.dumps(report))
        assert check(home.path, None, path).verdict is Verdict.OK
    run_id = driver.run.run_id
    facts = RunFacts(federation.store.run(run_id), federation.store.rounds(run_id))
    assert facts.most_charged == pytest.approx(read_budget(federation.homes[0].path).epsilon_spent)
    told = privacy_report.build(facts, SystemClock())
    assert told["privacy_unit"]["unit"] == "device"
    assert told["accounting"]["within_epsilon_planned"]
    for lang, word in (("en", "whole update, clipped and rounded"), ("zh", "整个更新经裁剪")):
        assert word in run_report_page(told, lang)
        assert ("all records of a device" if lang == "en" else "一台设备的全部记录") in planned_facts(facts, Words(lang))  # fmt: skip


def test_the_model_moves_by_the_mean_of_what_was_sealed_and_the_noise_is_that_of_the_plan(
    federation, monkeypatch
):
    sealed, original = [], LedgerStore.seal

    def keep(self, attempt, blob, **facts):
        sealed.append(np.frombuffer(blob, "<i4").astype(np.int64))
        return original(self, attempt, blob, **facts)

    monkeypatch.setattr(LedgerStore, "seal", keep)
    plan = of_devices(federation, rounds__count=1, server__momentum=0.0)
    driver = federation.train(plan)
    total = np.sum(sealed, axis=0)
    ratio = driver.learned.model / total
    assert np.ptp(ratio[total != 0]) <= 1e-5 * abs(ratio.mean())
    scale = 1 << training_plan(plan).noise_bits
    assert 0.3 * scale < np.std(np.diff(sealed, axis=0)) < 4 * scale


def test_so_few_devices_at_a_usual_budget_are_refused_before_anybody_is_asked(federation):
    with pytest.raises(ConfigError, match="it takes"):
        federation.driver(of_devices(federation, training__epsilon=2.0))[0].drive(1)
    assert all({r.kind for r in records(home)} == {Kind.OPEN} for home in federation.homes)


def test_shares_of_whole_updates_are_charged_in_both_columns(tmp_path):
    made = made_of(tmp_path)
    made.allow({"shared_noise": SharedNoise(epsilon_sum_max=30.0, federation_key="offline")})
    made.train(of_devices(
        made, training__epsilon=50.0, privacy__noise="shared", privacy__honest=2,
        privacy__epsilon_sum=30.0, secagg__n_max=6, rounds__count=2,
    ))  # fmt: skip
    for home in made.homes:
        found = read_budget(home.path)
        assert found.rounds_shared == 2
        assert 0 < found.epsilon_sum <= 30
        assert found.epsilon_sum < found.epsilon_spent <= 50
        assert {r.text("mechanism") for r in reserved(home)} == {WHOLE_SHARE}
        assert check(home.path, None, None).verdict is Verdict.OK
    made.close()


@pytest.mark.parametrize("point", ["agent.reserve.after", "agent.train.after", "agent.seal.after"])
def test_a_power_cut_leaves_the_charge(federation, point):
    failpoints.install(failpoints.Schedule(f"{point}=raise@2"))
    try:
        with pytest.raises(Crash):
            federation.train(of_devices(federation, rounds__count=1))
    finally:
        failpoints.install(None)
    federation.wire.forget()
    for home in federation.homes:
        federation.restart(home.pinned().name)
    assert sum(read_budget(home.path).rounds for home in federation.homes) == 2


def told(lies, plan, params=None):
    """The victim's offer with a plan of its own, under the context that goes with it."""
    sent, made = plan.to_json() if isinstance(plan, TrainingPlan) else plan, lies.proposal
    params = (params or made.params).encode()
    roster = made.roster.roster
    ctx = context.context(
        federation_id=roster.federation_id,
        run_id=lies.attempt.run_id,
        round_number=lies.attempt.round,
        attempt=lies.attempt.attempt,
        shard=0,
        task_hash=made.task.task_hash(),
        model_hash=made.model_hash,
        config_hash=context.config_hash(params, sent),
        roster_hash=roster.hash(),
    )
    return lies.offer(plan_json=sent, params=params, ctx=ctx)


def test_lies_about_the_unit_and_its_noise_are_refused_uncharged(federation):
    plan = of_devices(federation)
    lies = Lies(federation, plan)
    honest = lies.proposal.plan
    half = honest.model_copy(update={"noise_multiplier": 2 * honest.noise_multiplier})
    lies.refused(told(lies, half), "POLICY_VECTOR", charged=0, words="all records together")
    narrow = honest.model_copy(update={"noise_bits": honest.noise_bits - 1})
    lies.refused(told(lies, narrow), "POLICY_VECTOR", charged=0)
    weak = honest.model_copy(update={"noise_multiplier": honest.noise_multiplier / 4})
    lies.refused(told(lies, weak), "POLICY_SIGMA", charged=0)
    bare = honest.to_json().replace(f'"noise_bits":{honest.noise_bits},'.encode(), b"")
    assert bare != honest.to_json()
    lies.refused(told(lies, bare), "MALFORMED", charged=0)


def test_a_run_that_changes_its_unit_midway_is_charged_for_what_each_round_is(federation):
    """The same σ, per record: twelve steps are twelve charges, and the device says that they do not fit."""
    lies = Lies(federation, of_devices(federation))
    honest = lies.proposal.plan
    record = {
        "unit": "record", "batch_size": 16, "noise_bits": 0, "rounds": 20,
    }  # fmt: skip
    changed = honest.model_copy(update=record)
    lies.refused(told(lies, changed), "BUDGET_WOULD_EXCEED", charged=0)
    changed = honest.model_copy(update={**record, "noise_multiplier": 60.0})
    reply = lies.session.handle(told(lies, changed))
    assert reply.refusal is None
    (charged,) = reserved(lies.home)
    assert (charged.text("mechanism"), charged.number("steps_planned")) == ("subsampled_gaussian", 12)  # fmt: skip
