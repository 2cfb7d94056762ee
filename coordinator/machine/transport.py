"""What the driver needs of a transport, free of Flower, HTTP and threads (docs/transport.md).

`coordinator.flower_runtime.FlowerRuntime` is the real one. A message is delivered at most once; the
transport may deliver the identical request again after an agent restarted, so an agent answers
repeats from its cache or refuses. Nothing here is trusted: requests and replies carry signatures.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from edgeveil.shared.events.log import Event, Level
from edgeveil.shared.wire.condition import Condition
from edgeveil.shared.wire.messages import Reply, Request


@dataclass(frozen=True, slots=True)
class Member:
    """An agent that may connect: `identity_public` 32 bytes (Ed25519), `node_public` P-256 as PEM."""

    agent_id: bytes
    name: str
    identity_public: bytes
    node_public: bytes


@dataclass(frozen=True, slots=True)
class Presence:
    """`connected`: asked for work or worked on it just now; `last_seen` in Unix seconds."""

    connected: bool
    last_seen: float | None
    condition: Condition | None = None  # as the device tells it, if it does


class Lost(StrEnum):
    """Why no reply will come for a request, although the deadline has not passed."""

    UNAVAILABLE = "unavailable"  # the agent went offline
    EXPIRED = "expired"  # the message outlived its time to live
    FAILED = "failed"  # the agent answered with an error and nothing else
    MALFORMED = "malformed"  # what it answered cannot be a reply to this request


@dataclass(frozen=True, slots=True)
class Incoming:
    """Exactly one of `reply` and `lost` is set."""

    agent_id: bytes
    reply: Reply | None = field(default=None, repr=False)
    lost: Lost | None = None


class Log(Protocol):
    """Where the transport reports events; `agent` is a name, never an address or a key."""

    def __call__(
        self, event: Event, *, level: Level = "info", agent: str = "", reason: str = ""
    ) -> None: ...


class Transport(Protocol):
    """Used by one driver thread; every method may raise TransportError once `alive()` is false."""

    def alive(self) -> bool:
        """False for good once the transport has failed: stop the process, let it be restarted."""

    def presence(self) -> Mapping[bytes, Presence]:
        """Of every member, by agent id."""

    def send(
        self, requests: Mapping[bytes, Request], *, ttl_s: float, reply_limit: int | None = None
    ) -> frozenset[bytes]:
        """Hand one request to each agent; the agents for which it was accepted.

        Requests with the same `bulk` object share one copy. `reply_limit` bounds the bytes an agent
        may upload in answer (default: 1 MiB plus 2.2 × the largest bulk sent since `forget`).
        """

    def receive(self, timeout_s: float) -> list[Incoming]:
        """What has arrived, waiting for at most `timeout_s` seconds; empty when nothing came."""

    def forget(self) -> None:
        """The attempt is over: free its objects, ignore every reply that is still to come."""

    def take_traffic(self) -> tuple[int, int]:
        """Bytes (up, down) between gateway and agents since the last call."""
