"""What happens when something dies, restarts, comes late or never: nobody hangs, nothing is lost
silently. Real SuperLink, real links; times are bounds for a busy two-core machine."""

import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import pytest
from fleet_raw_bench import RawAgent, code, nonsense
from load_bench import Stopwatch
from ports_bench import free_port
from processes_bench import alive
from transport_bench import PATIENCE_S, Bench, await_true, federation

from edgeveil.coordinator.flower_runtime import superlink
from edgeveil.coordinator.machine.transport import Lost
from edgeveil.shared.base.errors import TransportError
from edgeveil.shared.wire.messages import Stage

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def bench():
    with federation(2) as running:
        yield running


@pytest.fixture(scope="module")
def manual():
    with federation(1, links=False) as running:
        yield running


def one(bench: Bench, stage: Stage = Stage.SHARE, attempt: int = 1) -> dict:
    agent = bench.agents[0]
    return {agent.agent_id: bench.requests(stage, attempt)[agent.agent_id]}


def next_session(bench: Bench) -> RawAgent:
    agent = bench.agents[0]
    agent.session += 1
    return RawAgent(bench, agent, session=agent.session)


def test_an_agent_that_never_activated_is_not_sent_to(manual):
    assert manual.runtime.send(one(manual), ttl_s=5) == frozenset()
    assert manual.gateway.store.bytes_held == 0


def test_a_restarted_agent_gets_the_same_request_again_at_once(manual):
    dead = next_session(manual)
    dead.activate()
    manual.runtime.send(one(manual), ttl_s=30)
    first = dead.receive()
    reborn = next_session(manual)
    assert reborn.activate().status_code == 200
    with Stopwatch() as watch:
        assert manual.runtime.receive(0.3) == []  # the driver's thread re-sends
        again = reborn.receive()
    assert watch.within(2), watch
    assert again.content["secagg"] == first.content["secagg"]
    assert code(dead.announce(nonsense(first, a=b"b"))[0]) == (409, "superseded")
    manual.runtime.forget()


def test_an_agent_that_asks_again_without_answering_is_given_up_after_three_times(manual):
    agent = next_session(manual)
    agent.activate()
    manual.runtime.send(one(manual), ttl_s=30)
    found = []
    stop = threading.Event()

    def ask() -> None:
        for _ in range(3):
            agent.receive()
        agent.post("pull-messages", agent_poll(agent))

    thread = threading.Thread(target=ask)
    thread.start()
    found = manual.collect(1)
    assert [item.lost for item in found] == [Lost.FAILED]
    manual.runtime.set_members([])
    thread.join(PATIENCE_S)
    manual.runtime.set_members([manual.agents[0].member])
    manual.runtime.forget()
    stop.set()


def agent_poll(agent: RawAgent) -> bytes:
    from flwr.proto.fleet_pb2 import PullMessagesRequest

    return PullMessagesRequest(node=agent.node).SerializeToString()


def test_a_forgotten_attempt_leaves_nothing_behind(manual):
    agent = next_session(manual)
    agent.activate()
    manual.runtime.send(one(manual, attempt=1), ttl_s=30)
    late = agent.receive()
    manual.runtime.forget()
    manual.runtime.send(one(manual, attempt=2), ttl_s=30)  # never fetched
    manual.runtime.forget()
    manual.runtime.send(one(manual, attempt=3), ttl_s=30)
    assert code(agent.announce(nonsense(late, a=b"b"))[0]) == (403, "object")
    message = agent.receive()
    assert message.metadata.group_id == "1.3"
    assert manual.runtime.receive(0.2) == []
    manual.runtime.forget()
    assert manual.gateway.store.bytes_held == 0


def test_an_agent_not_heard_of_for_two_heartbeats_is_reported(manual):
    agent = next_session(manual)
    agent.activate()
    manual.runtime.send(one(manual), ttl_s=300)
    agent.receive()
    assert manual.runtime.receive(0.1) == []
    manual.clock.monotonic_offset += 70
    (incoming,) = manual.collect(1)
    assert incoming.lost is Lost.UNAVAILABLE
    assert not manual.runtime.presence()[incoming.agent_id].connected
    manual.runtime.forget()


def test_a_run_that_ends_under_us_is_an_error_and_the_next_attempt_gets_a_new_one(manual):
    agent = next_session(manual)
    agent.activate()
    from flwr.proto.control_pb2 import StopRunRequest

    runtime = manual.runtime
    old = runtime.run_id
    runtime._registry._control.StopRun(StopRunRequest(run_id=old))
    assert runtime.send(one(manual), ttl_s=30) == frozenset() or manual.collect(1)[0].lost
    runtime.forget()
    assert runtime.alive()
    assert runtime.run_id not in (0, old)
    requests = one(manual, attempt=2)
    assert runtime.send(requests, ttl_s=30) == frozenset(requests)
    assert agent.receive().metadata.run_id == runtime.run_id
    runtime.forget()


def rotate(bench: Bench) -> int:
    """Let the attempt end after more messages than a Flower run takes; the number of the old one."""
    old = bench.runtime.run_id
    bench.runtime._mailbox.sent = 3001
    bench.runtime.forget()
    assert bench.runtime.run_id != old
    return old


def test_a_long_run_is_rotated_between_attempts_and_superlink_frees_it(manual, monkeypatch):
    agent = next_session(manual)
    agent.activate()
    old = manual.runtime.run_id
    manual.runtime.forget()
    assert manual.runtime.run_id == old
    listed = listed_runs(manual, monkeypatch)
    assert rotate(manual) == old
    assert old in listed.pop()
    manual.runtime.send(one(manual), ttl_s=30)
    assert agent.receive().metadata.run_id == manual.runtime.run_id
    manual.runtime.forget()


def test_a_run_that_could_not_be_freed_costs_no_attempt_and_is_freed_with_the_next(
    manual, monkeypatch
):
    agent = next_session(manual)
    agent.activate()
    with monkeypatch.context() as broken:
        broken.setattr(manual.runtime._registry._control, "ListRuns", fails)
        missed = rotate(manual)
    assert ("superlink.error", "", "not_swept") in manual.events.seen
    requests = one(manual)
    assert manual.runtime.send(requests, ttl_s=30) == frozenset(requests)
    manual.runtime.forget()
    listed = listed_runs(manual, monkeypatch)
    last = rotate(manual)
    assert {missed, last} <= listed.pop()


def fails(request):
    raise httpx.ConnectError("no answer")


def listed_runs(bench: Bench, monkeypatch) -> list[set[int]]:
    """Of every sweep from now on, the finished runs that SuperLink listed and so freed."""
    control, found = bench.runtime._registry._control, []
    real = control.ListRuns

    def listing(request):
        answer = real(request)
        runs = answer.run_dict.items()
        found.append({number for number, run in runs if run.status.status == "finished"})
        return answer

    monkeypatch.setattr(control, "ListRuns", listing)
    return found


def test_a_handler_that_raises_costs_one_reply_and_says_nothing(bench):
    secret = "the canary that must stay on the device"

    def fail(request):
        raise ValueError(secret)

    broken, well = bench.agents
    broken.handle = fail
    try:
        incoming = {item.agent_id: item for item in bench.exchange(bench.requests(Stage.SHARE))}
    finally:
        broken.handle = broken.echo
    assert incoming[broken.agent_id].lost is Lost.FAILED
    assert incoming[well.agent_id].reply is not None
    assert secret not in repr(bench.events.seen) + repr(incoming)
    bench.runtime.forget()


def test_a_slow_handler_is_waited_for_and_its_reply_comes(bench):
    slow, go_on = bench.agents[0], threading.Event()

    def wait(request):
        go_on.wait(2 * PATIENCE_S)
        return slow.echo(request)

    slow.handle = wait
    try:
        assert bench.runtime.send(bench.requests(Stage.ROUND), ttl_s=200)
        assert [found.agent_id for found in bench.collect(1)] == [bench.agents[1].agent_id]
        assert bench.runtime.presence()[slow.agent_id].connected
        go_on.set()
        (late,) = bench.collect(1)
    finally:
        go_on.set()
        slow.handle = slow.echo
    assert late.reply is not None
    bench.runtime.forget()


def test_stopping_a_waiting_agent_takes_a_second_and_is_noticed(bench):
    agent = bench.agents[1]
    with Stopwatch() as watch:
        agent.stop()
    assert watch.within(2), watch
    assert agent.error is None
    assert not bench.runtime.presence()[agent.agent_id].connected
    agent.start(bench.url, bench.certificate)
    bench.await_connected([agent])
    assert len(bench.exchange(bench.requests(Stage.SHARE))) == 2
    bench.runtime.forget()


def test_stopping_an_agent_at_work_takes_less_than_ten_seconds(bench):
    agent = bench.agents[1]
    hold = threading.Event()

    def stuck(request):
        hold.wait(2 * PATIENCE_S)
        return agent.echo(request)

    agent.handle = stuck
    bench.runtime.send({agent.agent_id: bench.requests(Stage.ROUND)[agent.agent_id]}, ttl_s=30)
    await_true(lambda: agent.status[-1].startswith("working"), PATIENCE_S, "it got no work")
    with Stopwatch() as watch:
        agent.stop()
    assert watch.within(10), watch
    hold.set()
    agent.handle = agent.echo
    bench.runtime.forget()
    agent.start(bench.url, bench.certificate)
    bench.await_connected([agent])


def test_members_come_and_go_while_an_exchange_is_running(bench):
    members = [agent.member for agent in bench.agents]
    stop = threading.Event()

    def churn() -> None:
        from transport_bench import BenchAgent

        while not stop.is_set():
            bench.runtime.set_members([*members, BenchAgent("guest").member])
            bench.runtime.set_members(members)

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        for attempt in range(1, 6):
            incoming = bench.exchange(
                bench.requests(Stage.SHARE, attempt, bulk=os.urandom(100_000))
            )
            assert all(item.reply is not None for item in incoming)
    finally:
        stop.set()
        thread.join(10)
    bench.runtime.forget()


def test_agents_come_back_after_the_coordinator_restarts_on_the_same_port():
    with federation(3) as bench:
        port = bench.gateway.port
        bench.gateway.stop()
        bench.runtime.stop()
        for agent in bench.agents:
            await_true(
                lambda a=agent: "no connection" in a.status[-1], PATIENCE_S, "nobody noticed"
            )
        successor = Bench(0)
        successor.agents, successor.by_id = bench.agents, bench.by_id
        (successor.home / "gateway.crt").write_bytes(bench.certificate)
        (successor.home / "gateway.key").write_bytes((bench.home / "gateway.key").read_bytes())
        successor.certificate = bench.certificate
        try:
            successor.start(links=False, port=port)
            with Stopwatch() as watch:
                successor.await_connected()
            assert watch.within(10), watch
            assert len(successor.exchange(successor.requests(Stage.SHARE))) == 3
        finally:
            successor.stop()


def test_a_dead_superlink_is_noticed_and_never_hidden():
    with federation(1) as bench:
        assert bench.runtime.alive()
        os.kill(bench.runtime.superlink_pid, signal.SIGKILL)
        await_true(lambda: not bench.runtime.alive(), PATIENCE_S, "nobody noticed")
        with pytest.raises(TransportError, match="restart the coordinator"):
            bench.runtime.receive(1)
        with pytest.raises(TransportError, match="restart the coordinator"):
            bench.runtime.send(bench.requests(Stage.SHARE), ttl_s=5)
        assert "superlink.stop" in bench.events.names()
        assert bench.agents[0].error is None


def started_on(folder, monkeypatch, *ports):
    """A SuperLink that is given these ports one after another, and what it logged."""
    events, given = [], iter(ports)
    monkeypatch.setattr(superlink, "_free_port", lambda: next(given))
    made = superlink.SuperLink(folder, lambda event, **_more: events.append(str(event)))
    try:
        made.start()
    finally:
        made.stop()
    return made.address, events


def test_a_port_that_was_taken_meanwhile_costs_superlink_one_more_start(tmp_path, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as busy:
        taken, free = busy.getsockname()[1], free_port()
        address, events = started_on(tmp_path, monkeypatch, taken, free)
        assert address == f"127.0.0.1:{free}"
        assert events[-1] == "superlink.start"
        with pytest.raises(TransportError, match="already in use"):
            started_on(tmp_path, monkeypatch, *[taken] * 3)
    assert not (tmp_path / "superlink.pid").exists()


def test_superlink_dies_with_its_coordinator(tmp_path):
    script = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from edgeveil.coordinator.flower_runtime.superlink import SuperLink\n"
        "link = SuperLink(Path(sys.argv[1]), lambda *a, **k: None)\n"
        "link.start()\n"
        "print(link.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, cwd=ROOT
    )
    pid = int(parent.stdout.readline())
    os.kill(pid, 0)
    parent.kill()
    parent.wait(20)
    await_true(lambda: not alive(pid), PATIENCE_S, "an orphan is left")
