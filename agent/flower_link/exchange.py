"""One message down and its reply up: Flower's objects, within the bounds of a small device."""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from edgeveil.shared.flower import environment as flower_environment  # noqa: F401 - first: Flower reads its switches at import

# isort: split
from flwr.app import Message
from flwr.app.message import remove_content_from_message
from flwr.common.serde import message_to_proto
from flwr.proto import fleet_pb2, message_pb2
from flwr.proto.node_pb2 import Node
from flwr.supercore.inflatable import inflatable_object, inflatable_utils
from flwr.supernode.fleet_http_client import FleetHttpClient

from edgeveil.agent.flower_link.kept_objects import KeptObjects
from edgeveil.agent.flower_link.retry import Caller, Dropped
from edgeveil.shared.base.errors import ProtocolError
from edgeveil.shared.base.failpoints import Failpoint, failpoint
from edgeveil.shared.flower.objects import check_objects, most_objects

MOST_DOWNLOAD_BYTES = 1 << 30
_PARALLEL = 2

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, eq=False)
class Exchange:
    """Every call gives up at `deadline` (monotonic), the message's own; then Dropped is raised."""

    client: FleetHttpClient
    caller: Caller
    node: Node
    run_id: int
    deadline: float
    kept: KeptObjects = field(default_factory=KeptObjects)

    def download(self, tree: message_pb2.ObjectTree) -> Message:
        """Fetch, confirm and inflate; raises Dropped if it is no message of ours."""
        names = list(
            dict.fromkeys(item.object_id for item in inflatable_object.iterate_object_tree(tree))
        )
        if len(names) > most_objects(MOST_DOWNLOAD_BYTES):
            raise Dropped("the message has too many objects")
        contents = self.kept.known(names)
        missing = [name for name in names if name not in contents]
        contents |= zip(missing, self._spread(self._pull, missing), strict=True)
        confirm = message_pb2.ConfirmMessageReceivedRequest(
            node=self.node, run_id=self.run_id, message_object_id=tree.object_id
        )
        self._call(partial(self.client.ConfirmMessageReceived, confirm))
        message = _inflate(tree.object_id, dict(contents))  # which inflating empties
        self.kept.keep(contents)
        return message

    def upload(self, reply: Message) -> bool:
        """Send the reply and its objects; False if the coordinator no longer wanted it."""
        with inflatable_object.no_object_id_recompute():
            reply.metadata.__dict__["_message_id"] = reply.object_id
            objects = inflatable_object.get_all_nested_objects(reply)
            request = fleet_pb2.PushMessagesRequest(
                node=self.node,
                messages_list=[message_to_proto(remove_content_from_message(reply))],
                message_object_trees=[inflatable_object.get_object_tree(reply)],
            )
        failpoint(Failpoint.AGENT_PUSH_BEFORE)
        answer = self._call(partial(self.client.PushMessages, request))
        wanted = [name for name in answer.objects_to_push if name in objects]
        push = partial(self._push, objects, answer.session_id)
        stored = all(self._spread(push, wanted)) and bool(wanted)
        failpoint(Failpoint.AGENT_PUSH_AFTER)
        return stored

    def _pull(self, name: str) -> bytes:
        request = message_pb2.PullObjectRequest(node=self.node, run_id=self.run_id, object_id=name)
        answer = self._call(partial(self.client.PullObject, request))
        content = bytes(answer.object_content)
        if not answer.object_available or hashlib.sha256(content).hexdigest() != name:
            raise Dropped("an object of the message is not to be had")
        return content

    def _push(
        self, objects: Mapping[str, inflatable_object.InflatableObject], session_id: str, name: str
    ) -> bool:
        request = message_pb2.PushObjectRequest(
            node=self.node,
            run_id=self.run_id,
            object_id=name,
            object_content=objects[name].deflate(),
            session_id=session_id,
        )
        return bool(self._call(partial(self.client.PushObject, request)).stored)

    def _call(self, action: Callable[[], Result]) -> Result:
        return self.caller.call(action, deadline=self.deadline)

    @staticmethod
    def _spread(action: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
        """Two at a time; the first failure is the result."""
        with ThreadPoolExecutor(_PARALLEL) as pool:
            return list(pool.map(action, items))


def _inflate(message_id: str, contents: dict[str, bytes]) -> Message:
    try:
        check_objects(contents, most_bytes=MOST_DOWNLOAD_BYTES)
        message = inflatable_utils.inflate_object_from_contents(message_id, contents)
    except ProtocolError as error:
        raise Dropped(error.message) from error
    except Exception as error:  # Flower's inflation raises whatever the bytes provoke
        raise Dropped("the message cannot be read") from error
    if not isinstance(message, Message) or not message.has_content():
        raise Dropped("the message has no content")
    message.metadata.__dict__["_message_id"] = message_id
    return message
