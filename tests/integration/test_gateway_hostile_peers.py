"""Requests that two readers could read in two ways, replays, and agents that take more than their share."""

import os
import socket
import threading
import time
from contextlib import contextmanager

import httpx
import pytest
from certificates_bench import Operator
from fleet_raw_bench import FLEET, RawAgent, code, connected_pair, pull_body
from load_bench import Stopwatch
from transport_bench import PATIENCE_S, Bench, await_true, federation

from edgeveil.coordinator.gateway.vocabulary import GatewaySettings
from edgeveil.shared.flower.codec import encode_reply
from edgeveil.shared.wire.certificates import pinned_context
from edgeveil.shared.wire.messages import Stage, make_reply

FEW_CONNECTIONS = GatewaySettings(most_connections_per_agent=6)


@pytest.fixture(scope="module")
def bench():
    with federation(2, FEW_CONNECTIONS, links=False) as running:
        yield running


@pytest.fixture
def pair(bench):
    with connected_pair(bench) as agents:
        yield agents


def answers(bench, data, wait_s=PATIENCE_S):
    """Everything that comes back for these bytes, and whether the gateway closed the connection."""
    raw = socket.create_connection(("127.0.0.1", bench.gateway.port), timeout=wait_s)
    with pinned_context(bench.certificate).wrap_socket(raw, server_hostname="127.0.0.1") as sock:
        sock.sendall(data)
        found = b""
        try:
            while piece := sock.recv(65536):
                found += piece
        except TimeoutError:
            return found, False
        except OSError:
            pass
    return found, True


SECOND = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"
CHUNKED = b"transfer-encoding: chunked\r\n"
POST, GET = b"POST /v1/join HTTP/1.1\r\nhost: x\r\n", b"GET /healthz HTTP/1.1\r\nhost: x\r\n"


@pytest.mark.parametrize(
    "request_bytes",
    [
        POST + b"content-length: 4\r\n" + CHUNKED + b"\r\n0\r\n\r\n",
        POST + b"content-length: 4\r\ncontent-length: 5\r\n\r\nabcde",
        POST + b"content-length: +4\r\n\r\nabcd",
        POST + b"content-length: " + b"9" * 5000 + b"\r\n\r\n",
        POST + CHUNKED + CHUNKED + b"\r\n0\r\n\r\n",
        POST + b"transfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
        POST + b"transfer-encoding : chunked\r\n\r\n0\r\n\r\n",
        POST + b"transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        POST + CHUNKED + b"\r\n-1\r\nabc\r\n0\r\n\r\n",
        GET + b"content-length: %d\r\n\r\n" % len(SECOND),
        GET + CHUNKED + b"\r\n0\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nhost: x\r\nhost: y\r\n\r\n",
        b"GET /healthz\r\n\r\n",
        b"GET /healthz HTTP/1.0\r\nhost: x\r\n\r\n",
        GET + b"\r\n",  # two requests at once
        GET + b"expect: 100-continue\r\n\r\n",
        GET + b"connection: upgrade\r\nupgrade: h2c\r\n\r\n",
        GET + b"x: a\r\n b\r\n\r\n",
        GET + b"x: a\rb\r\n\r\n",
        GET + b"x: a\nb: c\r\n\r\n",
        GET + b"x: 1\r\n" * 50 + b"\r\n",
        GET + b"x: " + b"y" * 9000 + b"\r\n\r\n",
    ],
)
def test_a_request_whose_end_is_disputable_ends_the_connection(bench, request_bytes):
    """Behind a proxy that reads it in another way, the rest would be somebody else's request."""
    found, closed = answers(bench, request_bytes + SECOND)
    assert closed
    assert found.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 411 "))
    assert found.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize(
    "target",
    [
        "/%68ealthz", "/healthz?x=1", "/HEALTHZ", "/healthz/", "//healthz", "/./healthz",
        "/v1/../healthz", "http://evil/healthz", "/healthz%00", "/v1/fleet/pull%2dmessages",
    ],
)  # fmt: skip
def test_a_route_has_one_spelling(bench, target):
    for method in ("GET", "POST"):
        data = f"{method} {target} HTTP/1.1\r\nhost: x\r\n\r\n".encode()
        found, closed = answers(bench, data)
        assert found.startswith(b"HTTP/1.1 404 ")
        assert closed


def test_one_agent_holds_few_connections_and_the_oldest_leave_first(bench, pair):
    honest, evil = pair
    greedy = []
    for _ in range(20):
        evil.client = httpx.Client(base_url=bench.url, verify=pinned_context(bench.certificate), trust_env=False)  # fmt: skip
        greedy.append(evil.client)
        assert evil.pull_object(1, "0" * 64).status_code == 403
    assert honest.heartbeat().status_code == 200
    most = 2 + FEW_CONNECTIONS.most_connections_per_agent
    held = bench.gateway._server._state.connections
    await_true(lambda: len(held) <= most, PATIENCE_S, "more connections than are allowed")
    assert code(evil.pull_object(1, "0" * 64)) == (403, "object")
    for client in greedy:
        client.close()


class Recorded:
    """Every request of an agent as it went over the wire."""

    def __init__(self, agent: RawAgent) -> None:
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        agent.client.event_hooks = {"request": [self._take]}

    def _take(self, request: httpx.Request) -> None:
        headers = {k: v for k, v in request.headers.items() if k.startswith(("flwr", "edgeveil"))}
        self.requests.append((request.url.path, headers, request.content))

    def again(self, bench: Bench) -> dict[str, set[tuple[int, str]]]:
        found: dict[str, set[tuple[int, str]]] = {}
        with httpx.Client(base_url=bench.url, verify=pinned_context(bench.certificate), trust_env=False) as thief:  # fmt: skip
            for path, headers, body in self.requests:
                answer = thief.post(path, content=body, headers=headers)
                shown = (200, "") if answer.status_code == 200 else code(answer)
                found.setdefault(path.removeprefix(FLEET), set()).add(shown)
        return found


def a_whole_exchange(bench, agent):
    """Every operation once or more, in an honest agent's order, and work left waiting at the end."""
    requests = bench.requests(Stage.SHARE, bulk=os.urandom(1000))
    bench.runtime.send(requests, ttl_s=30)
    message = agent.receive()
    from flwr.app import Message

    reply = make_reply(agent.agent.identity, agent.agent.agent_id, requests[agent.agent.agent_id], b"x")  # fmt: skip
    agent.send(Message(encode_reply(reply), reply_to=message))
    assert agent.heartbeat().status_code == 200


def test_a_request_recorded_before_a_restart_opens_nothing_after_it():
    """The nonces are gone with the process; what is left is bound to node ids that are gone too.

    All but the activation, and that gives the thief a node id it cannot sign for.
    """
    with federation(1, links=False) as first:
        honest = RawAgent(first, first.agents[0])
        record = Recorded(honest)
        assert honest.activate().status_code == 200
        a_whole_exchange(first, honest)
        assert set.union(*record.again(first).values()) == {(401, "signature")}
        port = first.gateway.port
        first.gateway.stop()
        first.runtime.stop()
        with restarted(first, port) as second:
            found = record.again(second)
            assert found.pop("activate-node") == {(200, "")}
            assert set.union(*found.values()) == {(428, "activate_first")}
            second.runtime.send(second.requests(Stage.SHARE, 2), ttl_s=30)
            assert record.again(second)["pull-messages"] == {(401, "signature")}
            assert code(honest.post("pull-messages", pull_body(honest))) == (428, "activate_first")
            assert honest.activate().status_code == 200
            honest.receive()


@contextmanager
def restarted(first, port):
    second = Bench(0)
    second.agents, second.by_id, second.coordinator = first.agents, first.by_id, first.coordinator
    for name in ("gateway.crt", "gateway.key"):
        (second.home / name).write_bytes((first.home / name).read_bytes())
    second.certificate = first.certificate
    try:
        second.start(links=False, port=port)
        yield second
    finally:
        second.stop()


def test_a_clock_that_goes_back_brings_no_old_request_back(bench, pair):
    honest, _ = pair
    record = Recorded(honest)
    assert honest.heartbeat().status_code == 200
    # Half an hour passes and every nonce is given up; then the clock is set back by as much.
    bench.clock.monotonic_offset += 1800.0
    assert honest.post("pull-object", b"").status_code == 428
    assert record.again(bench)["send-node-heartbeat"] == {(401, "clock_skew")}
    anew = RawAgent(bench, honest.agent, session=2)
    assert anew.activate().status_code == 200, "a restart of the agent ends it"


def rotate(bench, operator, stop, made):
    """New leafs as fast as they can be made, each loaded while handshakes are under way."""
    while not stop.is_set():
        made.append(operator.deploy())
        bench.gateway.reload(operator.certificate, operator.key)


def test_handshakes_and_held_polls_survive_a_storm_of_new_certificates(tmp_path):
    operator = Operator(tmp_path)
    bench = Bench(30)
    (bench.home / "gateway.crt").write_bytes(operator.certificate.read_bytes())
    (bench.home / "gateway.key").write_bytes(operator.key.read_bytes())
    bench.certificate = (operator.ca / "ca.pem").read_bytes()
    stop, made, seen = threading.Event(), [], set()
    thread = threading.Thread(target=rotate, args=(bench, operator, stop, made))
    try:
        bench.start()
        thread.start()
        trusting = pinned_context(bench.certificate)
        end = time.monotonic() + 4
        while time.monotonic() < end or len(made) <= 20 or len(seen) <= 10:
            with (
                socket.create_connection(("127.0.0.1", bench.gateway.port)) as raw,
                trusting.wrap_socket(raw, server_hostname="127.0.0.1") as channel,
            ):
                seen.add(channel.getpeercert(binary_form=True))
        assert len(bench.exchange(bench.requests(Stage.SHARE))) == 30
        said = [sentence for agent in bench.agents for sentence in agent.status]
    finally:
        stop.set()
        thread.join(PATIENCE_S)
        bench.stop()
    assert len(made) > 20
    assert len(seen) > 10
    assert all(agent.error is None for agent in bench.agents)
    assert not [sentence for sentence in said if "no connection" in sentence]


def test_a_flood_of_joins_from_many_addresses_does_not_slow_an_agents_upload(bench, pair, monkeypatch):  # fmt: skip
    """Each join waits for the database; uploads are checked by other threads."""
    honest, _ = pair
    waiting = threading.Semaphore(0)
    monkeypatch.setattr(bench.gateway._routes, "_join", lambda *_: (waiting.acquire(timeout=20), (200, {}))[1])  # fmt: skip
    stop = threading.Event()

    def knock(number):
        transport = httpx.HTTPTransport(verify=pinned_context(bench.certificate), local_address=f"127.0.2.{number}")  # fmt: skip
        with httpx.Client(base_url=bench.url, transport=transport, timeout=30) as stranger:
            while not stop.is_set():
                stranger.post("/v1/join", content=b"{}")

    threads = [threading.Thread(target=knock, args=(n,)) for n in range(1, 41)]
    for thread in threads:
        thread.start()
    try:
        time.sleep(1)
        with Stopwatch() as watch:
            assert code(honest.post("push-object", os.urandom(1 << 20))) == (400, "malformed")
        assert watch.within(2), watch
    finally:
        stop.set()
        waiting.release(10_000)
        for thread in threads:
            thread.join(20)
