"""An authenticated agent that can say anything: every header and body by hand."""

import base64
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.app.message import remove_content_from_message
from flwr.common.serde import message_to_proto
from flwr.proto.fleet_pb2 import (
    ActivateNodeRequest,
    ActivateNodeResponse,
    PullMessagesRequest,
    PullMessagesResponse,
    PushMessagesRequest,
    PushMessagesResponse,
)
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest
from flwr.proto.message_pb2 import (
    ConfirmMessageReceivedRequest,
    PullObjectRequest,
    PushObjectRequest,
)
from flwr.proto.node_pb2 import Node
from flwr.supercore.inflatable.inflatable_object import (
    get_all_nested_objects,
    get_object_tree,
)
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents
from transport_bench import Bench, BenchAgent

from edgeveil.shared.wire.certificates import pinned_context
from edgeveil.shared.wire.messages import PROTOCOL
from edgeveil.shared.wire.request_signature import sign

FLEET = "/v1/fleet/"


class RawAgent:
    def __init__(self, bench: Bench, agent: BenchAgent, session: int = 1) -> None:
        self.agent = agent
        self.session = f"{session}.{os.urandom(8).hex()}"
        self.client = httpx.Client(
            base_url=bench.url,
            verify=pinned_context(bench.certificate),
            trust_env=False,
            timeout=30,
        )
        self.node_id = 0

    def headers(
        self, path: str, body: bytes, *, age_s: float = 0.0, nonce: bytes | None = None
    ) -> dict[str, str]:
        timestamp = (datetime.now(UTC) - timedelta(seconds=age_s)).isoformat()
        triple = self.agent.node_key.sign(timestamp.encode(), ec.ECDSA(hashes.SHA256()))
        return {
            "content-type": "application/protobuf",
            "flwr-public-key": base64.b64encode(self.agent.member.node_public).decode(),
            "flwr-timestamp": timestamp,
            "flwr-signature": base64.b64encode(triple).decode(),
            "edgeveil-session": self.session,
            "edgeveil-protocol": str(PROTOCOL),
            "edgeveil-signature": sign(
                self.agent.identity,
                path,
                body,
                timestamp=timestamp,
                session=self.session,
                nonce=nonce or os.urandom(16),
            ),
        }

    def post(self, operation: str, body: bytes, **options: object) -> httpx.Response:
        path = FLEET + operation
        return self.client.post(path, content=body, headers=self.headers(path, body, **options))

    def activate(self) -> httpx.Response:
        request = ActivateNodeRequest(
            public_key=self.agent.member.node_public, heartbeat_interval=30
        )
        response = self.post("activate-node", request.SerializeToString())
        if response.status_code == 200:
            self.node_id = ActivateNodeResponse.FromString(response.content).node_id
        return response

    @property
    def node(self) -> Node:
        return Node(node_id=self.node_id)

    def poll(self) -> PullMessagesResponse:
        response = self.post(
            "pull-messages", PullMessagesRequest(node=self.node).SerializeToString()
        )
        assert response.status_code == 200, response.text
        return PullMessagesResponse.FromString(response.content)

    def heartbeat(self, interval: float = 30) -> httpx.Response:
        request = SendNodeHeartbeatRequest(node=self.node, heartbeat_interval=interval)
        return self.post("send-node-heartbeat", request.SerializeToString())

    def pull_object(self, run_id: int, name: str) -> httpx.Response:
        request = PullObjectRequest(node=self.node, run_id=run_id, object_id=name)
        return self.post("pull-object", request.SerializeToString())

    def confirm(self, run_id: int, name: str) -> httpx.Response:
        request = ConfirmMessageReceivedRequest(
            node=self.node, run_id=run_id, message_object_id=name
        )
        return self.post("confirm-message-received", request.SerializeToString())

    def receive(self) -> Message:
        """Poll, fetch and confirm one message."""
        answer = self.poll()
        tree = answer.message_object_trees[0]
        run_id = answer.messages_list[0].metadata.run_id
        contents: dict[str, bytes] = {}
        level = [tree]
        while level:
            item = level.pop()
            level.extend(item.children)
            response = self.pull_object(run_id, item.object_id)
            assert response.status_code == 200, response.text
            from flwr.proto.message_pb2 import PullObjectResponse

            contents[item.object_id] = PullObjectResponse.FromString(
                response.content
            ).object_content
        assert self.confirm(run_id, tree.object_id).status_code == 200
        message = inflate_object_from_contents(tree.object_id, contents)
        message.metadata.__dict__["_message_id"] = tree.object_id
        return message

    def announce(self, reply: Message) -> tuple[httpx.Response, dict[str, bytes]]:
        """Push a reply's header and tree; its objects' contents for `push_object`."""
        reply.metadata.__dict__["_message_id"] = reply.object_id
        request = PushMessagesRequest(
            node=self.node,
            messages_list=[message_to_proto(remove_content_from_message(reply))],
            message_object_trees=[get_object_tree(reply)],
        )
        objects = {name: item.deflate() for name, item in get_all_nested_objects(reply).items()}
        return self.post("push-messages", request.SerializeToString()), objects

    def push_object(
        self, run_id: int, session_id: str, name: str, content: bytes
    ) -> httpx.Response:
        request = PushObjectRequest(
            node=self.node,
            run_id=run_id,
            object_id=name,
            object_content=content,
            session_id=session_id,
        )
        return self.post("push-object", request.SerializeToString())

    def send(self, reply: Message) -> None:
        response, objects = self.announce(reply)
        assert response.status_code == 200, response.text
        answer = PushMessagesResponse.FromString(response.content)
        for name in answer.objects_to_push:
            done = self.push_object(reply.metadata.run_id, answer.session_id, name, objects[name])
            assert done.status_code == 200, done.text


def code(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["code"]


def nonsense(message: Message, **values: bytes) -> Message:
    """A well-formed Flower reply with content of our choice."""
    return Message(RecordDict({"secagg": ConfigRecord(dict(values))}), reply_to=message)


@contextmanager
def connected_pair(bench: Bench) -> Iterator[tuple[RawAgent, RawAgent]]:
    """Two agents that are connected, by hand; with fresh keys."""
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


def resident() -> int:
    """Bytes of memory this process uses."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
