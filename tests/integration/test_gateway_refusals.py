"""Everything the gateway must refuse, tried by an agent with valid keys against the real thing."""

import os
import threading
import time
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from fleet_raw_bench import FLEET, RawAgent, code, nonsense
from flwr.app import Message
from flwr.proto.fleet_pb2 import (
    ActivateNodeRequest,
    PullMessagesRequest,
    PushMessagesRequest,
    PushMessagesResponse,
)
from flwr.proto.message_pb2 import ObjectTree
from flwr.proto.node_pb2 import Node
from transport_bench import Bench, BenchAgent, await_true, federation

from agent.fleet_client import pinned
from coordinator.gateway_types import Instruction
from shared.flower_codec import encode_reply
from shared.messages import Stage, make_reply


@pytest.fixture(scope="module")
def bench():
    with federation(3, links=False) as running:
        yield running


@pytest.fixture
def pair(bench):
    """Two agents that are connected, by hand; fresh keys for every test."""
    old = bench.agents
    bench.agents = [BenchAgent("honest"), BenchAgent("evil")]
    bench.by_id = {agent.agent_id: agent for agent in bench.agents}
    bench.runtime.set_members([agent.member for agent in bench.agents])
    honest, evil = (RawAgent(bench, agent) for agent in bench.agents)
    assert honest.activate().status_code == 200
    assert evil.activate().status_code == 200
    yield honest, evil
    bench.runtime.forget()
    honest.client.close()
    evil.client.close()
    bench.agents = old


def pull_body(agent: RawAgent) -> bytes:
    return PullMessagesRequest(node=agent.node).SerializeToString()


def good_reply(agent: RawAgent, message: Message, request) -> Message:
    reply = make_reply(agent.agent.identity, agent.agent.agent_id, request, b"answer")
    return Message(encode_reply(reply), reply_to=message)


def test_every_other_route_of_superlink_is_not_found_from_outside(bench):
    superlink = bench.runtime._superlink
    with httpx.Client(verify=superlink.tls(), trust_env=False) as inside:
        paths = inside.get(f"https://{superlink.address}/openapi.json").json()["paths"]
    assert len(paths) > 60
    allowed = {
        FLEET + name
        for name in (
            "activate-node",
            "deactivate-node",
            "send-node-heartbeat",
            "pull-messages",
            "pull-object",
            "confirm-message-received",
            "push-messages",
            "push-object",
        )
    }
    assert allowed < set(paths)
    with httpx.Client(
        base_url=bench.url, verify=pinned(bench.certificate), trust_env=False
    ) as outside:
        for path in {*paths, "/docs", "/openapi.json", "/health", "/", "/v1/fleet/"} - allowed:
            assert outside.post(path).status_code == 404, path
            assert outside.get(path).status_code == 404, path
        for path in allowed:
            for method in ("GET", "PUT", "DELETE", "OPTIONS", "HEAD"):
                assert outside.request(method, path).status_code == 404, path
            assert code(outside.post(path)) == (401, "signature")


def test_health_and_readiness_are_answered_without_a_key(bench):
    with httpx.Client(
        base_url=bench.url, verify=pinned(bench.certificate), trust_env=False
    ) as outside:
        assert outside.get("/healthz").json() == {"status": "ok"}
        assert outside.get("/readyz").json() == {"status": "ok"}
        assert outside.post("/v1/join", content=b"x" * 100).json() == {"length": 100}
        assert code(outside.post("/v1/join", content=b"x" * 20000)) == (413, "oversize")


def test_refuses_a_key_that_is_not_on_the_roster(bench):
    stranger = RawAgent(bench, BenchAgent("stranger"))
    assert code(stranger.activate()) == (401, "unknown_key")


def test_refuses_the_header_triple_on_another_body_or_route(pair):
    honest, _ = pair
    body = pull_body(honest)
    headers = honest.headers(FLEET + "pull-messages", body)
    other = PullMessagesRequest(node=honest.node, message_ids=["x"]).SerializeToString()
    again = honest.client.post(FLEET + "pull-messages", content=other, headers=headers)
    assert code(again) == (401, "signature")
    route = honest.client.post(FLEET + "deactivate-node", content=body, headers=headers)
    assert code(route) == (401, "signature")


def test_refuses_a_repeated_request_by_its_nonce(pair):
    honest, _ = pair
    path = FLEET + "send-node-heartbeat"
    from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest

    body = SendNodeHeartbeatRequest(node=honest.node, heartbeat_interval=30).SerializeToString()
    headers = honest.headers(path, body)
    assert honest.client.post(path, content=body, headers=headers).status_code == 200
    assert code(honest.client.post(path, content=body, headers=headers)) == (401, "signature")


def test_refuses_a_signature_by_another_identity(pair):
    honest, evil = pair
    path, body = FLEET + "pull-messages", pull_body(honest)
    headers = honest.headers(path, body) | {
        "edgeveil-signature": evil.headers(path, body)["edgeveil-signature"]
    }
    assert code(honest.client.post(path, content=body, headers=headers)) == (401, "signature")


@pytest.mark.parametrize("name", ["flwr-signature", "edgeveil-signature", "edgeveil-session"])
def test_refuses_a_missing_or_mangled_auth_header(pair, name):
    honest, _ = pair
    path, body = FLEET + "pull-messages", pull_body(honest)
    for value in (None, "", "AAAA", "x" * 2000):
        headers = honest.headers(path, body)
        if value is None:
            del headers[name]
        else:
            headers[name] = value
        answer = honest.client.post(path, content=body, headers=headers)
        assert code(answer) == (401, "signature")


@pytest.mark.parametrize("age_s", [-6, 310, 90_000, -90_000])
def test_refuses_a_stale_or_early_time_and_says_its_own(pair, age_s):
    honest, _ = pair
    answer = honest.post("pull-messages", pull_body(honest), age_s=age_s)
    assert code(answer) == (401, "clock_skew")
    assert abs(answer.json()["server_time"] - time.time()) < 5


def test_a_request_near_the_edge_of_the_window_is_served(pair):
    honest, _ = pair
    assert honest.post("deactivate-node", b"", age_s=280).status_code == 428  # no node id
    honest.agent.session += 1


def test_another_protocol_version_is_named(pair):
    honest, _ = pair
    path, body = FLEET + "pull-messages", pull_body(honest)
    headers = honest.headers(path, body) | {"edgeveil-protocol": "99"}
    assert code(honest.client.post(path, content=body, headers=headers)) == (426, "version")


def test_refuses_another_agents_node_id_and_a_stale_one(pair):
    honest, evil = pair
    stolen = PullMessagesRequest(node=honest.node).SerializeToString()
    assert code(evil.post("pull-messages", stolen)) == (401, "identity")
    stale = PullMessagesRequest(node=Node(node_id=12345)).SerializeToString()
    assert code(evil.post("pull-messages", stale)) == (428, "activate_first")
    foreign = ActivateNodeRequest(public_key=honest.agent.member.node_public, heartbeat_interval=30)
    assert code(evil.post("activate-node", foreign.SerializeToString())) == (401, "identity")


def test_an_older_session_is_superseded_and_a_twin_raises_the_alarm(bench, pair):
    honest, _ = pair
    newer = RawAgent(bench, honest.agent, session=2)
    assert code(newer.post("pull-messages", pull_body(honest))) == (428, "activate_first")
    assert newer.activate().status_code == 200
    assert code(honest.post("pull-messages", pull_body(honest))) == (409, "superseded")
    twin = RawAgent(bench, honest.agent, session=2)
    assert code(twin.activate()) == (409, "superseded")
    assert ("session.clone", "honest", "") in bench.events.seen


def test_an_unsigned_claim_cannot_push_the_real_session_out(pair):
    honest, evil = pair
    path, body = FLEET + "pull-messages", pull_body(honest)
    headers = honest.headers(path, body) | {"edgeveil-session": f"999.{os.urandom(8).hex()}"}
    assert code(evil.client.post(path, content=body, headers=headers)) == (401, "signature")
    assert honest.heartbeat().status_code == 200


def test_activation_and_heartbeat_are_limited(pair):
    honest, _ = pair
    assert honest.heartbeat(10).status_code == 400
    assert honest.heartbeat().status_code == 200
    assert code(honest.heartbeat()) == (429, "rate")
    codes = [honest.activate().status_code for _ in range(6)]
    assert codes == [200] * 5 + [429]


def test_refuses_bodies_above_the_cap_by_length_and_in_chunks(bench, pair):
    honest, _ = pair
    path = FLEET + "pull-messages"
    for body in (b"x" * 5000, iter([b"x" * 3000, b"y" * 3000])):
        headers = honest.headers(path, b"")
        answer = honest.client.post(path, content=body, headers=headers)
        assert code(answer) == (413, "oversize")
    before = resident()
    path = FLEET + "push-object"

    def endless():
        for _ in range(100):
            yield b"z" * (1 << 20)

    try:
        answer = honest.client.post(path, content=endless(), headers=honest.headers(path, b""))
        assert code(answer) == (413, "oversize")
    except httpx.WriteError:
        pass  # the gateway hung up while we were still sending
    assert resident() - before < 64 << 20


def resident() -> int:
    with Path("/proc/self/statm").open() as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_refuses_compressed_and_unreadable_bodies(pair):
    honest, _ = pair
    path, body = FLEET + "pull-messages", pull_body(honest)
    headers = honest.headers(path, body) | {"content-encoding": "gzip"}
    assert code(honest.client.post(path, content=body, headers=headers)) == (400, "malformed")
    assert code(honest.post("pull-messages", b"\xff\xff\xff")) == (400, "malformed")


def test_a_forged_instruction_never_reaches_its_victim(bench, pair):
    honest, evil = pair
    request = bench.requests(Stage.SHARE)
    bench.runtime.send(request, ttl_s=30)
    message = evil.receive()
    forged = nonsense(message, order=b"obey")
    forged.metadata.__dict__["_src_node_id"] = 1
    forged.metadata.__dict__["_dst_node_id"] = honest.node_id
    forged.metadata.__dict__["_reply_to_message_id"] = ""
    response, _ = evil.announce(forged)
    assert code(response) == (401, "identity")
    honest.receive()  # the driver's message and nothing else


def test_refuses_a_reply_to_another_agents_message(bench, pair):
    honest, evil = pair
    bench.runtime.send(bench.requests(Stage.SHARE), ttl_s=30)
    theirs, mine = honest.receive(), evil.receive()
    stolen = nonsense(theirs, a=b"b")
    stolen.metadata.__dict__["_src_node_id"] = evil.node_id
    assert code(evil.announce(stolen)[0]) == (403, "object")
    for field, value in (
        ("_group_id", "9.9"),
        ("_message_type", "query.unmask"),
        ("_run_id", 7),
        ("_dst_node_id", honest.node_id),
    ):
        changed = nonsense(mine, a=b"b")
        changed.metadata.__dict__[field] = value
        assert code(evil.announce(changed)[0]) == (403, "object"), field


def test_refuses_to_read_confirm_or_complete_what_belongs_to_another(bench, pair):
    honest, evil = pair
    requests = bench.requests(Stage.SHARE)
    bench.runtime.send(requests, ttl_s=30)
    answer = honest.poll()
    run_id = answer.messages_list[0].metadata.run_id
    tree = answer.message_object_trees[0]
    evil.receive()
    assert code(evil.pull_object(run_id, tree.object_id)) == (403, "object")
    assert code(evil.pull_object(run_id, tree.children[0].object_id)) == (403, "object")
    assert code(evil.confirm(run_id, tree.object_id)) == (403, "object")
    assert honest.pull_object(run_id, tree.object_id).status_code == 200
    assert code(honest.pull_object(run_id + 1, tree.object_id)) == (403, "object")


def test_refuses_objects_outside_the_announced_upload(bench, pair):
    honest, evil = pair
    requests = bench.requests(Stage.SHARE)
    bench.runtime.send(requests, ttl_s=30, reply_limit=50_000)
    message = honest.receive()
    reply = good_reply(honest, message, requests[honest.agent.agent_id])
    response, objects = honest.announce(reply)
    session = PushMessagesResponse.FromString(response.content).session_id
    run_id = message.metadata.run_id
    name, content = next(iter(objects.items()))
    evil.receive()
    assert code(evil.push_object(run_id, session, name, content)) == (403, "object")
    assert code(honest.push_object(run_id, session, name, content + b"x")) == (403, "object")
    assert code(honest.push_object(run_id, "other", name, content)) == (403, "object")
    import hashlib

    foreign = b"ConfigRecord  1\x00x"
    digest = hashlib.sha256(foreign).hexdigest()
    assert code(honest.push_object(run_id, session, digest, foreign)) == (403, "object")
    for name, content in objects.items():
        assert honest.push_object(run_id, session, name, content).status_code == 200
    (incoming,) = bench.collect(1)
    assert incoming.reply.body == b"answer"


def test_refuses_an_upload_larger_than_the_driver_allowed(bench, pair):
    honest, _ = pair
    bench.runtime.send(bench.requests(Stage.SHARE), ttl_s=30, reply_limit=10_000)
    message = honest.receive()
    response, objects = honest.announce(nonsense(message, big=os.urandom(20_000)))
    session = PushMessagesResponse.FromString(response.content).session_id
    codes = {
        honest.push_object(message.metadata.run_id, session, name, content).status_code
        for name, content in objects.items()
    }
    assert 413 in codes


def test_refuses_two_messages_in_one_push_and_a_tree_bomb(bench, pair):
    honest, _ = pair
    bench.runtime.send(bench.requests(Stage.SHARE), ttl_s=30)
    message = honest.receive()
    reply = nonsense(message, a=b"b")
    response, _ = honest.announce(reply)
    assert response.status_code == 200
    from flwr.app.message import remove_content_from_message
    from flwr.common.serde import message_to_proto

    proto = message_to_proto(remove_content_from_message(reply))
    root = reply.object_id
    twice = PushMessagesRequest(
        node=honest.node,
        messages_list=[proto, proto],
        message_object_trees=[ObjectTree(object_id=root)] * 2,
    )
    assert code(honest.post("push-messages", twice.SerializeToString())) == (400, "malformed")
    wide = ObjectTree(
        object_id=root, children=[ObjectTree(object_id="ab" * 32) for _ in range(5000)]
    )
    deep = ObjectTree(object_id="ab" * 32)
    for _ in range(40):
        deep = ObjectTree(object_id="ab" * 32, children=[deep])
    deep.object_id = root
    for tree in (wide, deep):
        bomb = PushMessagesRequest(
            node=honest.node, messages_list=[proto], message_object_trees=[tree]
        )
        assert code(honest.post("push-messages", bomb.SerializeToString())) == (413, "oversize")
    other = PushMessagesRequest(
        node=honest.node,
        messages_list=[proto],
        message_object_trees=[ObjectTree(object_id="cd" * 32)],
    )
    assert code(honest.post("push-messages", other.SerializeToString())) == (403, "object")


def test_a_reply_header_without_objects_does_not_block_the_driver(bench, pair):
    honest, evil = pair
    requests = bench.requests(Stage.SHARE)
    bench.runtime.send(requests, ttl_s=30)
    response, _ = evil.announce(nonsense(evil.receive(), a=b"b"))
    assert response.status_code == 200
    message = honest.receive()
    honest.send(good_reply(honest, message, requests[honest.agent.agent_id]))
    began = time.monotonic()
    (incoming,) = bench.collect(1)
    assert incoming.agent_id == honest.agent.agent_id
    assert bench.runtime.receive(0.5) == []
    assert time.monotonic() - began < 3


def test_what_cannot_be_a_reply_is_reported_as_malformed(bench, pair):
    honest, evil = pair
    requests = bench.requests(Stage.SHARE)
    bench.runtime.send(requests, ttl_s=30)
    evil.send(nonsense(evil.receive(), body=b"", stage=b"query.share"))
    message = honest.receive()
    wrong = bench.requests(Stage.UNMASK)[honest.agent.agent_id]
    honest.send(good_reply(honest, message, wrong))
    incoming = bench.collect(2)
    assert {item.lost for item in incoming} == {"malformed"}


def test_an_array_that_inflates_to_terabytes_is_refused_unread(bench, pair):
    honest, _ = pair
    bench.runtime.send(bench.requests(Stage.SHARE), ttl_s=30)
    message = honest.receive()
    import hashlib

    def made(kind: str, children: list[str], body: bytes) -> tuple[str, bytes]:
        content = f"{kind} {','.join(children)} {len(body)}".encode() + b"\x00" + body
        return hashlib.sha256(content).hexdigest(), content

    chunk = made("ArrayChunk", [], b"\x00" * 500_000)
    order = ",".join(["0"] * 100_000)
    array = made(
        "Array",
        [chunk[0]],
        f'{{"dtype":"uint8","shape":[1],"stype":"edgeveil.raw","arraychunk_ids":[{order}]}}'.encode(),
    )
    record = made("ArrayRecord", [array[0]], b'{"y":"%s"}' % array[0].encode())
    records = made("RecordDict", [record[0]], b'{"y":"%s"}' % record[0].encode())
    honest_root = nonsense(message, a=b"b").deflate()
    body = honest_root[honest_root.index(b"\x00") + 1 :]
    root = made("Message", [records[0]], body)
    tree = ObjectTree(object_id=root[0])
    node = tree
    for name, _ in (records, record, array, chunk):
        node = node.children.add(object_id=name)
    from flwr.app.message import remove_content_from_message
    from flwr.common.serde import message_to_proto

    proto = message_to_proto(remove_content_from_message(nonsense(message, a=b"b")))
    proto.metadata.message_id = root[0]
    push = PushMessagesRequest(node=honest.node, messages_list=[proto], message_object_trees=[tree])
    response = honest.post("push-messages", push.SerializeToString())
    session = PushMessagesResponse.FromString(response.content).session_id
    before = resident()
    for name, content in (root, records, record, array, chunk):
        done = honest.push_object(message.metadata.run_id, session, name, content)
        assert done.status_code == 200, done.text
    (incoming,) = bench.collect(1)
    assert incoming.lost == "malformed"
    assert resident() - before < 64 << 20


def test_a_held_poll_returns_when_work_comes_and_a_newer_poll_ends_it(bench, pair):
    honest, _ = pair
    answers: list[float] = []

    def poll() -> None:
        client = RawAgent(bench, honest.agent)
        client.session, client.node_id = honest.session, honest.node_id
        began = time.monotonic()
        client.poll()
        answers.append(time.monotonic() - began)

    first = threading.Thread(target=poll)
    first.start()
    await_true(lambda: bench.gateway.presence()[honest.agent.agent_id].connected, 5, "no poll")
    time.sleep(0.3)
    second = threading.Thread(target=poll)
    second.start()
    first.join(5)
    assert len(answers) == 1
    bench.runtime.send(
        {honest.agent.agent_id: bench.requests(Stage.SHARE)[honest.agent.agent_id]}, ttl_s=30
    )
    second.join(5)
    assert len(answers) == 2
    assert answers[1] < 4


def test_a_poll_is_not_forwarded_before_the_announced_message_is_stored(bench, pair):
    honest, _ = pair
    agent_id = honest.agent.agent_id
    instruction = Instruction("ab" * 32, agent_id, bench.runtime.run_id, "1.1", "query.share", 1000)
    bench.gateway.expect(instruction)
    before = bench.gateway.forwarded()[agent_id]
    thread = threading.Thread(target=honest.poll)
    thread.start()
    time.sleep(0.5)
    assert bench.gateway.forwarded()[agent_id] == before
    bench.gateway.wake([instruction])
    thread.join(5)
    assert bench.gateway.forwarded()[agent_id] == before + 1
    assert bench.runtime.receive(0.1) == []


def test_revocation_ends_a_held_poll_within_a_second(bench, pair):
    honest, evil = pair
    result: list[tuple[int, str]] = []
    thread = threading.Thread(
        target=lambda: result.append(code(evil.post("pull-messages", pull_body(evil))))
    )
    thread.start()
    time.sleep(0.5)
    began = time.monotonic()
    bench.runtime.set_members([honest.agent.member])
    thread.join(5)
    assert time.monotonic() - began < 1
    assert result == [(401, "revoked")]
    assert code(evil.activate()) == (401, "revoked")
    assert honest.heartbeat().status_code == 200


def test_rejections_are_counted_by_reason(bench, pair):
    honest, _ = pair
    before = bench.gateway.rejected().get("clock_skew", 0)
    honest.post("pull-messages", pull_body(honest), age_s=timedelta(hours=1).total_seconds())
    assert bench.gateway.rejected()["clock_skew"] == before + 1


def test_a_taken_port_is_named(bench):
    other = Bench(0)
    from shared.errors import ConfigError

    with pytest.raises(ConfigError, match=f"127.0.0.1:{bench.gateway.port}"):
        other.gateway.start(
            "127.0.0.1",
            bench.gateway.port,
            bench.home / "gateway.crt",
            bench.home / "gateway.key",
        )
    other.gateway.stop()
