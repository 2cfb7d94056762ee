"""The gateway's vocabulary: routes, settings, parsed requests, refusals. No flwr, no web stack.

`FleetCodec` is how Flower's protobuf gets in without an import: coordinator.flower_runtime.wire implements
it, coordinator.flower_runtime injects it.
"""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

KIB = 1 << 10
MIB = 1 << 20
FLEET = "/v1/fleet/"
HEARTBEAT_S = 30.0  # the interval every agent must announce
SERVER_NODE = 1  # SuperLink's own node id in message metadata


class Operation(StrEnum):
    ACTIVATE = "activate-node"
    DEACTIVATE = "deactivate-node"
    HEARTBEAT = "send-node-heartbeat"
    PULL_MESSAGES = "pull-messages"
    PUSH_MESSAGES = "push-messages"
    PULL_OBJECT = "pull-object"
    PUSH_OBJECT = "push-object"
    CONFIRM = "confirm-message-received"


BODY_CAPS: Mapping[Operation, int] = {
    operation: 4 * KIB for operation in Operation if not operation.startswith("push-")
} | {Operation.PUSH_MESSAGES: 64 * KIB, Operation.PUSH_OBJECT: 6 * MIB}
JOIN_CAP = 16 * KIB


class Reason(StrEnum):
    """Why a request was refused: the `code` of the answer and the label of the counter."""

    NOT_FOUND = "not_found"
    UNKNOWN_KEY = "unknown_key"
    REVOKED = "revoked"
    CLOCK_SKEW = "clock_skew"
    SIGNATURE = "signature"
    SUPERSEDED = "superseded"
    VERSION = "version"
    IDENTITY = "identity"
    ACTIVATE_FIRST = "activate_first"
    OBJECT = "object"
    OVERSIZE = "oversize"
    RATE = "rate"
    MALFORMED = "malformed"
    SLOW = "slow"
    UNAVAILABLE = "unavailable"


_STATUS: Mapping[Reason, tuple[int, str]] = {
    Reason.NOT_FOUND: (404, "there is nothing here"),
    Reason.UNKNOWN_KEY: (401, "this key is not on the roster"),
    Reason.REVOKED: (401, "this agent has been revoked"),
    Reason.CLOCK_SKEW: (401, "the request's time is outside the allowed window"),
    Reason.SIGNATURE: (401, "the request is not signed as required"),
    Reason.SUPERSEDED: (409, "a newer session of this agent is connected"),
    Reason.VERSION: (426, "this coordinator speaks another protocol version"),
    Reason.IDENTITY: (401, "the request names another agent"),
    Reason.ACTIVATE_FIRST: (428, "activate first"),
    Reason.OBJECT: (403, "this object or message is not yours to read or send"),
    Reason.OVERSIZE: (413, "the body is too large"),
    Reason.RATE: (429, "too many requests"),
    Reason.MALFORMED: (400, "the request cannot be read"),
    Reason.SLOW: (408, "the body came too slowly"),
    Reason.UNAVAILABLE: (503, "not available now, try again"),
}


class Rejected(Exception):
    """Ends a request with the reason's fixed status and text; nothing of the request is echoed."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status, self.detail = _STATUS[reason]


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """Seconds, bytes and requests per second; the defaults are those of docs/transport.md."""

    hold_s: float = 20.0  # stays under the client's read timeout of 30 s
    body_deadline_s: float = 30.0
    header_deadline_s: float = 7.0  # with the handshake, half-open connections live under 10 s
    handshake_deadline_s: float = 5.0
    keep_alive_s: int = 75
    most_strangers: int = 512  # connections that have not authenticated
    most_strangers_per_address: int = 128
    stranger_life_s: float = 60.0  # a join with its largest body at the slowest pace takes 32 s
    oldest_s: float = 300.0
    newest_s: float = 5.0
    rate_per_agent: float = 100.0
    burst_per_agent: float = 400.0
    rate_per_address: float = 500.0
    burst_per_address: float = 2000.0
    join_rate_per_address: float = 20.0
    join_burst_per_address: float = 100.0
    join_rate: float = 100.0  # of all addresses together: joining may be slow, agents may not
    join_burst: float = 400.0
    connections_per_address: float = 200.0  # per second
    burst_connections: float = 1000.0
    most_parallel_per_agent: int = 8
    most_bytes_per_agent: int = 16 * MIB  # of bodies on their way; ours send one object at a time
    most_bytes: int = 1024 * MIB
    most_connections_per_agent: int = 16  # ours open four


@dataclass(frozen=True, slots=True)
class PushedMessage:
    """The one message of a push-messages request: its metadata and its object tree, flattened."""

    run_id: int
    message_id: str
    source: int
    destination: int
    reply_to: str
    group_id: str
    message_type: str
    root: str
    objects: tuple[str, ...]
    depth: int


@dataclass(frozen=True, slots=True)
class FleetCall:
    """What the gateway needs of a request; fields an operation lacks keep their defaults."""

    node_id: int = 0
    public_key: bytes = b""
    interval_s: float = 0.0
    run_id: int = 0
    object_id: str = ""
    session_id: str = ""
    content: bytes = field(default=b"", repr=False)
    message: PushedMessage | None = None


@dataclass(frozen=True, slots=True)
class Delivered:
    """One message in a pull-messages answer."""

    message_id: str
    objects: tuple[str, ...]


class FleetCodec(Protocol):
    def parse(self, operation: Operation, body: bytes) -> FleetCall:
        """Raises ValueError for anything but that operation's request."""

    def delivered(self, body: bytes) -> list[Delivered]:
        """The messages of a pull-messages answer."""

    def upload(self, body: bytes) -> tuple[str, tuple[str, ...]]:
        """Session id and the objects to push of a push-messages answer."""

    def deactivate(self, node_id: int) -> bytes:
        """A deactivate-node request."""

    def object_answer(self, content: bytes | None) -> tuple[bytes, ...]:
        """A pull-object answer in pieces, so that the content is never copied."""

    def stored_answer(self) -> bytes:
        """A push-object answer: stored."""


@dataclass(frozen=True, slots=True)
class Instruction:
    """A message the driver sent to an agent, as far as the gateway checks replies against it."""

    message_id: str
    agent_id: bytes
    run_id: int
    group_id: str
    message_type: str
    reply_limit: int


class Listener(Protocol):
    """Called in the gateway's thread; must return at once."""

    def ready(self, instruction: Instruction, reply_id: str) -> None:
        """The reply and all its objects are here. The only signal to pull it."""

    def lost(self, agent_id: bytes, instructions: tuple[Instruction, ...]) -> None:
        """The agent restarted, or asks for new work without having answered these."""


@dataclass(frozen=True, slots=True)
class Upstream:
    """The running SuperLink, as the gateway sees it."""

    url: str
    tls: ssl.SSLContext
    codec: FleetCodec
    listener: Listener
