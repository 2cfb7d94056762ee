"""Rounds of SCAFFOLD with the real driver, sessions, ledgers and training; only the wire is memory."""

from dataclasses import replace

import numpy as np
import pytest
from fakes_federation import Federation, plan_for, proposal_of
from pydantic import create_model

from edgeveil.agent.ledger.budget import read_budget
from edgeveil.agent.ledger.store import LedgerStore
from edgeveil.agent.rounds import offer as offer_module
from edgeveil.agent.rounds.upload import from_blob
from edgeveil.agent.rounds.variates import VARIATE_FILE, Variates
from edgeveil.agent.training import training
from edgeveil.coordinator.runs.runs import open_run
from edgeveil.shared.vector.model_vector import model_hash
from edgeveil.shared.wire.messages import Attempt, RoundOffer, Stage, make_request
from edgeveil.shared.wire.plan import TrainingPlan


@pytest.fixture
def federation(tmp_path):
    made = Federation(tmp_path)
    for home in made.homes:
        home.policy_path.write_text(made.policy.to_toml())
    yield made
    made.close()


@pytest.fixture
def bends(monkeypatch):
    """The bend of every training, in order."""
    seen = []
    real = training.train

    def watched(*arguments, bend=None, **options):
        seen.append(bend)
        return real(*arguments, bend=bend, **options)

    monkeypatch.setattr(training, "train", watched)
    return seen


def plan(**changes):
    return plan_for(4, server__strategy="scaffold", rounds__count=6, **changes)


def folder_of(home):
    return home.ledger_folder / "data"


def own(home, run_id):
    return Variates(folder_of(home))._own(run_id)


def test_from_the_second_round_on_agents_step_towards_what_the_others_want(federation, bends):
    driver, _ = federation.driver(plan())
    driver._complete(1)
    mean = np.mean([own(home, driver.run.run_id) for home in federation.homes], axis=0)
    assert bends == [None] * 4
    rounding = (
        4 * driver._training._params.segments[1].step / (4 * 60)
    )  # four of weight 60, rounded
    assert driver.learned.variate == pytest.approx(mean, abs=rounding)
    assert np.abs(mean).max() > 0.01
    expected = {
        home: driver.learned.variate - own(home, driver.run.run_id) for home in federation.homes
    }
    for home in federation.homes:
        federation.restart(home.pinned().name)  # all it knows lies on its disk
    driver._complete(2)
    found = [bend.tobytes() for bend in bends[4:]]
    assert sorted(found) == sorted(bend.tobytes() for bend in expected.values())


def test_a_coordinator_that_restarts_offers_the_same_variate(federation):
    first, _ = federation.driver(plan())
    first._complete(1)
    run = federation.store.run(first.run.run_id)
    _, learned, number = open_run(federation.store, federation.home, run)
    assert number == 2
    assert np.array_equal(learned.variate, first.learned.variate)
    assert np.abs(learned.variate).max() > 0


def test_an_attempt_that_failed_is_masked_again_and_charged_once(federation, bends):
    """Two of four fall silent after their advert; the next attempt asks the same question."""
    driver, _ = federation.driver(plan())
    driver._complete(1)
    lost = sorted(federation.sessions)[:2]
    federation.wire.silent = dict.fromkeys(lost, Stage.SHARE)
    assert driver.attempt(2) is not None
    variates = {home: own(home, driver.run.run_id) for home in federation.homes}
    federation.wire.silent = {}
    assert driver.attempt(2) is None
    assert len(bends) == 8, "nobody trained anew"
    assert {read_budget(home.path).rounds for home in federation.homes} == {2}
    for home, before in variates.items():
        assert np.array_equal(own(home, driver.run.run_id), before)


def test_what_is_kept_is_the_update_that_left(federation, monkeypatch):
    sealed = []
    seal = LedgerStore.seal

    def watched(store, attempt, blob, **more):
        sealed.append(from_blob(blob))
        seal(store, attempt, blob, **more)

    monkeypatch.setattr(LedgerStore, "seal", watched)
    driver, _ = federation.driver(plan())
    driver._complete(1)
    kept = [own(home, driver.run.run_id) for home in federation.homes]
    assert sorted(v.tobytes() for v in kept) == sorted(v.tobytes() for v in sealed)


def test_another_strategy_keeps_nothing_and_sends_one_vector(federation):
    driver = federation.train(plan_for(4))
    (size,) = {len(r.bulk) for _, r in federation.wire.requests if r.stage is Stage.ROUND}
    assert size == driver.learned.model.nbytes
    assert not any((folder_of(home) / VARIATE_FILE).exists() for home in federation.homes)


def older_plan():
    """The plan as a release reads it that knows everything but SCAFFOLD."""
    known = {name: (item.annotation, item) for name, item in TrainingPlan.model_fields.items()}
    del known["control_variates"]
    older = create_model("TrainingPlan", __config__=TrainingPlan.model_config, **known)
    older.from_json = classmethod(TrainingPlan.from_json.__func__)
    return older


def test_an_agent_of_an_older_release_refuses_in_one_sentence_and_rests(federation, monkeypatch):
    """It must not train on without the correction, whose update would be another one."""
    victim = federation.id_of("agent-1")
    session, home = federation.sessions[victim], federation.homes[0]
    handle = session.handle

    def of_the_older_release(request):
        with monkeypatch.context() as older:
            older.setattr(offer_module, "read_plan", older_plan().from_json)
            return handle(request)

    monkeypatch.setattr(session, "handle", of_the_older_release)
    driver, _ = federation.driver(plan(rounds__goal=3), ask=False)
    driver._complete(1)
    driver._complete(2)
    first, second = federation.store.rounds(driver.run.run_id)
    assert first.dropped_reasons == {"agent-1": "refused:VERSION:agent-2-2:coordinator-2-2"}
    assert first.survived == second.selected == ("agent-2", "agent-3", "agent-4")
    assert federation.statuses.count(
        "round 1: refused (VERSION): the plan asks for 'control_variates', which this agent's "
        "release does not know; update this agent; install the same release of edgeveil on both "
        "sides and compare: agent doctor"
    ) == 1  # fmt: skip
    assert read_budget(home.path).rounds == 0
    assert not (folder_of(home) / VARIATE_FILE).exists()


class Lie:
    """The offer of round 2 with another second vector, opened as the coordinator would."""

    def __init__(self, federation):
        self.federation = federation
        self.driver, _ = federation.driver(plan())
        self.driver._complete(1)
        self.attempt = Attempt(self.driver.run.run_id, 2, 9)
        self.victim = min(federation.sessions)
        self.home = next(h for h in federation.homes if h.pinned().agent_id == self.victim)
        self.proposal = proposal_of(self.driver, self.attempt, tuple(sorted(federation.sessions)))
        self.segment = self.driver._training._params.segments[1]

    def answer(self, variate, *, raw=b"", honest_ctx=False):
        variate = variate.astype(np.float32)
        made = self.proposal if honest_ctx else replace(self.proposal, variate=variate)
        (request,) = made.offers({}, [self.victim]).values()
        bulk = self.proposal.model.tobytes() + (raw or variate.tobytes())
        body = RoundOffer.decode(request.body).encode()
        lie = make_request(
            self.federation.coordinator, self.victim, Stage.ROUND, self.attempt, body, bulk
        )
        return self.federation.sessions[self.victim].handle(lie)


@pytest.mark.parametrize("what", ["nan", "infinite", "beyond reach", "short", "long", "absent", "unsigned"])  # fmt: skip
def test_a_variate_that_no_round_can_give_is_refused_uncharged(federation, what):
    lie = Lie(federation)
    before = read_budget(lie.home.path)
    zeros = np.zeros_like(lie.proposal.model)
    most = lie.segment.bound * lie.segment.step
    match what:
        case "nan" | "infinite" | "beyond reach":
            zeros[-1] = {"nan": np.nan, "infinite": -np.inf, "beyond reach": -1.001 * most}[what]
            found = lie.answer(zeros)
        case "unsigned":
            found = lie.answer(zeros + np.float32(most / 2), honest_ctx=True)
        case _:
            size = {"short": zeros.nbytes - 4, "long": zeros.nbytes + 1, "absent": 0}[what]
            found = lie.answer(zeros, raw=bytes(size) or b"\0" * 4)
    assert found.refusal == ("CTX_MISMATCH" if what == "unsigned" else "MODEL_INVALID")
    assert read_budget(lie.home.path) == before


def test_a_variate_at_the_edge_of_reach_is_taken(federation):
    lie = Lie(federation)
    edge = np.full_like(lie.proposal.model, lie.segment.bound * lie.segment.step)
    assert lie.answer(edge).refusal is None


def test_the_context_tells_two_variates_apart(federation):
    """So an agent that is shown another one than the others fits nobody's adverts."""
    lie = Lie(federation)
    other = replace(lie.proposal, variate=lie.proposal.variate + np.float32(1e-3))
    assert other.contexts != lie.proposal.contexts
    assert other.model_hash == model_hash(other.model, other.tensors, other.variate)
