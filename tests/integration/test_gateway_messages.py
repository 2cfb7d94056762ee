"""Whose messages and objects are whose: an agent with valid keys reaches for those of another."""

import os
import threading
import time

import pytest
from fleet_raw_bench import RawAgent, code, connected_pair, nonsense, resident
from flwr.app import Message
from flwr.proto.fleet_pb2 import (
    PushMessagesRequest,
    PushMessagesResponse,
)
from flwr.proto.message_pb2 import ObjectTree
from load_bench import Stopwatch
from transport_bench import PATIENCE_S, federation

from edgeveil.coordinator.gateway.vocabulary import Instruction
from edgeveil.shared.flower.codec import encode_reply
from edgeveil.shared.wire.messages import Stage, make_reply


@pytest.fixture(scope="module")
def bench():
    with federation(3, links=False) as running:
        yield running


@pytest.fixture
def pair(bench):
    with connected_pair(bench) as agents:
        yield agents


def good_reply(agent: RawAgent, message: Message, request) -> Message:
    reply = make_reply(agent.agent.identity, agent.agent.agent_id, request, b"answer")
    return Message(encode_reply(reply), reply_to=message)


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
    with Stopwatch() as watch:
        (incoming,) = bench.collect(1)
        assert incoming.agent_id == honest.agent.agent_id
        assert bench.runtime.receive(0.5) == []
    assert watch.within(3), watch


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
    answers: list[int] = []

    def poll() -> None:
        client = RawAgent(bench, honest.agent)
        client.session, client.node_id = honest.session, honest.node_id
        answers.append(len(client.poll().messages_list))

    first = threading.Thread(target=poll)
    first.start()
    bench.await_poll(honest.agent)
    second = threading.Thread(target=poll)
    second.start()
    first.join(PATIENCE_S)
    assert answers == [0]
    bench.await_poll(honest.agent)
    with Stopwatch() as watch:
        bench.runtime.send(
            {honest.agent.agent_id: bench.requests(Stage.SHARE)[honest.agent.agent_id]}, ttl_s=200
        )
        second.join(PATIENCE_S)
    assert answers == [0, 1]
    assert watch.within(4), watch


def test_a_poll_is_not_forwarded_before_the_announced_message_is_stored(bench, pair):
    honest, _ = pair
    agent_id = honest.agent.agent_id
    instruction = Instruction("ab" * 32, agent_id, bench.runtime.run_id, "1.1", "query.share", 1000)
    bench.gateway.expect(instruction)
    before = bench.gateway.forwarded()[agent_id]
    thread = threading.Thread(target=honest.poll)
    thread.start()
    bench.await_poll(honest.agent)
    time.sleep(0.5)
    assert bench.gateway.forwarded()[agent_id] == before
    bench.gateway.wake([instruction])
    thread.join(PATIENCE_S)
    assert bench.gateway.forwarded()[agent_id] == before + 1
    assert bench.runtime.receive(0.1) == []
