"""One hostile peer at line rate, a process of its own: honest ones are answered, and memory is bounded."""

import socket
import time

import pytest
from fleet_raw_bench import FLEET, code, connected_pair, resident
from flood_trial_bench import Trial, trial
from floods_bench import KINDS, tree
from flwr.proto.fleet_pb2 import PushMessagesRequest
from flwr.proto.message_pb2 import PullObjectRequest
from transport_bench import PATIENCE_S, await_true, federation

from edgeveil.shared.wire.certificates import pinned_context

MIB = 1 << 20
IN_CI = ("chunks", "records", "requests", "handshakes", "agent-records", "agent-trees")
P99_S = 0.5


@pytest.fixture(scope="module")
def bench():
    with federation(0, links=False) as running:
        yield running


@pytest.fixture
def pair(bench):
    with connected_pair(bench) as agents:
        yield agents


def assert_unharmed(found: Trial):
    agent, stranger = (Trial.quantile(times, 0.99) for times in (found.agent, found.stranger))
    assert agent < P99_S * found.slowed, f"agent p99 {agent:.3f} s: {found}"
    assert stranger < 2 * P99_S * found.slowed, f"stranger p99 {stranger:.3f} s: {found}"


@pytest.mark.parametrize("kind", IN_CI)
def test_honest_peers_are_answered_while_one_hostile_peer_floods(bench, pair, kind):
    assert_unharmed(trial(bench, *pair, kind, 3.0))


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_honest_peers_are_answered_during_every_kind_of_flood(bench, pair, kind):
    assert_unharmed(trial(bench, *pair, kind, 10.0))


def test_no_turn_of_the_loop_lasts_long_under_a_strangers_flood(bench, pair):
    """Processor time of the gateway's thread between two turns, so load of the machine does not count."""
    loop, turns, seen = bench.gateway._loop, [], []

    def tick():
        now = time.thread_time()
        turns.extend(now - before for before in seen[-1:])
        seen.append(now)
        if seen[0] is not None:
            ticking.append(loop.call_later(0.002, tick))

    ticking = []
    loop.call_soon_threadsafe(tick)
    try:
        for kind in ("chunks", "records", "agent-records"):
            trial(bench, *pair, kind, 2.0)
    finally:
        loop.call_soon_threadsafe(ticking[-1].cancel)
    assert len(turns) > 50
    assert max(turns) < 0.25, f"a turn of {max(turns):.3f} s"


def test_who_knows_an_agents_public_key_alone_cannot_use_up_its_rate(bench, pair):
    honest, evil = pair
    bench.clock.stop()
    try:
        for _ in range(int(bench.gateway.settings.burst_per_agent) + 1):
            path = FLEET + "pull-object"
            headers = evil.headers(path, b"") | {
                "flwr-public-key": honest.headers(path, b"")["flwr-public-key"]
            }
            answer = evil.client.post(path, content=b"", headers=headers)
            assert code(answer) == (401, "signature")
        assert [code(honest.pull_object(1, "0" * 64)) for _ in range(20)] == [(403, "object")] * 20
    finally:
        bench.clock.go_on()
    bench.clock.monotonic_offset += 10.0


def test_an_agent_that_does_not_read_pins_little_memory(bench, pair):
    """Sixteen connections, each asking for an object of 5 MiB and then silent."""
    _, evil = pair
    content = b"m" * (5 * MIB)
    agent_id = evil.agent.agent_id
    store = bench.gateway.store
    store.hold("message", ["o" * 64])
    store.fill({"o" * 64: content})
    store.grant(agent_id, "message", ["o" * 64])
    run_id = bench.gateway._nodes.run_id
    body = PullObjectRequest(node=evil.node, run_id=run_id, object_id="o" * 64).SerializeToString()
    path = FLEET + "pull-object"
    answer = evil.client.post(path, content=body, headers=evil.headers(path, body))
    assert len(answer.content) > 5 * MIB
    before, lines = resident(), []
    for _ in range(16):
        raw = socket.socket()
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.settimeout(PATIENCE_S)
        raw.connect(("127.0.0.1", bench.gateway.port))
        line = pinned_context(bench.certificate).wrap_socket(raw, server_hostname="127.0.0.1")
        fields = "".join(f"{k}: {v}\r\n" for k, v in evil.headers(path, body).items())
        head = f"POST {path} HTTP/1.1\r\nhost: x\r\n{fields}content-length: {len(body)}\r\n\r\n"
        line.sendall(head.encode() + body)
        lines.append(line)
    time.sleep(1.0)
    grown = resident() - before
    for line in lines:
        line.close()
    assert grown < 32 * MIB, f"{grown / MIB:.0f} MiB"


def test_bytes_of_bodies_on_their_way_are_bounded_for_each_agent(bench, pair):
    """The third body of 6 MiB at once is too much for one agent, and none of another's business."""
    honest, evil = pair
    path, size, lines = FLEET + "push-object", 6 * MIB - 1, []
    node = bench.gateway._nodes.agent(evil.agent.agent_id)

    def announce():
        raw = socket.create_connection(("127.0.0.1", bench.gateway.port), timeout=PATIENCE_S)
        line = pinned_context(bench.certificate).wrap_socket(raw, server_hostname="127.0.0.1")
        fields = "".join(f"{k}: {v}\r\n" for k, v in evil.headers(path, b"").items())
        line.sendall(
            f"POST {path} HTTP/1.1\r\nhost: x\r\n{fields}content-length: {size}\r\n\r\n".encode()
        )
        lines.append(line)
        return line

    for count in (1, 2):
        announce()
        await_true(lambda wanted=count: node.requests == wanted, PATIENCE_S, "it is not read")
    assert announce().recv(4096).startswith(b"HTTP/1.1 429 ")
    assert node.bytes_coming == 2 * size
    assert code(honest.post("push-object", bytes(MIB))) == (400, "malformed")
    for line in lines:
        line.close()
    await_true(lambda: node.bytes_coming == 0, PATIENCE_S, "their bytes still count")


@pytest.mark.parametrize(
    "body",
    [
        b"\x0a\x00" * (3 * MIB - 1000),  # a node, three million times
        b"\x78\x00" * (3 * MIB - 1000),  # as many unknown fields
        b"\x0a" + b"\xff\xff\xff\x02" + b"\x78\x00" * (MIB // 2),
    ],
    ids=["nodes", "unknown", "inside"],
)
def test_six_megabytes_of_tiny_fields_are_refused_without_parsing_them(bench, pair, body):
    _, evil = pair
    codec = bench.gateway._routes.door.client.upstream.codec
    from edgeveil.coordinator.gateway.vocabulary import Operation

    began = time.thread_time()
    with pytest.raises(ValueError):
        codec.parse(Operation.PUSH_OBJECT, body)
    assert time.thread_time() - began < 0.01
    assert code(evil.post("push-object", body)) == (400, "malformed")


def test_a_tree_of_half_a_million_nodes_is_refused_by_its_size_and_one_of_thousands_unwalked(
    bench, pair
):
    _, evil = pair
    assert code(evil.post("push-messages", tree())) == (413, "oversize")
    request = PushMessagesRequest(node=evil.node)
    request.messages_list.add()
    request.message_object_trees.add()
    for _ in range(20_000):
        request.message_object_trees[0].children.add()
    assert code(evil.post("push-messages", request.SerializeToString())) == (400, "malformed")
