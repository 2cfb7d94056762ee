"""Who is excluded after complaints; a cohort in shards behind the interface of one machine."""

import hashlib

import pytest
from pydantic import ValidationError
from secagg_bench import CTX, LENIENT, identities, one_hot, params

from edgeveil.coordinator.machine.attempt import Deadlines, RoundMachine
from edgeveil.coordinator.machine.machine import Abort, Finish, Send
from edgeveil.coordinator.machine.shards import ShardedMachine
from edgeveil.coordinator.plan.plan import Plan
from edgeveil.coordinator.rounds.complaints import Complaints
from edgeveil.shared.base.errors import RefusalCode
from edgeveil.shared.secagg.client.session import ClientSession
from edgeveil.shared.secagg.server.stages import ServerSetup
from edgeveil.shared.wire.messages import Stage

PEOPLE = identities(10)


def test_one_accuser_excludes_nobody_however_often_it_complains():
    complaints = Complaints(corrupt=1)
    complaints.note([("a", "x"), ("a", "x"), ("b", "y")])
    assert complaints.excluded == frozenset()
    complaints.note([("b", "x")])
    assert complaints.excluded == {"x"}


def test_as_many_accusers_as_there_may_be_liars_exclude_nobody():
    complaints = Complaints(corrupt=2)
    complaints.note([("a", "x"), ("b", "x")])
    assert complaints.excluded == frozenset()
    complaints.note([("c", "x")])
    assert complaints.excluded == {"x"}


def test_a_proved_lie_about_shares_excludes_at_once():
    complaints = Complaints(corrupt=1)
    complaints.convict(["x"])
    assert complaints.excluded == {"x"}


def _machine(people, shard=0):
    wanted = params(5, lanes=10)
    ctx = hashlib.sha256(CTX + bytes([shard])).digest()
    return RoundMachine(
        setup=ServerSetup(ctx, wanted, {one.id: one.public for one in people}),
        selected=tuple(one.id for one in people),
        goal=len(people),
        minimum=3,
        deadlines=Deadlines(round_s=30.0),
    )


class Table:
    """Two shards of five; `absent`: stage → agents that fall silent."""

    def __init__(self, minimum=6):
        self.shards = [PEOPLE[:5], PEOPLE[5:]]
        machines = [_machine(people, shard) for shard, people in enumerate(self.shards)]
        self.machine = ShardedMachine(machines, minimum)
        self.sessions = {
            one.id: ClientSession(
                ctx=machine.setup.ctx,
                params=machine.setup.params,
                members=machine.setup.members,
                signer=one,
                policy=LENIENT,
                vector=one_hot(PEOPLE.index(one), machine.setup.params),
            )
            for machine, people in zip(machines, self.shards, strict=True)
            for one in people
        }
        self.now = 0.0

    def answer(self, agent, stage, body):
        session = self.sessions[agent]
        if stage is Stage.ROUND:
            return session.advert(), None
        if stage is Stage.MASKED:
            return session.masked(body)
        return getattr(session, stage.name.lower())(body), None

    def play(self, absent=None):
        pending = self.machine.start(self.now)
        gone = set()
        while True:
            following = []
            for action in pending:
                if not isinstance(action, Send):
                    return action
                gone |= (absent or {}).get(action.stage, set())
                for agent in action.agents:
                    if agent not in gone:
                        reply = self.answer(agent, action.stage, action.bodies.get(agent, b""))
                        following += self.machine.reply(agent, action.stage, *reply, self.now)
            if not following:
                self.now = self.machine.deadline
                following = self.machine.tick(self.now)
            pending = following


def test_shards_reveal_their_sums_and_the_sums_are_added():
    table = Table()
    assert table.machine.selected == tuple(one.id for one in PEOPLE)
    last = table.play()
    assert isinstance(last, Finish)
    assert last.result.segment("params").tolist() == [1] * 10
    assert last.result.segment("weight").tolist() == [10]
    assert table.machine.done
    assert set(table.machine.stage_seconds) == {stage.name.lower() for stage in Stage}
    assert table.machine.dropped == {}
    assert table.machine.waiting == frozenset()


@pytest.mark.parametrize("stage", list(Stage))
def test_a_loss_in_one_shard_does_not_touch_the_other(stage):
    table = Table()
    last = table.play({stage: {PEOPLE[7].id}})
    assert isinstance(last, Finish)
    survives = stage in (Stage.AGREE, Stage.UNMASK)
    assert last.result.segment("params").tolist() == [1] * 7 + [int(survives)] + [1] * 2
    assert table.machine.dropped == {PEOPLE[7].id: "deadline"}


def _lost(*places):
    return {Stage.MASKED: {PEOPLE[place].id for place in places}}


def test_an_aborted_shard_costs_its_own_agents_the_round():
    table = Table(minimum=5)
    last = table.play(_lost(0, 1, 2))
    assert isinstance(last, Finish)
    assert last.result.segment("params").tolist() == [0] * 5 + [1] * 5
    reasons = [table.machine.dropped[one.id] for one in PEOPLE[:5]]
    assert reasons == ["deadline"] * 3 + ["shard:COHORT_TOO_SMALL"] * 2


def test_too_few_survivors_in_all_shards_abort_the_round_with_each_reason():
    last = Table(minimum=6).play(_lost(0, 1, 2))
    assert isinstance(last, Abort)
    assert last.reason == "COHORT_TOO_SMALL"
    assert "5 agents in the shards that finished, 6 needed" in last.detail
    assert "shard 0: U3 has 2" in last.detail


def test_all_shards_aborted_abort_the_round():
    last = Table(minimum=3).play(_lost(0, 1, 2, 5, 6, 7))
    assert isinstance(last, Abort)
    assert last.detail.count("shard ") == 2


def test_strangers_and_lost_agents_reach_their_own_shard_only():
    table = Table()
    table.machine.start(0.0)
    assert table.machine.reply(bytes(16), Stage.ROUND, b"", None, 0.0) == []
    assert table.machine.lost([PEOPLE[6].id], 0.0) == []
    assert table.machine.dropped == {PEOPLE[6].id: "lost"}
    refusal = RefusalCode.BUDGET_EXHAUSTED
    table.machine.refused(PEOPLE[0].id, Stage.ROUND, refusal, 0.0)
    table.machine.invalid(PEOPLE[1].id, Stage.ROUND, RefusalCode.MALFORMED, 0.0)
    assert table.machine.dropped[PEOPLE[0].id] == "refused:BUDGET_EXHAUSTED"
    assert table.machine.dropped[PEOPLE[1].id] == "invalid:MALFORMED"
    assert len(table.machine.waiting) == 7
    assert table.machine.stage is Stage.ROUND
    assert table.machine.suspects == frozenset()


def _at_masked():
    machine = _machine(PEOPLE[:5])
    machine.start(0.0)
    machine.stage = Stage.MASKED
    return machine


def test_a_complaint_names_another_member_and_only_about_sealed_shares():
    accuser, accused = PEOPLE[0].id, PEOPLE[1].id
    wrong = RefusalCode.SHARE_AUTH
    machine = _at_masked()
    machine.refused(accuser, Stage.MASKED, wrong, 0.0, accused)
    assert machine.complaints == {accuser: accused}
    assert machine.dropped == {accuser: "refused:SHARE_AUTH"}
    for about in (b"", accuser, PEOPLE[7].id):
        machine = _at_masked()
        machine.refused(accuser, Stage.MASKED, wrong, 0.0, about)
        assert machine.complaints == {}
    machine = _machine(PEOPLE[:5])
    machine.start(0.0)
    machine.refused(accuser, Stage.ROUND, wrong, 0.0, accused)
    assert machine.complaints == {}


def test_a_version_refusal_names_both_sides_versions_in_the_drop_reason():
    agent = PEOPLE[0].id
    for about, reason in (
        (b"\x00\x01\x00\x01", "refused:VERSION:agent-1-1:coordinator-2-2"),
        (b"\x00\x00\x00\x00", "refused:VERSION:unreadable"),
        (b"", "refused:VERSION"),
    ):
        machine = _machine(PEOPLE[:5])
        machine.start(0.0)
        machine.refused(agent, Stage.ROUND, RefusalCode.VERSION, 0.0, about)
        assert machine.dropped == {agent: reason}


def _plan(goal=3, minimum=3, **secagg):
    return Plan.model_validate(
        {
            "task": {"id": "feature-head"},
            "training": {"steps": 1, "clip_norm": 1.0, "learning_rate": 1.0, "epsilon": 1.0},
            "rounds": {"count": 1, "goal": goal, "minimum": minimum},
            "secagg": secagg,
        }
    )


def test_a_plan_cuts_by_itself_what_one_graph_should_not_hold():
    assert (_plan(goal=700).cohort_max, _plan(goal=700).sum_max) == (923, 923)
    large = _plan(goal=3000)
    assert (large.cohort_max, large.sum_max, large.shard_min) == (3847, 500, 250)
    chosen = _plan(goal=100, shard_max=40, shard_min=20)
    assert (chosen.sum_max, chosen.shard_min) == (40, 20)
    assert _plan(goal=3, shard_max=40).sum_max == 9


@pytest.mark.parametrize(
    ("values", "rule"),
    [
        ({"goal": 100, "shard_max": 4, "n_min": 5, "minimum": 5}, "shard_max 4 is below n_min 5"),
        ({"goal": 100, "shard_max": 40, "shard_min": 30}, "at most half of shard_max"),
        ({"goal": 9, "shard_max": 4, "n_min": 3}, "at most half of shard_max"),
        ({"goal": 3, "c_min": 8}, "has no parameters"),
        ({"goal": 3000, "c_min": 600}, "neither whole nor in shards"),
        ({"goal": 100, "shard_max": 40, "shard_min": 5, "c_min": 5}, "a cohort of 5 has no"),
    ],
    ids=str,
)
def test_a_plan_that_could_not_be_cut_is_refused_when_it_is_read(values, rule):
    with pytest.raises(ValidationError, match=rule):
        _plan(**values)


def test_a_plan_for_two_or_three_is_accepted_with_warnings():
    two = _plan(goal=2, minimum=2, n_min=2, c_min=0, n_max=2)
    assert any("computes the other's update" in notice for notice in two.notices)
    assert any("tolerates no loss" in notice for notice in _plan().notices)
    assert any("no parameters" in n for n in _plan(goal=4, minimum=2, n_min=2, c_min=1).notices)
    assert _plan(goal=6, minimum=5).notices == ()
