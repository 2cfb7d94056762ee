"""The round machine is a pure function of what it was told, and what it was told is plain data.

So its state needs no format of its own: written as JSON, the events of any beginning of an attempt bring
a new machine to the same state, which goes on identically (docs/design.md, "State").
"""

import base64
import copy
import json
from types import SimpleNamespace

from hypothesis import given, settings
from hypothesis import strategies as st
from secagg_bench import params
from toy_machine_bench import toy_stages

from edgeveil.coordinator.machine.attempt import Deadlines, RoundMachine
from edgeveil.coordinator.machine.machine import Finish, Send
from edgeveil.shared.base.errors import RefusalCode
from edgeveil.shared.wire.messages import Stage

MOST = 7
AGENTS = [number.to_bytes(16, "big") for number in range(MOST)]
CODES = [RefusalCode.POLICY_SIGMA, RefusalCode.VERSION, RefusalCode.SHARE_AUTH]


def machine(asked, goal):
    members = dict.fromkeys(AGENTS[:asked], b"")
    setup = SimpleNamespace(members=members, params=params(max(asked, 3), lanes=3))
    return RoundMachine(setup, tuple(members), min(goal, asked), 3, Deadlines(30.0))


def tell(told, event):
    """One event of JSON values to the machine; the actions it wants."""
    kind, who, stage, code, now = event
    agent, at = base64.b64decode(who), Stage(stage)
    match kind:
        case "start":
            return told.start(now)
        case "reply":
            return told.reply(agent, at, b"", None, now)
        case "refused":
            return told.refused(agent, at, RefusalCode(code), now, b"")
        case "invalid":
            return told.invalid(agent, at, RefusalCode(code), now)
        case "lost":
            return told.lost([agent], now)
        case _:
            return told.tick(now)


def view(told):
    """Everything a driver can see of the machine."""
    return (
        told.stage, told.deadline, told.waiting, told.answered, told.done, dict(told.dropped),
        dict(told.stage_seconds), dict(told.answer_seconds), dict(told.complaints), told.suspects,
    )  # fmt: skip


def shown(actions):
    """Actions as values that can be compared; a sum by who is in it."""
    return [
        (action.stage, action.agents, dict(action.bodies), action.deadline_s)
        if isinstance(action, Send)
        else action.result.u3
        if isinstance(action, Finish)
        else action
        for action in actions
    ]


@st.composite
def attempts(draw):
    """(asked, goal, events) of one attempt: mostly answers, in any order, with some of everything else."""
    asked = draw(st.integers(3, MOST))
    goal = draw(st.integers(3, MOST))
    now, events = 0.0, [("start", "", Stage.ROUND, "", 0.0)]
    for stage in Stage:
        for agent in draw(st.permutations(AGENTS[:asked])):
            kind = draw(
                st.sampled_from(["reply"] * 12 + ["refused", "invalid", "lost", "tick", ""])
            )
            now += draw(st.sampled_from([0.0, 0.25, 1.0]))
            code = draw(st.sampled_from(CODES))
            if kind:
                events.append((kind, base64.b64encode(agent).decode(), stage, code, now))
        now += draw(st.sampled_from([0.0, 100.0]))
        events.append(("tick", "", stage, "", now))
    return asked, goal, events


@settings(max_examples=150, deadline=None)
@given(attempts(), st.data())
def test_a_machine_restored_from_any_beginning_goes_on_identically(attempt, data):
    asked, goal, events = attempt
    stored = json.dumps(events)
    with toy_stages():
        first, said, seen = machine(asked, goal), [], []
        for event in events:
            said.append(shown(tell(first, event)))
            seen.append(view(first))
        cut = data.draw(st.integers(1, len(events)), label="events before the crash")
        restored = machine(asked, goal)
        for event in json.loads(stored)[:cut]:
            tell(restored, event)
        assert view(restored) == seen[cut - 1]
        for place, event in enumerate(json.loads(stored)[cut:], cut):
            assert shown(tell(restored, event)) == said[place]
            assert view(restored) == seen[place]


@settings(max_examples=50, deadline=None)
@given(attempts())
def test_a_machine_keeps_nothing_outside_itself(attempt):
    """Two copies that are told the same, in turn, do not disturb each other."""
    asked, goal, events = attempt
    with toy_stages():
        one = machine(asked, goal)
        two = copy.deepcopy(one)
        for event in events:
            assert shown(tell(one, event)) == shown(tell(two, event))
            assert view(one) == view(two)
