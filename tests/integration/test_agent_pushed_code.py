"""A coordinator that tries to make an agent run something: a bundle, another kind of task, a pickle."""

import pickle
import threading

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from enrollment_bench import free_server
from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.app.message import remove_content_from_message
from flwr.common import Array
from flwr.common.serde import message_to_proto
from flwr.proto.fleet_pb2 import ActivateNodeResponse, PullMessagesResponse, PushMessagesRequest
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatResponse
from flwr.proto.message_pb2 import (
    ConfirmMessageReceivedResponse,
    PullObjectRequest,
    PullObjectResponse,
)
from flwr.supercore.inflatable.inflatable_object import (
    get_all_nested_objects,
    get_object_tree,
    no_object_id_recompute,
)
from flwr.supercore.task_identity import TaskIdentity
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route
from transport_bench import BenchAgent, await_true

from edgeveil.coordinator.flower_runtime.superlink import self_signed

AGENTS_ROUTES = {
    "activate-node",
    "pull-messages",
    "pull-object",
    "confirm-message-received",
    "push-messages",
    "deactivate-node",
    "send-node-heartbeat",
}


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


class EvilCoordinator:
    """Answers the Fleet routes itself, hands out one message, and writes down what it is asked."""

    def __init__(self, message: Message) -> None:
        with no_object_id_recompute():
            message.metadata.__dict__["_message_id"] = message.object_id
            self.tree = get_object_tree(message)
            self.header = message_to_proto(remove_content_from_message(message))
            self.objects = {k: v.deflate() for k, v in get_all_nested_objects(message).items()}
        self.asked: list[str] = []
        self.replies: list[PushMessagesRequest] = []
        self.handed = threading.Event()

    async def answer(self, request):
        name = request.path_params["path"]
        body = await request.body()
        self.asked.append(name)
        return Response(self._content(name, body), media_type="application/protobuf")

    def _content(self, name, body):
        if name == "v1/fleet/activate-node":
            return ActivateNodeResponse(node_id=7).SerializeToString()
        if name == "v1/fleet/pull-messages" and not self.handed.is_set():
            self.handed.set()
            answer = PullMessagesResponse(
                messages_list=[self.header], message_object_trees=[self.tree]
            )
            return answer.SerializeToString()
        if name == "v1/fleet/pull-object":
            content = self.objects[PullObjectRequest.FromString(body).object_id]
            answer = PullObjectResponse(object_found=True, object_available=True)
            answer.object_content = content
            return answer.SerializeToString()
        if name == "v1/fleet/confirm-message-received":
            return ConfirmMessageReceivedResponse().SerializeToString()
        if name == "v1/fleet/push-messages":
            self.replies.append(PushMessagesRequest.FromString(body))
        if name == "v1/fleet/send-node-heartbeat":
            return SendNodeHeartbeatResponse(success=True).SerializeToString()
        return b""


def message_of(kind, records):
    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, 1, 1
    message = Message(records, dst_node_id=7, message_type=kind)
    message.metadata.__dict__.update(_run_id=1, _src_node_id=1, _ttl=60.0, _group_id="1.1")
    return message


def contents(tmp_path):
    bomb = pickle.dumps(Bomb(tmp_path / "exploded"))
    array = Array(dtype="object", shape=(1,), stype="numpy.ndarray", data=bomb)
    fab = {"fab_hash": b"0" * 32, "fab": b"PK\x03\x04" + bytes(100), "app": b"evil:app"}
    return {
        "bundle": RecordDict({"secagg": ConfigRecord(fab)}),
        "pickle": RecordDict({"model": ArrayRecord({"model": array})}),
        "nothing": RecordDict({}),
    }


@pytest.mark.parametrize("kind", ["train", "train.agent_app", "query.share", "evaluate.fab"])
@pytest.mark.parametrize("content", ["bundle", "pickle", "nothing"])
def test_an_agent_never_fetches_imports_or_unpickles_what_it_is_pushed(tmp_path, kind, content):
    evil = EvilCoordinator(message_of(kind, contents(tmp_path)[content]))
    app = Starlette(routes=[Route("/{path:path}", evil.answer, methods=["POST", "GET"])])
    certificate, key = self_signed()
    (tmp_path / "evil.crt").write_bytes(certificate)
    (tmp_path / "evil.key").write_bytes(key)
    agent = BenchAgent("target")
    with free_server(app, tmp_path / "evil.crt", tmp_path / "evil.key") as port:
        agent.start(f"https://127.0.0.1:{port}", certificate)
        await_true(lambda: evil.replies or "ended early" in " ".join(agent.status), 60, "no answer")
        agent.stop()
    assert agent.error is None
    assert agent.requests == [], "the session was asked"
    assert {path.removeprefix("v1/fleet/") for path in evil.asked} <= AGENTS_ROUTES
    assert not (tmp_path / "exploded").exists()
    for reply in evil.replies:
        assert not reply.messages_list[0].HasField("content")
        assert reply.messages_list[0].error.reason == ""
    assert isinstance(agent.node_key, ec.EllipticCurvePrivateKey)
