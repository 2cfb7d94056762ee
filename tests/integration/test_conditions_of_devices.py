"""Power and load from the device to the draw: told over the real wire, required by a plan, declined by an
owner's rule, and shown to the operator."""

import pytest
from fakes_federation import Federation, plan_for
from fleet_raw_bench import RawAgent, code
from transport_bench import await_true, federation

from edgeveil.agent.ledger.budget import read_budget
from edgeveil.coordinator.federation.membership import agents_of
from edgeveil.coordinator.reports.tables import round_tables
from edgeveil.shared.base.errors import PolicyRefusal, RefusalCode
from edgeveil.shared.terminal.console import stdout
from edgeveil.shared.wire.condition import PATH, Condition
from edgeveil.shared.wire.messages import Stage

ON_BATTERY = Condition(charging=False, battery=True, idle=True)


@pytest.fixture(scope="module")
def bench():
    with federation(1) as running:
        yield running


def told(bench, agent):
    return bench.gateway.presence()[agent.agent_id].condition


def test_a_device_tells_its_condition_before_it_polls_and_again_when_it_changes(bench):
    (agent,) = bench.agents
    assert told(bench, agent) is None
    agent.condition = ON_BATTERY
    bench.exchange(bench.requests(Stage.SHARE))  # ends the held poll
    await_true(lambda: told(bench, agent) == ON_BATTERY, 60, "nothing was told")
    agent.condition = Condition(charging=True, battery=True, idle=True)
    bench.exchange(bench.requests(Stage.SHARE))
    await_true(lambda: told(bench, agent) == agent.condition, 60, "the change was not told")


def test_a_new_session_has_told_nothing_yet(bench):
    (agent,) = bench.agents
    agent.condition = ON_BATTERY
    bench.exchange(bench.requests(Stage.SHARE))
    await_true(lambda: told(bench, agent) is not None, 60, "nothing was told")
    agent.stop()
    agent.condition = None
    agent.start(bench.url, bench.certificate)
    bench.await_connected()
    assert told(bench, agent) is None


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        (b'{"charging": 1}', 400, "malformed"),
        (b'{"charging": true, "level": 41}', 400, "malformed"),
        (b"{" + b" " * 200 + b"}", 413, "oversize"),
    ],
)
def test_anything_but_three_flags_is_refused(bench, body, status, reason):
    (agent,) = bench.agents
    raw = RawAgent(bench, agent)
    raw.session = f"{agent.session}.{tag_of(bench, agent)}"
    answer = post(raw, body)
    assert code(answer) == (status, reason)


def test_a_condition_needs_the_identitys_signature(bench):
    (agent,) = bench.agents
    raw = RawAgent(bench, agent)
    headers = raw.headers(PATH, b"{}")
    answer = raw.client.post(PATH, content=ON_BATTERY.encode(), headers=headers)
    assert code(answer) == (409, "superseded")
    raw.session = f"{agent.session}.{tag_of(bench, agent)}"
    headers = raw.headers(PATH, b"{}")
    answer = raw.client.post(PATH, content=ON_BATTERY.encode(), headers=headers)
    assert code(answer) == (401, "signature")


def tag_of(bench, agent):
    return bench.gateway._nodes.agent(agent.agent_id).session.tag


def post(raw, body):
    return raw.client.post(PATH, content=body, headers=raw.headers(PATH, body))


def test_an_older_coordinator_that_does_not_listen_is_left_in_peace(bench, monkeypatch):
    (agent,) = bench.agents
    asked = []

    async def not_found(scope, *_rest):
        asked.append(scope["path"])
        from edgeveil.coordinator.gateway.vocabulary import Reason, Rejected

        raise Rejected(Reason.NOT_FOUND)

    monkeypatch.setitem(bench.gateway._routes._signed, PATH, not_found)
    agent.condition = ON_BATTERY
    for _turn in range(2):
        assert len(bench.exchange(bench.requests(Stage.SHARE))) == 1
        agent.condition = Condition(charging=True)
    assert asked == [PATH]
    assert agent.error is None


@pytest.fixture
def world(tmp_path):
    made = Federation(tmp_path, agents=5)
    yield made
    made.close()


def test_a_plan_asks_only_devices_that_do_not_say_otherwise_and_shows_why(world):
    world.wire.conditions = {
        world.id_of("agent-1"): ON_BATTERY,
        world.id_of("agent-2"): Condition(charging=True, battery=True, idle=False),
        world.id_of("agent-3"): Condition(charging=True, battery=True, idle=True),
    }
    plan = plan_for(3, rounds__count=1, rounds__require=("charging", "idle"))
    world.train(plan)
    (record,) = world.store.rounds()
    assert record.selected == ("agent-3", "agent-4", "agent-5")
    assert record.not_asked == {"agent-1": "not-charging", "agent-2": "busy"}
    with stdout.capture() as shown:
        for table in round_tables([record], []):
            stdout.print(table)
    text = shown.get()
    for name, reason in record.not_asked.items():
        (line,) = [row for row in text.splitlines() if name in row]
        assert "not asked" in line
        assert reason in line


def test_a_device_whose_owner_says_not_now_declines_and_is_charged_nothing(world):
    home = world.homes[0]

    def not_now():
        raise PolicyRefusal(RefusalCode.POLICY_WHEN, "only on outside power")

    world.may_train[home] = not_now
    world.train(plan_for(4, rounds__count=1), ask=False)
    (record,) = world.store.rounds()
    assert record.dropped_reasons["agent-1"] == "refused:POLICY_WHEN"
    assert "agent-1" not in record.charged()
    assert read_budget(home.path).rounds == 0
    assert any("only on outside power" in status for status in world.statuses)


def test_the_operators_list_tells_what_devices_tell(world):
    world.wire.conditions = {world.id_of("agent-1"): ON_BATTERY}
    listed = {
        row["name"]: row["condition"] for row in agents_of(world.store, world.wire.presence())
    }
    assert listed["agent-1"] == {"charging": False, "battery": True, "idle": True}
    assert listed["agent-2"] is None
