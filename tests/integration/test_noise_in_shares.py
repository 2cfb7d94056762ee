"""Agents that each add a share of the noise: with every owner's word, charged twice over, and never below h."""

import json

import numpy as np
import pytest
from fakes_federation import POLICY, Federation, plan_for

from edgeveil.agent.home.policy import SharedNoise
from edgeveil.agent.ledger.budget import read_budget
from edgeveil.agent.ledger.file import ledger_records
from edgeveil.agent.ledger.store import LedgerStore
from edgeveil.agent.reports.page_view import own_state, page
from edgeveil.agent.reports.report import build
from edgeveil.agent.reports.report_page import page as report_page
from edgeveil.agent.reports.verify import Verdict, check
from edgeveil.coordinator.reports.facts import RunFacts
from edgeveil.coordinator.reports.privacy import report as privacy_report
from edgeveil.coordinator.reports.privacy.page import page as run_report_page
from edgeveil.coordinator.reports.standing import sentence, standing
from edgeveil.shared.base import failpoints
from edgeveil.shared.base.clock import SystemClock
from edgeveil.shared.base.errors import RunFailed, RunRefused
from edgeveil.shared.base.failpoints import Crash
from edgeveil.shared.privacy.ledger.records import Kind
from edgeveil.shared.wire.messages import Stage

SHARED = SharedNoise(epsilon_sum_max=3.0, federation_key="offline")
ROOM = POLICY.model_copy(update={"epsilon_max": 12.0})
ROUNDS = 3


@pytest.fixture
def federation(tmp_path):
    made = Federation(tmp_path, 5, offline=True, policy=ROOM)
    made.allow({"shared_noise": SHARED})
    yield made
    made.close()


def in_shares(federation, agents=5, **changes):
    plan = {
        "training__steps": 1,
        "training__epsilon": 12.0,
        "privacy__noise": "shared",
        "privacy__honest": 4,
        "privacy__epsilon_sum": 3.0,
        "rounds__count": ROUNDS,
        "rounds__minimum": 4,
        "secagg__n_max": 6,
        "evaluation__data": str(federation.test),
    }
    return plan_for(agents, **plan | changes)


def records(home):
    return list(ledger_records(home.ledger_folder / "data", home.identity().public))


def kinds(home):
    return [record.kind for record in records(home)]


def test_a_run_is_charged_in_both_columns_and_everybody_is_told_both(federation):
    driver = federation.train(in_shares(federation))
    for home in federation.homes:
        found = read_budget(home.path)
        assert found.rounds_shared == ROUNDS
        assert 0 < found.epsilon_sum < found.epsilon_spent < 12
        assert found.epsilon_sum <= 3 < found.epsilon_spent
        assert kinds(home)[-4:] == [Kind.SHARED, Kind.SEAL, Kind.SUBMIT, Kind.ACK]
        assert check(home.path, None, None).verdict is Verdict.OK
    assert [said for said in federation.statuses if "spent, ε of sums" in said]
    home = federation.homes[0]
    report = build(home.path, None, SystemClock())
    sums = report["guarantee"]["sums"]
    assert sums["honest"] == 4
    assert sums["epsilon_sum"] == read_budget(home.path).epsilon_sum
    assert sums["epsilon_alone"] == report["epsilon_spent"]
    assert "at least 4 honest agents" in sums["epsilon_sum_holds"]
    assert report["guarantee"]["epsilon_prv"] is None
    assert json.dumps(report, allow_nan=False)
    for lang, word in (("en", "ε of sums"), ("zh", "总和的 ε")):
        assert word in report_page(report, lang)
        assert word in page(own_state(home.path, "data"), lang)
    two = read_budget(home.path).two
    for lang in ("en", "zh"):
        shown = page(own_state(home.path, "data"), lang)
        assert all(f"{said}</li>" in shown for said in two.sentences(lang))
        assert shown.count('class="mark"') == 1
    path = home.path / "report.json"
    path.write_text(json.dumps(report))
    assert check(home.path, None, path).verdict is Verdict.OK
    facts = RunFacts(
        federation.store.run(driver.run.run_id), federation.store.rounds(driver.run.run_id)
    )
    assert "ε of sums" in sentence(standing(facts))
    told = privacy_report.build(facts, SystemClock())
    assert "at least 4 honest agents" in told["guarantee"]["sums_only"]["note"]
    for lang, word in (("en", "at least 4 honest"), ("zh", "至少 4 台诚实")):
        assert word in run_report_page(told, lang)
    told = told["guarantee"]
    assert told["sums_only"]["epsilon"] <= told["sums_only"]["epsilon_planned"] == 3
    assert told["sums_only"]["epsilon"] < told["epsilon_at_most"] <= 12


def test_it_learns_what_less_noise_lets_it_and_the_sum_has_the_noise_of_all(
    federation, monkeypatch
):
    """The model moves by the mean of what was sealed, exactly up to the last bits of float32."""
    sealed, original = [], LedgerStore.seal

    def keep(self, attempt, blob, **facts):
        sealed.append(np.frombuffer(blob, "<i4").astype(np.int64))
        return original(self, attempt, blob, **facts)

    monkeypatch.setattr(LedgerStore, "seal", keep)
    plan = in_shares(federation, rounds__count=1, server__momentum=0.0)
    driver = federation.train(plan)
    total = np.sum(sealed, axis=0)
    moved = total != 0  # a sum of integers can be exactly 0
    ratio = driver.learned.model[moved] / total[moved]
    assert np.ptp(ratio) <= 1e-5 * abs(ratio.mean())
    from edgeveil.coordinator.plan.derived import training_plan

    scale = 1 << training_plan(plan).noise_bits
    spread = np.std(sealed[0] - sealed[1]) / np.sqrt(
        2
    )  # signals of the two differ little beside the noise
    assert 0.95 * scale < spread < 1.2 * scale


def test_without_the_owners_word_nobody_trains_and_nothing_is_charged(tmp_path):
    federation = Federation(tmp_path, 5, offline=True)
    before = [kinds(home) for home in federation.homes]
    with pytest.raises(RunRefused, match="POLICY_NOISE"):
        federation.train(in_shares(federation, rounds__attempts=1), ask=False)
    assert [kinds(home) for home in federation.homes] == before
    federation.close()


def test_a_token_of_one_machine_or_of_before_is_refused_whatever_the_policy_says(tmp_path):
    federation = Federation(tmp_path, 5, offline=False)
    federation.allow({"shared_noise": SHARED})
    before = [kinds(home) for home in federation.homes]
    with pytest.raises(RunRefused, match="POLICY_NOISE"):
        federation.train(in_shares(federation, rounds__attempts=1), ask=False)
    assert [kinds(home) for home in federation.homes] == before
    federation.close()


@pytest.mark.parametrize("stage", [Stage.SHARE, Stage.MASKED])
def test_a_cohort_that_shrinks_below_h_opens_no_sum(tmp_path, stage):
    """Of seven two are gone, which the masks would bear; six honest ones were to be in it: nobody goes on."""
    federation = Federation(tmp_path, 7, offline=True, policy=ROOM)
    federation.allow({"shared_noise": SHARED})
    for name in ("agent-6", "agent-7"):
        federation.wire.silent[federation.id_of(name)] = stage
    plan = {"privacy__honest": 6, "rounds__minimum": 6, "rounds__count": 1, "rounds__attempts": 1}
    with pytest.raises(RunFailed):
        federation.train(in_shares(federation, 7, secagg__n_max=8, **plan), ask=False)
    codes = {reply.refusal for _, _, reply in federation.wire.captured if reply.refusal}
    assert codes == {"COHORT_TOO_SMALL"}
    stages = {r.stage for _, _, r in federation.wire.captured if not r.refusal}
    assert stages == ({Stage.ROUND, Stage.SHARE, Stage.MASKED} if stage is Stage.MASKED else {Stage.ROUND, Stage.SHARE})  # fmt: skip
    for home in federation.homes:
        assert read_budget(home.path).rounds_shared == 1  # paid, and nothing refunded
    federation.close()


def test_who_is_in_the_sum_and_vanishes_before_unmasking_still_counts(federation):
    federation.wire.silent[federation.id_of("agent-5")] = Stage.UNMASK
    driver = federation.train(in_shares(federation, rounds__count=1), ask=False)
    (record,) = federation.store.rounds(driver.run.run_id)
    assert record.outcome == "committed"
    assert "agent-5" in record.survived


@pytest.mark.parametrize("point", ["agent.reserve.before", "agent.reserve.after", "agent.train.after", "agent.seal.after"])  # fmt: skip
def test_a_power_cut_leaves_both_columns_charged_or_neither(federation, point):
    failpoints.install(failpoints.Schedule(f"{point}=raise@2"))
    try:
        with pytest.raises(Crash):
            federation.train(in_shares(federation, rounds__count=1))
    finally:
        failpoints.install(None)
    federation.wire.forget()
    charged = []
    for home in federation.homes:
        federation.restart(home.pinned().name)
        found = read_budget(home.path)
        assert (
            (found.epsilon_sum > 0.5) == (found.epsilon_spent > 0.5) == (found.rounds_shared == 1)
        )
        charged.append(found.rounds_shared)
    assert sum(charged) == (1 if point == "agent.reserve.before" else 2)
