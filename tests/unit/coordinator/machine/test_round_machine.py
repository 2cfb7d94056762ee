"""The round machine against real sessions: stages close, drops are named, quorums decide."""

import itertools
import random

import pytest
from secagg_bench import CTX, LENIENT, identities, one_hot, params

from edgeveil.coordinator.machine.attempt import Deadlines, RoundMachine
from edgeveil.coordinator.machine.machine import Abort, Finish, Send
from edgeveil.shared.base.errors import RefusalCode
from edgeveil.shared.secagg.client.session import ClientSession
from edgeveil.shared.secagg.server.stages import ServerSetup
from edgeveil.shared.wire.messages import Stage

STAGES = (Stage.ROUND, Stage.SHARE, Stage.MASKED, Stage.AGREE, Stage.UNMASK)


class Table:
    """Agents around one machine; `absent` maps a stage to the agents that stay silent from it on."""

    def __init__(self, n, *, goal=None, minimum=3):
        self.people = identities(n)
        self.wanted = params(n)
        self.setup = ServerSetup(CTX, self.wanted, {one.id: one.public for one in self.people})
        self.now = 100.0
        self.machine = RoundMachine(
            setup=self.setup,
            selected=tuple(one.id for one in self.people),
            goal=goal or n,
            minimum=minimum,
            deadlines=Deadlines(round_s=30.0),
        )
        self.sessions = {
            one.id: ClientSession(
                ctx=CTX,
                params=self.wanted,
                members=self.setup.members,
                signer=one,
                policy=LENIENT,
                vector=one_hot(place, self.wanted),
            )
            for place, one in enumerate(self.people)
        }

    def answer(self, agent, stage, body):
        session = self.sessions[agent]
        match stage:
            case Stage.ROUND:
                return session.advert(), None
            case Stage.SHARE:
                return session.share(body), None
            case Stage.MASKED:
                return session.masked(body)
            case Stage.AGREE:
                return session.agree(body), None
            case _:
                return session.unmask(body), None

    def play(self, absent=None):
        """Run to the end; whoever is absent never answers again. Returns the last action."""
        gone = set()
        actions = self.machine.start(self.now)
        while True:
            (action,) = actions
            if not isinstance(action, Send):
                return action
            gone |= (absent or {}).get(action.stage, set())
            actions = []
            for agent in action.agents:
                if agent in gone or actions:
                    continue
                body, bulk = self.answer(agent, action.stage, action.bodies.get(agent, b""))
                actions = self.machine.reply(agent, action.stage, body, bulk, self.now)
            if not actions:
                assert self.machine.tick(self.machine.deadline - 0.001) == []
                self.now = self.machine.deadline
                actions = self.machine.tick(self.now)


def test_five_exchanges_reveal_exactly_the_sum_of_all():
    table = Table(4)
    last = table.play()
    assert isinstance(last, Finish)
    assert last.result.segment("params").tolist() == [1, 1, 1, 1]
    assert table.machine.dropped == {}
    assert set(table.machine.stage_seconds) == {stage.name.lower() for stage in STAGES}


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("victim", range(4))
def test_four_agents_survive_the_loss_of_one_at_every_stage(stage, victim):
    table = Table(4)
    agent = table.people[victim].id
    last = table.play({stage: {agent}})
    assert isinstance(last, Finish)
    in_sum = stage in (Stage.AGREE, Stage.UNMASK)
    expected = [1 if place != victim or in_sum else 0 for place in range(4)]
    assert last.result.segment("params").tolist() == expected
    assert table.machine.dropped == {agent: "deadline"}


@pytest.mark.parametrize("seed", range(24))
def test_with_thirty_per_cent_lost_at_any_stage_the_sum_is_exact_or_the_abort_says_why(seed):
    chance = random.Random(seed)
    table = Table(8)
    lost = {}
    for one in table.people:
        if chance.random() < 0.3:
            lost.setdefault(chance.choice(STAGES), set()).add(one.id)
    last = table.play(lost)
    if isinstance(last, Abort):
        assert last.reason in {"COHORT_TOO_SMALL", "QUORUM", "GRAPH_MISMATCH"}
        assert last.detail
        assert lost
        return
    before = set().union(*(lost.get(stage, set()) for stage in STAGES[:3]))
    expected = [int(one.id not in before) for one in table.people]
    assert last.result.segment("params").tolist() == expected


def test_three_agents_survive_no_loss_and_the_reason_is_the_cohort():
    table = Table(3)
    last = table.play({Stage.MASKED: {table.people[0].id}})
    assert isinstance(last, Abort)
    assert last.reason == "COHORT_TOO_SMALL"


@pytest.mark.parametrize(
    ("refusing", "reason"), [(4, "VERSION"), (3, "VERSION"), (2, "COHORT_TOO_SMALL")]
)
def test_the_code_most_of_the_lost_agents_refuse_with_is_the_attempts_reason(refusing, reason):
    table = Table(4)
    table.machine.start(table.now)
    for one in table.people[:refusing]:
        last = table.machine.refused(one.id, Stage.ROUND, RefusalCode.VERSION, table.now)
    for one in table.people[refusing:]:
        last = table.machine.lost([one.id], table.now)
    assert [action.reason for action in last] == [reason]


def test_too_few_adverts_abort_with_the_numbers():
    table = Table(4)
    last = table.play({Stage.ROUND: {one.id for one in table.people[:2]}})
    assert last == Abort("COHORT_TOO_SMALL", "2 of 4 agents answered, 3 needed")


def test_the_goal_closes_the_first_stage_and_late_agents_are_told_apart():
    table = Table(5, goal=4)
    last = table.play()
    assert isinstance(last, Finish)
    assert list(table.machine.dropped.values()) == ["late"]


def test_a_refusal_names_its_code_and_a_lost_agent_its_loss():
    table = Table(5)
    table.machine.start(0.0)
    first, second = table.people[0].id, table.people[1].id
    exhausted = RefusalCode.BUDGET_EXHAUSTED
    assert table.machine.refused(first, Stage.ROUND, exhausted, 0.0) == []
    assert table.machine.lost([second], 0.0) == []
    assert table.machine.dropped == {first: "refused:BUDGET_EXHAUSTED", second: "lost"}


def test_a_late_refusal_of_an_earlier_stage_changes_nothing():
    """A repeated request can reach an agent after it went on; its answer STATE is about the past."""
    table = Table(4)
    table.machine.start(0.0)
    for one in table.people:
        body = table.sessions[one.id].advert()
        table.machine.reply(one.id, Stage.ROUND, body, None, 0.0)
    assert table.machine.stage is Stage.SHARE
    agent = table.people[0].id
    assert table.machine.refused(agent, Stage.ROUND, RefusalCode.STATE, 0.0) == []
    assert table.machine.invalid(agent, Stage.ROUND, RefusalCode.MALFORMED, 0.0) == []
    assert agent in table.machine.waiting
    assert table.machine.dropped == {}


def test_a_broken_advert_drops_its_sender_and_nobody_else():
    table = Table(4)
    table.machine.start(0.0)
    agent = table.people[0].id
    good = table.sessions[agent].advert()
    table.machine.reply(agent, Stage.ROUND, good[:-1] + bytes([good[-1] ^ 1]), None, 0.0)
    assert set(table.machine.dropped) == {agent}
    assert table.machine.dropped[agent].startswith("invalid:")


def test_answers_of_another_stage_repeated_answers_and_strangers_change_nothing():
    table = Table(4)
    table.machine.start(0.0)
    agent = table.people[0].id
    body = table.sessions[agent].advert()
    assert table.machine.reply(agent, Stage.AGREE, body, None, 0.0) == []
    table.machine.reply(agent, Stage.ROUND, body, None, 0.0)
    before = dict(table.machine.dropped), table.machine.answered
    table.machine.reply(agent, Stage.ROUND, body, None, 0.0)
    table.machine.reply(bytes(16), Stage.ROUND, body, None, 0.0)
    assert (dict(table.machine.dropped), table.machine.answered) == before


def test_nothing_happens_after_the_end():
    table = Table(3)
    table.play({Stage.ROUND: {one.id for one in table.people}})
    assert table.machine.done
    for agent, stage in itertools.product((one.id for one in table.people), STAGES):
        assert table.machine.reply(agent, stage, b"", None, 1e9) == []
    assert table.machine.tick(1e9) == []
