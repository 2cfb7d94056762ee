"""What a stranger can pour into the gateway costs it almost nothing, and honest agents little time."""

import gzip
import json
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from fleet_raw_bench import FLEET, RawAgent, code
from flwr.proto.control_pb2 import RegisterNodeRequest
from load_bench import Stopwatch
from transport_bench import BenchAgent, federation

from edgeveil.shared.wire.certificates import pinned_context

HALF_OPEN = Path(__file__).resolve().parents[1] / "benches" / "half_open_bench.py"
MIB = 1 << 20
PIECE = b"z" * (64 << 10)


@pytest.fixture(scope="module")
def bench():
    with federation(2, links=False) as running:
        yield running


def peak():
    """Bytes of the highest resident memory since reset_peak()."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) << 10
    raise AssertionError


def reset_peak():
    Path("/proc/self/clear_refs").write_text("5")
    return peak()


def channel(bench):
    raw = socket.create_connection(("127.0.0.1", bench.gateway.port), timeout=60)
    return pinned_context(bench.certificate).wrap_socket(raw, server_hostname="127.0.0.1")


def pour(bench, head, pieces):
    """Send until the gateway hangs up; its answer and the bytes that went out."""
    sock, sent = channel(bench), 0
    sock.sendall(head)
    try:
        for piece in pieces:
            sock.sendall(piece)
            sent += len(piece)
    except OSError:
        pass
    answer = b""
    try:
        while piece := sock.recv(4096):
            answer += piece
    except OSError:
        pass
    sock.close()
    return answer, sent


def chunks(count):
    for _ in range(count):
        yield b"%x\r\n%b\r\n" % (len(PIECE), PIECE)


LENGTH = 300 * MIB
JOIN = b"POST /v1/join HTTP/1.1\r\nhost: x\r\n"
OBJECT = b"POST /v1/fleet/push-object HTTP/1.1\r\nhost: x\r\n"


@pytest.mark.parametrize("route", [JOIN, OBJECT], ids=["join", "fleet"])
def test_a_body_of_300_megabytes_is_refused_for_less_than_64(bench, route):
    before = reset_peak()
    head = route + b"content-length: %d\r\n\r\n" % LENGTH
    answer, sent = pour(bench, head, (PIECE for _ in range(LENGTH // len(PIECE))))
    first = answer.splitlines()[0] if answer else b""
    assert b" 413 " in first or b" 401 " in first or sent < LENGTH
    assert sent < LENGTH, "it listened to all of it"
    assert peak() - before < 64 * MIB


@pytest.mark.parametrize("route", [JOIN, OBJECT], ids=["join", "fleet"])
def test_an_endless_chunked_body_is_cut_within_a_megabyte_or_so(bench, route):
    before = reset_peak()
    answer, sent = pour(bench, route + b"transfer-encoding: chunked\r\n\r\n", chunks(5000))
    assert b" 411 " in answer[:40] or not answer
    assert sent < 16 * MIB  # what kernel and TLS buffers swallowed before the cut was seen
    assert peak() - before < 64 * MIB


def test_an_authenticated_agent_may_not_send_more_either(bench):
    agent = RawAgent(bench, bench.agents[0])
    before = reset_peak()
    path = FLEET + "push-object"
    headers = agent.headers(path, b"")
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\n{lines}content-length: {LENGTH}\r\n\r\n".encode()
    answer, sent = pour(bench, head, (PIECE for _ in range(LENGTH // len(PIECE))))
    assert b" 413 " in answer[:40] or not answer
    assert sent < 24 * MIB
    assert peak() - before < 64 * MIB


def test_a_gzip_bomb_is_refused_unopened(bench):
    bomb = gzip.compress(bytes(200 * MIB), compresslevel=1)
    assert len(bomb) < 2 * MIB
    before = reset_peak()
    with httpx.Client(base_url=bench.url, verify=pinned_context(bench.certificate), trust_env=False) as stranger:  # fmt: skip
        for name in ("gzip", "deflate", "br", "identity"):
            headers = {"content-encoding": name}
            answer = stranger.post("/v1/join", content=bomb[: 10 << 10], headers=headers)
            assert code(answer) == (400, "malformed")
    assert peak() - before < 64 * MIB


def test_a_key_registered_at_superlink_itself_opens_nothing(bench):
    """Loopback's Control API is open to local users; the gateway asks the roster and nobody else."""
    stranger = BenchAgent("stranger")
    registry = bench.runtime._registry
    registry._control.RegisterNode(RegisterNodeRequest(public_key=stranger.member.node_public, name="x"))  # fmt: skip
    assert code(RawAgent(bench, stranger).activate()) == (401, "unknown_key")


def test_control_characters_never_reach_an_answer_or_a_log(bench):
    sock = channel(bench)
    sock.sendall(b"GET /v1/\x1b[31mred HTTP/1.1\r\nhost: x\r\n\r\n")
    answer = sock.recv(4096)
    sock.close()
    assert b"\x1b" not in answer
    with httpx.Client(base_url=bench.url, verify=pinned_context(bench.certificate), trust_env=False) as outside:  # fmt: skip
        for path in (
            "/v1/fleet/../../etc/passwd",
            "/v1/fleet/%0d%0aevil",
            "/v1/join/%00",
            "//v1/join",
        ):
            answer = outside.post(path)
            assert answer.status_code == 404
            assert "evil" not in answer.text
    assert "evil" not in json.dumps(bench.events.seen)


def latencies(bench, over):
    """An honest agent's authenticated requests: most on its connection, every tenth on a new one."""
    agent = RawAgent(bench, bench.agents[1])
    assert agent.activate().status_code == 200
    found = []
    while not over():
        if len(found) % 10 == 9:
            agent.client.close()
            agent.client = httpx.Client(base_url=bench.url, verify=pinned_context(bench.certificate), trust_env=False, timeout=30)  # fmt: skip
        began = time.monotonic()
        assert code(agent.pull_object(1, "0" * 64)) == (403, "object")
        found.append(time.monotonic() - began)
        time.sleep(0.02)
    return sorted(found)


def test_five_thousand_half_open_connections_are_dropped_in_ten_seconds_and_agents_feel_nothing(
    bench,
):
    count = 5000
    command = [sys.executable, str(HALF_OPEN), str(bench.gateway.port), str(count)]
    with (
        Stopwatch() as watch,
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as flood,
    ):
        found = latencies(bench, lambda: flood.poll() is not None)
        opened, end = [json.loads(line) for line in flood.stdout]
    p99 = found[int(len(found) * 0.99)]
    assert opened["opened"] > 0.9 * count
    assert end["oldest"] <= 10.0 * watch.slowed, (end, watch)
    assert end["closed"] == opened["opened"]
    assert len(found) >= 100 / watch.slowed
    assert p99 < 0.5 * watch.slowed, f"p99 {p99:.3f} s over {len(found)} requests: {watch}"


def test_a_client_below_tls_1_3_is_refused(bench):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with (
        socket.create_connection(("127.0.0.1", bench.gateway.port)) as raw,
        pytest.raises(ssl.SSLError),
    ):
        context.wrap_socket(raw)
