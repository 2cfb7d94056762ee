"""The agent's own side: whom it trusts, when it stops, and what it never does."""

import http.server
import os
import socket
import ssl
import threading
import time
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from certificates_bench import Operator
from load_bench import Stopwatch
from ports_bench import free_port
from transport_bench import PATIENCE_S, Bench, BenchAgent, await_true, federation

from edgeveil.agent.flower_link.fleet_client import server_address
from edgeveil.coordinator.flower_runtime.superlink import self_signed
from edgeveil.coordinator.gateway.vocabulary import GatewaySettings
from edgeveil.shared.base.errors import ConfigError, EnrollmentError, TransportError
from edgeveil.shared.wire.messages import Stage


@pytest.fixture(scope="module")
def bench():
    settings = GatewaySettings(
        hold_s=2.0, header_deadline_s=1.0, handshake_deadline_s=1.0, body_deadline_s=1.0
    )
    with federation(1, settings) as running:
        yield running


def await_end(agent: BenchAgent) -> BaseException:
    await_true(lambda: agent.error is not None, PATIENCE_S, f"it still runs: {agent.name}")
    return agent.error


def test_stops_when_it_is_not_on_the_roster(bench):
    stranger = BenchAgent("stranger")
    stranger.start(bench.url, bench.certificate)
    error = await_end(stranger)
    assert isinstance(error, EnrollmentError)
    assert "roster" in str(error)


def test_stops_when_it_is_revoked(bench):
    agent = BenchAgent("soon-gone")
    members = [agent.member for agent in bench.agents]
    bench.runtime.set_members([*members, agent.member])
    agent.start(bench.url, bench.certificate)
    bench.await_connected([agent])
    bench.runtime.set_members(members)
    error = await_end(agent)
    assert isinstance(error, EnrollmentError)
    assert "revoked" in str(error)


def test_stops_when_a_newer_process_of_it_connects(bench):
    agent = bench.agents[0]
    twin = BenchAgent(agent.name)
    twin.identity, twin.node_key, twin.member = agent.identity, agent.node_key, agent.member
    twin.agent_id = agent.agent_id
    twin.start(bench.url, bench.certificate, session=agent.session + 1)
    error = await_end(agent)
    assert isinstance(error, EnrollmentError)
    assert "newer process" in str(error)
    twin.stop()
    agent.session += 1
    agent.start(bench.url, bench.certificate)
    bench.await_connected()


def test_does_not_talk_to_a_server_with_another_certificate(bench):
    agent = BenchAgent("careful")
    agent.start(bench.url, self_signed()[0])
    error = await_end(agent)
    assert isinstance(error, TransportError)
    assert "pinned" in str(error)


def test_does_not_talk_to_a_server_whose_certificate_is_for_another_host(bench):
    agent = BenchAgent("careful")
    agent.start(bench.url.replace("127.0.0.1", "localhost"), bench.certificate)
    error = await_end(agent)
    assert isinstance(error, TransportError)
    assert "another name" in str(error)


def test_does_not_talk_to_a_server_whose_certificate_has_expired(bench, tmp_path):
    operator = Operator(tmp_path)
    operator.deploy(days=-100)
    bench.gateway.reload(operator.certificate, operator.key)
    try:
        agent = BenchAgent("careful")
        agent.start(bench.url, (operator.ca / "ca.pem").read_bytes())
        error = await_end(agent)
    finally:
        bench.gateway.reload(bench.home / "gateway.crt", bench.home / "gateway.key")
    assert isinstance(error, TransportError)
    assert "expired" in str(error)


def test_a_clock_years_behind_is_waited_for_and_then_it_connects(bench, tmp_path, monkeypatch):
    """A board without a clock of its own; here the certificate is ahead instead, by the same years."""
    monkeypatch.setattr("edgeveil.agent.flower_link.retry._CLOCK_S", 0.3)
    operator, agent = Operator(tmp_path), BenchAgent("no-clock")
    operator.deploy(days=3000)
    bench.runtime.set_members([*(each.member for each in bench.agents), agent.member])
    bench.gateway.reload(operator.certificate, operator.key)
    try:
        agent.start(bench.url, (operator.ca / "ca.pem").read_bytes())
        await_true(lambda: agent.status[-1:] != agent.status[:1], PATIENCE_S, "not a word")
        time.sleep(1)
        assert agent.error is None
        assert "not valid yet" in agent.status[-1]
        assert "clock" in agent.status[-1]
        operator.deploy()  # the time is right now
        bench.gateway.reload(operator.certificate, operator.key)
        bench.await_connected([agent])
        agent.stop()
    finally:
        bench.gateway.reload(bench.home / "gateway.crt", bench.home / "gateway.key")
        bench.runtime.set_members([each.member for each in bench.agents])


def test_a_wrong_clock_is_explained_and_not_fatal(bench):
    bench.clock.wall_offset = -60
    try:
        agent = BenchAgent("early")
        members = [agent.member for agent in bench.agents]
        bench.runtime.set_members([*members, agent.member])
        agent.start(bench.url, bench.certificate)
        await_true(lambda: any("clock" in line for line in agent.status), PATIENCE_S, "not a word")
        assert agent.error is None
        agent.stop()
    finally:
        bench.clock.wall_offset = 0.0
        bench.runtime.set_members([agent.member for agent in bench.agents])


def test_waits_for_a_coordinator_that_is_not_there():
    agent = BenchAgent("patient")
    agent.start(f"https://127.0.0.1:{free_port()}", self_signed()[0])
    await_true(lambda: "no connection" in "".join(agent.status[-1:]), PATIENCE_S, "not a word")
    time.sleep(1)
    assert agent.error is None
    agent.stop()


def test_ignores_proxy_variables(bench, monkeypatch):
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    agent = BenchAgent("direct")
    members = [agent.member for agent in bench.agents]
    bench.runtime.set_members([*members, agent.member])
    agent.start(bench.url, bench.certificate)
    bench.await_connected([agent])
    agent.stop()
    bench.runtime.set_members(members)


class Decoy:
    """A TLS server on loopback that answers every request in one way and counts paths."""

    def __init__(self, folder, status: int, headers: dict[str, str], body: bytes) -> None:
        self.paths: list[str] = []
        certificate, key = self_signed()
        (folder / "decoy.crt").write_bytes(certificate)
        (folder / "decoy.key").write_bytes(key)
        self.certificate = certificate
        decoy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                decoy.paths.append(self.path)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "decoy.crt", folder / "decoy.key")
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"https://127.0.0.1:{self.server.server_address[1]}"

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def test_does_not_follow_a_redirect(tmp_path):
    decoy = Decoy(tmp_path, 307, {"location": "/elsewhere", "content-length": "0"}, b"")
    agent = BenchAgent("straight")
    agent.start(decoy.url, decoy.certificate)
    await_true(lambda: decoy.paths, PATIENCE_S, "it never asked")
    time.sleep(0.5)
    agent.stop()
    decoy.stop()
    assert set(decoy.paths) <= {"/v1/fleet/activate-node", "/v1/fleet/deactivate-node"}


def test_reads_no_answer_longer_than_an_object(tmp_path):
    decoy = Decoy(tmp_path, 200, {"connection": "close"}, b"\x00" * (64 << 20))
    agent = BenchAgent("bounded")
    with Path("/proc/self/statm").open() as file:
        before = int(file.read().split()[1])
    agent.start(decoy.url, decoy.certificate)
    await_true(lambda: any("no connection" in line for line in agent.status), PATIENCE_S, "no word")
    agent.stop()
    decoy.stop()
    with Path("/proc/self/statm").open() as file:
        grown = (int(file.read().split()[1]) - before) * os.sysconf("SC_PAGE_SIZE")
    assert grown < 100 << 20  # the decoy's own copy is in this process too


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1", "https://", "127.0.0.1:1", "https://host:1/path", ""]
)
def test_refuses_an_address_that_is_not_https_host_port(url):
    with pytest.raises(ConfigError, match="https://host:port"):
        server_address(url)


def connect(bench: Bench, *, tls: bool) -> socket.socket:
    raw = socket.create_connection(("127.0.0.1", bench.gateway.port), timeout=PATIENCE_S)
    if not tls:
        return raw
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=bench.certificate.decode())
    try:
        return context.wrap_socket(raw, server_hostname="127.0.0.1")
    except OSError:  # on a busy machine a handshake may take longer than this gateway allows
        raw.close()
        return connect(bench, tls=tls)


def say(sock: socket.socket, text: bytes) -> None:
    """As far as the other side still listens."""
    with suppress(OSError):
        sock.sendall(text)


def await_close(sock: socket.socket) -> None:
    with suppress(ConnectionError, ssl.SSLError):
        while sock.recv(4096):
            pass
    sock.close()


def test_silent_and_half_spoken_connections_are_cut(bench):
    silent = [connect(bench, tls=False) for _ in range(20)]
    idle = [connect(bench, tls=True) for _ in range(20)]
    half = [connect(bench, tls=True) for _ in range(20)]
    for sock in half:
        say(sock, b"POST /v1/fleet/pull-messages HTTP/1.1\r\nhost: x\r\nx-")
    with Stopwatch() as watch:
        assert len(bench.exchange(bench.requests(Stage.SHARE))) == 1
        bench.runtime.forget()
        for sock in silent + idle + half:
            await_close(sock)
    assert watch.within(5), watch


def test_a_body_that_comes_too_slowly_is_refused(bench):
    answer, until = b"", time.monotonic() + PATIENCE_S
    while not answer and time.monotonic() < until:  # it is cut when already its head comes too late
        sock = connect(bench, tls=True)
        with Stopwatch() as watch:
            say(sock, b"POST /v1/join HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n")
            say(sock, b"x")
            with suppress(ConnectionError, ssl.SSLError):
                answer = sock.recv(4096)
        sock.close()
    assert b" 408 " in answer.splitlines()[0]
    assert watch.within(3), watch


def test_refuses_tls_below_1_3(bench):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=bench.certificate.decode())
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{bench.url}/healthz", verify=context, trust_env=False)


def test_a_held_poll_times_out_empty_and_costs_superlink_nothing(bench):
    agent = bench.agents[0]
    before = bench.gateway.forwarded()[agent.agent_id]
    time.sleep(5)  # two polls of two seconds end in it
    assert bench.gateway.forwarded()[agent.agent_id] - before <= 1  # a heartbeat, perhaps
    assert bench.runtime.presence()[agent.agent_id].connected


def test_forty_megabytes_go_both_ways():
    bulk = os.urandom(40 << 20)
    with federation(1) as bench:  # with the product's own deadlines, not those of above
        (incoming,) = bench.exchange(bench.requests(Stage.MASKED, bulk=bulk), 200)
    assert incoming.reply.bulk == bulk[::-1]


def test_a_frozen_part_is_fetched_once_and_there_in_every_round():
    frozen = os.urandom(3 << 20)
    with federation(1) as bench:
        fetched = []
        for attempt in (1, 2):
            bench.gateway.take_traffic()
            bulk = os.urandom(1000)
            bench.exchange(bench.requests(Stage.ROUND, attempt, bulk=bulk, frozen=frozen), 60)
            fetched.append(bench.gateway.take_traffic()[1])
        (agent,) = bench.agents
        assert [bytes(each.frozen) for each in agent.requests] == [frozen] * 2
    assert fetched[0] > len(frozen)
    assert fetched[1] < 1 << 16
