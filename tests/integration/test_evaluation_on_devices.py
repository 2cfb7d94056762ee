"""Evaluations on devices: counts of records held out, with noise, under the masks, charged before they are made."""

import json
import stat
from dataclasses import replace

import pytest
from fakes_federation import POLICY, Federation, plan_for

from edgeveil.agent.home.policy import SharedNoise
from edgeveil.agent.ledger.budget import read_budget
from edgeveil.agent.ledger.file import ledger_records
from edgeveil.agent.reports.report import build as agent_report
from edgeveil.agent.reports.verify import Verdict, check
from edgeveil.agent.rounds.evaluating import own_figures
from edgeveil.coordinator.records.records import EVALUATION, Outcome
from edgeveil.coordinator.reports.exports.points import points
from edgeveil.coordinator.reports.facts import RunFacts
from edgeveil.coordinator.reports.page import report_page
from edgeveil.coordinator.reports.privacy import page as privacy
from edgeveil.coordinator.reports.privacy.report import build as privacy_report
from edgeveil.coordinator.reports.standing import sentence, standing
from edgeveil.coordinator.reports.summary import build
from edgeveil.shared.base.clock import SystemClock
from edgeveil.shared.privacy.ledger.facts import TALLY, collect
from edgeveil.shared.privacy.ledger.records import Kind
from edgeveil.shared.wire.messages import Attempt, Stage

HELD = POLICY.model_copy(update={"epsilon_max": 12.0, "evaluation_share": 0.3})


def evaluated(agents, **changes):
    plan = {
        "evaluation__on": "devices",
        "evaluation__epsilon": 2.0,
        "training__steps": 1,
        "rounds__count": 1,
        "rounds__attempts": 1,
    }
    return plan_for(agents, **plan | changes)


def records_of(home):
    return list(ledger_records(home.ledger_folder / "data", home.identity().public))


def tallies(home):
    return [record for record in records_of(home) if record.body.get("mechanism") == TALLY]


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """One run of three devices, one round, evaluated."""
    made = Federation(tmp_path_factory.mktemp("done"), 3, policy=HELD)
    made.run = made.train(evaluated(3)).run.run_id
    yield made
    made.close()


def test_a_run_is_evaluated_on_what_its_devices_held_out(done):
    trained, counted = done.store.rounds(done.run)
    assert (trained.outcome, counted.outcome) == (Outcome.COMMITTED, Outcome.EVALUATED)
    assert (trained.attempt, counted.attempt) == (1, 2)
    assert set(trained.metrics) == {"accuracy", "macro_f1"}
    told = trained.extra[EVALUATION]
    assert told["agents"] == 3
    assert told["cells"] == 30
    value, low, high = told["figures"]["macro_f1"]
    assert value == trained.metrics["macro_f1"]
    assert low <= value <= high
    assert (done.home / "runs" / done.run / "best.safetensors").exists()


def test_each_ledger_says_what_it_was_and_is_charged_beside_training(done):
    for home in done.homes:
        (one,) = tallies(home)
        assert one.body["optimizer"].startswith("none: a tally of records held out")
        facts = collect(record.body for record in records_of(home))
        assert (facts.charged, facts.evaluations) == (2, 1)
        assert check(home.path, None, None).verdict is Verdict.OK


def test_the_line_between_the_two_sides_is_drawn_by_a_secret_of_the_device(done):
    for home in done.homes:
        key = home.path / "evaluation.key"
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
        (own,) = own_figures.read(home.ledger_folder / "data")
        assert 4 <= own.records <= 34


def test_own_figures_stay_on_the_device(done):
    (own,) = own_figures.read(done.homes[0].ledger_folder / "data")
    assert set(own.metrics) == {"accuracy", "macro_f1"}
    report = json.dumps(agent_report(done.homes[0].path, None, SystemClock()))
    assert "macro_f1" not in report
    for _, request, reply in done.wire.captured:
        if request.stage is Stage.MASKED and request.attempt.attempt == 2:
            assert len(reply.bulk) == 4 * (1 + 30)  # a weight of one, and three counts a class


def test_the_run_shows_figures_with_their_intervals_and_what_they_cost(done):
    found = RunFacts(done.store.run(done.run), done.store.rounds(done.run))
    titles = [view.title[0] for view in found.views]
    assert titles == ["Measured on devices, with noise", "By class, measured on devices"]
    assert found.charged("agent-1") > found.epsilon_after(1)
    assert "of 10" in sentence(standing(found))
    (point,) = points(found)
    assert point.values["quality/macro_f1_low"] <= point.values["quality/macro_f1"]
    assert point.values["run/attempts_aborted"] == 0
    report = build(found.run, found.records, done.home)
    assert report["evaluation_on_devices"]["agents"] == 3
    assert report["attempts_aborted"] == 0
    assert json.dumps(report, allow_nan=False)
    told = privacy_report(found, SystemClock())
    assert told["guarantee"]["epsilon_at_most"] == pytest.approx(found.charged("agent-1"))
    assert told["guarantee"]["curve"][-1]["epsilon_at_most"] == pytest.approx(
        found.charged("agent-1")
    )
    assert told["accounting"]["attempts_aborted"] == 0
    for language, word in (("en", "evaluated on devices"), ("zh", "已在设备上评估")):
        assert word in privacy.page(privacy_report(found, SystemClock()), language)
        assert word in report_page(found, language, made=1.75e9)


class Lying:
    """A coordinator that asks single devices for evaluations as it likes."""

    def __init__(self, federation, plan):
        self.federation = federation
        self.driver, _ = federation.driver(plan, ask=False)
        self.attempt = 0

    def ask(self, name="agent-1", *, number=1, plan=(), **changes):
        """The refusal that an offer of one more attempt meets, or None."""
        self.attempt += 1
        rounds, federation = self.driver._evaluations, self.federation
        rounds._model = self.driver.learned.model
        attempt = Attempt(self.driver.run.run_id, number, self.attempt)
        agents = tuple(sorted(federation.sessions))
        honest = rounds._propose(attempt, self.driver._sums._roster(), (agents,))
        asked = honest.plan.model_copy(update=dict(plan))
        lie = replace(honest, plan=asked, **changes)
        agent = federation.id_of(name)
        return federation.sessions[agent].handle(lie.offers({}, [agent])[agent]).refusal


@pytest.fixture(scope="module")
def lying(tmp_path_factory):
    made = Federation(
        tmp_path_factory.mktemp("lying"), 3, policy=HELD, own={"agent-3": {"evaluation_share": 0.0}}
    )
    yield Lying(made, evaluated(3, rounds__count=3, evaluation__every=2))
    made.close()


def finer(params):
    weight, counts = params.segments
    return replace(params, segments=(weight, replace(counts, count=counts.count * 2)))


def coarse(params):
    weight, counts = params.segments
    return replace(params, segments=(weight, replace(counts, step=counts.step / 2)))


def test_what_an_owner_or_the_task_does_not_allow_is_refused_and_not_charged(lying):
    home = lying.federation.homes[0]
    before = len(records_of(home))
    params = lying.driver._evaluations._counting.params
    assert lying.ask("agent-3", number=2) == "POLICY_METRICS"  # holds nothing out
    assert lying.ask(number=1) == "POLICY_METRICS"  # is not due after round 1
    assert lying.ask(number=2, params=finer(params)) == "POLICY_VECTOR"
    assert (
        lying.ask(number=2, params=coarse(params)) == "POLICY_VECTOR"
    )  # as much noise, twice the counts
    assert lying.ask(number=2, plan={"sensitivity": 1.0}) == "POLICY_VECTOR"
    assert lying.ask(number=2, plan={"noise_bits": 6}) == "POLICY_VECTOR"
    assert lying.ask(number=2, plan={"honest": 2}) == "POLICY_NOISE"
    assert lying.ask(number=2, plan={"noise_multiplier": 0.1}) == "POLICY_SIGMA"
    assert len(records_of(home)) == before


def test_without_noise_there_is_no_evaluation_not_even_where_training_goes_without(lying):
    federation = lying.federation
    federation.allow_without_noise("agent-2")
    before = len(records_of(federation.homes[1]))
    assert lying.ask("agent-2", number=2, plan={"noise_multiplier": 0.0}) == "MALFORMED"
    assert len(records_of(federation.homes[1])) == before


def test_many_evaluations_are_each_charged_until_the_budget_refuses(lying):
    """Asked about training data or not, again and again: what it learns is what the ledger has counted."""
    home = lying.federation.homes[0]
    before = len(tallies(home))
    answers = [
        lying.ask(number=2, plan={"noise_multiplier": 1.0 + again / 1000}) for again in range(10)
    ]
    accepted = answers.index(next(filter(None, answers)))
    assert 1 <= accepted <= 9
    assert set(answers[accepted:]) <= {"BUDGET_WOULD_EXCEED", "BUDGET_EXHAUSTED", "POLICY_SIGMA"}
    assert len(tallies(home)) - before == accepted
    assert check(home.path, None, None).verdict is Verdict.OK


def test_with_noise_in_shares_an_evaluation_is_charged_in_both_columns(tmp_path):
    made = Federation(
        tmp_path, 5, offline=True, policy=HELD.model_copy(update={"epsilon_max": 16.0})
    )
    made.allow({"shared_noise": SharedNoise(epsilon_sum_max=6.0, federation_key="offline")})
    try:
        plan = evaluated(
            5, evaluation__epsilon=4.0, evaluation__noise="shared", evaluation__honest=4,
            evaluation__epsilon_sum=2.0, rounds__minimum=4, secagg__n_max=6,
        )  # fmt: skip
        made.train(plan)
        for home in made.homes:
            (tally,) = tallies(home)
            assert tally.kind is Kind.SHARED
            spent = read_budget(home.path)
            assert 0 < spent.epsilon_sum < spent.epsilon_spent
            assert check(home.path, None, None).verdict is Verdict.OK
    finally:
        made.close()
