"""Flower's protobuf for the gateway, which imports no flwr: parsing requests, making answers."""

from collections.abc import Callable, Mapping

from edgeveil.shared.flower import environment as flower_environment  # noqa: F401 - first: Flower reads its switches at import

# isort: split
from flwr.proto import fleet_pb2, heartbeat_pb2, message_pb2
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from edgeveil.coordinator.gateway.vocabulary import Delivered, FleetCall, Operation, PushedMessage
from edgeveil.shared.flower.objects import MAX_OBJECT_BYTES

_MOST_NODES = 4096  # of an object tree; a message of ours has one for every 5 MiB, and a few
_MOST_FIELDS, _MOST_SMALL_BYTES = 16, 1024  # of a push-object request, and of each but its content
_CONTENT_FIELD = 4  # of PushObjectRequest
_CONTENT_TAG = b"\x1a"  # field 3 of PullObjectResponse, length-delimited


class FlowerCodec:
    """Implements coordinator.gateway.vocabulary.FleetCodec."""

    def parse(self, operation: Operation, body: bytes) -> FleetCall:
        try:
            return _PARSERS[operation](body)
        except DecodeError as error:
            raise ValueError("not the protobuf of this route") from error

    def delivered(self, body: bytes) -> list[Delivered]:
        answer = fleet_pb2.PullMessagesResponse.FromString(body)
        return [
            Delivered(message.metadata.message_id, flatten(tree)[0])
            for message, tree in zip(answer.messages_list, answer.message_object_trees, strict=True)
        ]

    def upload(self, body: bytes) -> tuple[str, tuple[str, ...]]:
        answer = fleet_pb2.PushMessagesResponse.FromString(body)
        return answer.session_id, tuple(answer.objects_to_push)

    def deactivate(self, node_id: int) -> bytes:
        return bytes(fleet_pb2.DeactivateNodeRequest(node_id=node_id).SerializeToString())

    def object_answer(self, content: bytes | None) -> tuple[bytes, ...]:
        if content is None:
            return (message_pb2.PullObjectResponse(object_found=False).SerializeToString(),)
        head = message_pb2.PullObjectResponse(
            object_found=True, object_available=True
        ).SerializeToString()
        return (head + _CONTENT_TAG + _varint(len(content)), content)

    def stored_answer(self) -> bytes:
        return bytes(message_pb2.PushObjectResponse(stored=True).SerializeToString())


def flatten(tree: message_pb2.ObjectTree) -> tuple[tuple[str, ...], int]:
    """Every object id of the tree, and its depth; without recursion.

    Raises ValueError above _MOST_NODES, before a Python object is made for each of them.
    """
    names: list[str] = []
    depth = 0
    level = [tree]
    while level:
        depth += 1
        if len(names) + len(level) + sum(len(node.children) for node in level) > _MOST_NODES:
            raise ValueError("a tree of more objects than any message of ours")
        names.extend(node.object_id for node in level)
        level = [child for node in level for child in node.children]
    return tuple(names), depth


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _activate(body: bytes) -> FleetCall:
    request = fleet_pb2.ActivateNodeRequest.FromString(body)
    return FleetCall(public_key=request.public_key, interval_s=request.heartbeat_interval)


def _deactivate(body: bytes) -> FleetCall:
    return FleetCall(node_id=fleet_pb2.DeactivateNodeRequest.FromString(body).node_id)


def _heartbeat(body: bytes) -> FleetCall:
    request = heartbeat_pb2.SendNodeHeartbeatRequest.FromString(body)
    return FleetCall(node_id=request.node.node_id, interval_s=request.heartbeat_interval)


def _pull_messages(body: bytes) -> FleetCall:
    return FleetCall(node_id=fleet_pb2.PullMessagesRequest.FromString(body).node.node_id)


def _pull_object(body: bytes) -> FleetCall:
    request = message_pb2.PullObjectRequest.FromString(body)
    return FleetCall(
        node_id=request.node.node_id, run_id=request.run_id, object_id=request.object_id
    )


def _check_light(body: bytes) -> None:
    """Raise ValueError unless this is a handful of fields, of which the content alone may be large.

    Six megabytes of fields of two bytes would keep the parser busy for a fifth of a second.
    """
    at = 0
    for _ in range(_MOST_FIELDS):
        if at == len(body):
            return
        tag, at = _read_varint(body, at)
        if tag & 7 == 0:
            _, at = _read_varint(body, at)
            continue
        if tag & 7 != 2:
            raise ValueError("a field of a kind that this request has not")
        size, at = _read_varint(body, at)
        if size > (MAX_OBJECT_BYTES if tag >> 3 == _CONTENT_FIELD else _MOST_SMALL_BYTES):
            raise ValueError("a field that is too long")
        at += size
    raise ValueError("too many fields")


def _read_varint(body: bytes, at: int) -> tuple[int, int]:
    """The number and where it ends; raises ValueError."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(body):
            break
        value |= (body[at] & 0x7F) << shift
        at += 1
        if body[at - 1] < 0x80:
            return value, at
    raise ValueError("a number without an end")


def _push_object(body: bytes) -> FleetCall:
    _check_light(body)
    request = message_pb2.PushObjectRequest.FromString(body)
    return FleetCall(
        node_id=request.node.node_id,
        run_id=request.run_id,
        object_id=request.object_id,
        session_id=request.session_id,
        content=request.object_content,
    )


def _confirm(body: bytes) -> FleetCall:
    request = message_pb2.ConfirmMessageReceivedRequest.FromString(body)
    return FleetCall(
        node_id=request.node.node_id, run_id=request.run_id, object_id=request.message_object_id
    )


def _push_messages(body: bytes) -> FleetCall:
    request = fleet_pb2.PushMessagesRequest.FromString(body)
    if len(request.messages_list) != 1 or len(request.message_object_trees) != 1:
        raise ValueError("not exactly one message and one tree")
    metadata = request.messages_list[0].metadata
    tree = request.message_object_trees[0]
    objects, depth = flatten(tree)
    message = PushedMessage(
        run_id=metadata.run_id,
        message_id=metadata.message_id,
        source=metadata.src_node_id,
        destination=metadata.dst_node_id,
        reply_to=metadata.reply_to_message_id,
        group_id=metadata.group_id,
        message_type=metadata.message_type,
        root=tree.object_id,
        objects=objects,
        depth=depth,
    )
    return FleetCall(node_id=request.node.node_id, run_id=metadata.run_id, message=message)


_PARSERS: Mapping[Operation, Callable[[bytes], FleetCall]] = {
    Operation.ACTIVATE: _activate,
    Operation.DEACTIVATE: _deactivate,
    Operation.HEARTBEAT: _heartbeat,
    Operation.PULL_MESSAGES: _pull_messages,
    Operation.PUSH_MESSAGES: _push_messages,
    Operation.PULL_OBJECT: _pull_object,
    Operation.PUSH_OBJECT: _push_object,
    Operation.CONFIRM: _confirm,
}
