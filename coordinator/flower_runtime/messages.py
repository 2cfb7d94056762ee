"""Flower messages out and in: objects, trees, and the inflation of replies that nobody vouches for."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from edgeveil.shared.flower import environment as flower_environment  # noqa: F401 - first: Flower reads its switches at import

# isort: split
from flwr.app import Message, RecordDict
from flwr.app.message import remove_content_from_message
from flwr.common.serde import message_to_proto
from flwr.proto.message_pb2 import Message as ProtoMessage
from flwr.proto.message_pb2 import ObjectTree
from flwr.supercore.inflatable import inflatable_object, inflatable_utils

from edgeveil.coordinator.machine.transport import Lost
from edgeveil.shared.flower.codec import decode_reply
from edgeveil.shared.flower.objects import check_objects
from edgeveil.shared.wire.messages import Attempt, Kind, Reply, Request

_SMALL = 64 << 10  # heads and records beside the bulk data
_LOST = {3: Lost.FAILED, 4: Lost.UNAVAILABLE, 5: Lost.UNAVAILABLE}  # Flower's ErrorCode


@dataclass(frozen=True, slots=True)
class Outgoing:
    message_id: str
    proto: ProtoMessage
    tree: ObjectTree
    objects: Mapping[str, inflatable_object.InflatableObject] = field(repr=False)


def group_id(attempt: Attempt) -> str:
    return f"{attempt.round}.{attempt.attempt}"


def build(request: Request, records: RecordDict, node_id: int, ttl_s: float) -> Outgoing:
    """Call it inside Flower's `no_object_id_recompute`, so that shared records are hashed once."""
    message = Message(
        records, node_id, str(request.stage), ttl=ttl_s, group_id=group_id(request.attempt)
    )
    message.metadata.__dict__["_message_id"] = message.object_id
    return Outgoing(
        message.object_id,
        message_to_proto(remove_content_from_message(message)),
        inflatable_object.get_object_tree(message),
        inflatable_object.get_all_nested_objects(message),
    )


def read_reply(
    header: ProtoMessage,
    contents: Mapping[str, bytes] | None,
    *,
    stage: Kind,
    attempt: Attempt,
    most_bytes: int,
) -> Reply | Lost:
    """The reply to one request, or why there is none. Never raises: the content is a stranger's."""
    if header.HasField("error"):
        return _LOST.get(header.error.code, Lost.FAILED)
    try:
        reply = _inflate(header.metadata.message_id, contents or {}, most_bytes)
    except Exception:  # noqa: BLE001 - Flower's inflation raises whatever the bytes provoke
        return Lost.MALFORMED
    if reply is None:
        return Lost.FAILED
    same = reply.stage is stage and reply.attempt == attempt
    return reply if same else Lost.MALFORMED


def _inflate(message_id: str, contents: Mapping[str, bytes], most_bytes: int) -> Reply | None:
    """None if the message is an error report."""
    check_objects(contents, most_bytes=most_bytes + _SMALL)
    message = inflatable_utils.inflate_object_from_contents(message_id, dict(contents))
    if not isinstance(message, Message):
        raise TypeError("the root object is no message")
    return decode_reply(message.content) if message.has_content() else None
