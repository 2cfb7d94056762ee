"""What honest agents pay for attempts that a liar ends: real driver, records and ledgers, thin training."""

import dataclasses

import pytest
from crash_bench import Scenario, World
from lying_bench import common_lie, deal, noise, off, reveal
from thin_bench import thin_plan

from edgeveil.agent.ledger.budget import read_budget
from edgeveil.coordinator.machine.attempt import RoundMachine
from edgeveil.shared.base.errors import RunFailed
from edgeveil.shared.secagg.client.masking import Shared

ROUNDS, SPARE = 2, 1


def federation(folder, agents, *, attempts=100, spare=SPARE, **changes):
    made = World.make(folder, Scenario(1, agents=agents, rounds=ROUNDS, quiet=True))
    made.plan = thin_plan(
        agents, rounds=ROUNDS, rounds__attempts=attempts, rounds__spare=spare, rounds__minimum=agents - 3, **changes
    )  # fmt: skip
    return made.open()


@pytest.fixture
def fourteen(tmp_path):
    made = federation(tmp_path / "world", 14)
    yield made
    made.close()


def of(world, *numbers):
    return {agent for agent, number in world.number.items() if number in numbers}


def records(world):
    return world.store.rounds(world.driver.run.run_id)


def outcomes(world):
    return [(row.round, row.attempt, row.outcome.value, row.reason) for row in records(world)]


def paid(world):
    """Rounds that each device's own ledger holds as charged, by number."""
    return {
        number: read_budget(world.folder / f"agent-{number}").rounds
        for number in range(world.scenario.agents)
    }


def told(world):
    path = world.driver.run.folder / "events.jsonl"
    return [line for line in path.read_text().splitlines() if "agent.exclude" in line]


def test_a_dealer_of_inconsistent_shares_costs_one_attempt_is_named_and_the_run_goes_on(
    fourteen, monkeypatch
):
    deal(monkeypatch, of(fourteen, 3), lambda place, _, pair: (off(pair, noise(32, place)),) * 2)
    fourteen.work()
    rows = [(1, 1, "aborted", "SUM_RANGE"), (1, 2, "committed", ""), (2, 1, "committed", "")]
    assert outcomes(fourteen) == rows
    first, *others = records(fourteen)
    assert first.extra["suspects"] == ["agent-3"]
    assert all("agent-3" not in row.selected for row in others)
    assert len(told(fourteen)) == 1
    spent = paid(fourteen)
    assert spent.pop(3) == 1
    assert set(spent.values()) == {ROUNDS + SPARE}


def test_lying_holders_cost_no_attempt_and_are_asked_no_more(fourteen, monkeypatch):
    reveal(monkeypatch, of(fourteen, 0, 5), common_lie(noise()))
    fourteen.work()
    assert outcomes(fourteen) == [(1, 1, "committed", ""), (2, 1, "committed", "")]
    first, second = records(fourteen)
    assert first.extra["wrong_shares"] == first.extra["suspects"] == ["agent-0", "agent-5"]
    assert {"agent-0", "agent-5"} <= set(first.survived)
    assert len(second.survived) == 12
    assert set(paid(fourteen).values()) == {1, ROUNDS}


def _noisy(monkeypatch, agents):
    """These mask with another seed than they dealt: what nobody can be blamed for."""
    honest = Shared._add_masks

    def lying(self, pair_keys):
        if self.settings.own in agents:
            self = dataclasses.replace(self, seed=noise())
        honest(self, pair_keys)

    monkeypatch.setattr(Shared, "_add_masks", lying)


@pytest.mark.parametrize(("agents", "spare"), [(6, 2), (14, 1), (30, 0)])
def test_an_unnamed_liar_ends_the_run_before_anybody_pays_more_than_planned(
    tmp_path, monkeypatch, agents, spare
):
    world = federation(tmp_path / "world", agents, spare=spare)
    _noisy(monkeypatch, of(world, 3))
    with pytest.raises(
        RunFailed, match=rf"{spare + 1} attempts? of .* has {spare} spare .*nobody is proved"
    ) as failed:
        world.work()
    assert "start a run from another plan" in str(failed.value)
    assert outcomes(world) == [(1, turn, "aborted", "SUM_RANGE") for turn in range(1, spare + 2)]
    assert not any(row.extra.get("suspects") for row in records(world))
    assert set(paid(world).values()) == {spare + 1}
    world.close()


def test_a_restart_forgets_nothing_that_was_paid_in_vain(fourteen, monkeypatch):
    _noisy(monkeypatch, of(fourteen, 3))
    with pytest.raises(RunFailed):
        fourteen.work()
    fourteen.close()
    fourteen.open()
    with pytest.raises(RunFailed, match="2 attempts"):
        fourteen.work()
    assert len(records(fourteen)) == 2
    assert set(paid(fourteen).values()) == {SPARE + 1}


def test_liars_that_take_turns_never_cost_more_than_the_spare_rounds(fourteen, monkeypatch):
    """A dealer ends each attempt; each is named, and the last sentence names them all."""
    turn = iter((3, 7, 9))
    begin = RoundMachine.start

    def start(self, now):
        fourteen.dealer = of(fourteen, next(turn))
        return begin(self, now)

    monkeypatch.setattr(RoundMachine, "start", start)
    deal(monkeypatch, Turn(fourteen), lambda place, _, pair: (off(pair, noise(32, place)),) * 2)
    with pytest.raises(RunFailed, match=r"agent-3, agent-7 lied about shares: `coordinator agents"):
        fourteen.work()
    assert [row.extra["suspects"] for row in records(fourteen)] == [["agent-3"], ["agent-7"]]
    honest = {number: rounds for number, rounds in paid(fourteen).items() if number not in (3, 7)}
    assert set(honest.values()) == {SPARE + 1}


class Turn:
    """Whose turn it is to lie."""

    def __init__(self, world):
        self._world = world

    def __contains__(self, agent):
        return agent in self._world.dealer


def test_shares_that_are_not_those_committed_to_cost_no_honest_agent_anything(
    fourteen, monkeypatch
):
    """Everybody refuses before it uploads, keeps its update for the next attempt, and pays once."""
    junk = dataclasses.replace
    deal(
        monkeypatch,
        of(fourteen, 3),
        lambda _place, _holder, pair: (junk(pair, seed=noise(), secret=noise(32, 1)), pair),
    )
    fourteen.work()
    first, *_ = records(fourteen)
    assert first.outcome == "aborted"
    assert len(first.extra["complaints"]) == 13
    assert len(told(fourteen)) == 1
    spent = paid(fourteen)
    assert spent.pop(3) == 1
    assert set(spent.values()) == {ROUNDS}
