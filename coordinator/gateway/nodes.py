"""What the gateway knows of each agent: key, session, messages on their way, presence.

One lock guards it all, since the driver's thread announces messages while the gateway's serves
polls. "Node" is Flower's word for the session value that SuperLink gave to a key; identity is the
key, and a node id means nothing after a restart.
"""

import asyncio
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from edgeveil.coordinator.gateway.vocabulary import Instruction
from edgeveil.coordinator.machine.transport import Member, Presence
from edgeveil.shared.base.clock import Clock
from edgeveil.shared.base.errors import ConfigError
from edgeveil.shared.wire.condition import Condition
from edgeveil.shared.wire.request_signature import Session

FRESH_S = 5.0  # between two polls
BUSY_S = 65.0  # at work, with a heartbeat every 24 s


@dataclass(slots=True, eq=False)
class Node:
    member: Member
    transport_key: EllipticCurvePublicKey
    identity: Ed25519PublicKey
    node_id: int = 0  # 0: not registered with the running SuperLink
    session: Session | None = None
    alarmed: int = 0  # the session counter of the last clone alarm
    forgotten: float = float("-inf")  # the newest signed time of this session whose nonce is gone
    active: bool = False  # has activated since this gateway met this SuperLink
    revoked: bool = False
    announced: dict[str, Instruction] = field(default_factory=dict)  # SuperLink has it any moment
    waiting: dict[str, Instruction] = field(default_factory=dict)  # SuperLink has it
    delivered: dict[str, Instruction] = field(default_factory=dict)
    replies: dict[str, Instruction] = field(default_factory=dict)  # by reply id, on their way
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    generation: int = 0  # of polls; a newer one ends an older
    polls: int = 0  # open now
    requests: int = 0  # open now
    bytes_coming: int = 0  # of the bodies of these
    vanished: bool = False  # its connection closed while it waited for work
    seen_monotonic: float | None = None
    seen_wall: float | None = None
    heartbeat: float = -1e9
    condition: Condition | None = None  # of this session
    fetched: int = 0  # serial of the newest published model that it says to have
    model: str | None = None  # the one in use, where its owner lets it tell

    def seen(self, clock: Clock) -> None:
        self.seen_monotonic = clock.monotonic()
        self.seen_wall = clock.wall()
        self.vanished = False

    def on_its_way(self, message_id: str) -> Instruction | None:
        """Take the message out of those not delivered yet."""
        found = self.waiting.pop(message_id, None)
        return found or self.announced.pop(message_id, None)

    def clear(self) -> None:
        """Forget every message."""
        for messages in (self.announced, self.waiting, self.delivered, self.replies):
            messages.clear()

    def silence(self, now: float) -> float:
        """Seconds since the agent was last heard of; infinite before its first request."""
        if self.polls > 0:
            return 0.0
        return float("inf") if self.seen_monotonic is None else now - self.seen_monotonic

    def presence(self, now: float) -> Presence:
        within = BUSY_S if self.delivered else FRESH_S
        there = self.active and not self.vanished and self.silence(now) < within
        return Presence(there, self.seen_wall, self.condition)


class Nodes:
    """The agents by transport key; `lock` is held for every look at their changing fields."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.run_id = 0
        self.met: set[int] = set()  # node ids that have activated: SuperLink may hold them online
        self._by_key: dict[bytes, Node] = {}
        self._by_agent: dict[bytes, Node] = {}
        self._revoked: frozenset[bytes] = frozenset()
        self._ids: Mapping[bytes, int] = {}
        self._current: frozenset[int] = frozenset()  # node ids of members

    def set_members(self, members: Iterable[Member], revoked: frozenset[bytes]) -> list[Node]:
        """Take over the roster; the nodes that are no longer on it, marked as revoked."""
        with self.lock:
            old = self._by_key
            self._by_key = {
                member.node_public: self._kept(old.get(member.node_public), member)
                for member in members
            }
            self._by_agent = {node.member.agent_id: node for node in self._by_key.values()}
            removed = [node for key, node in old.items() if self._by_key.get(key) is not node]
            for node in removed:
                node.revoked = True
            gone = {key for key in old if key not in self._by_key}
            self._revoked = (self._revoked | revoked | gone) - set(self._by_key)
            self._apply_ids()
            return removed

    def set_ids(self, ids: Mapping[bytes, int]) -> None:
        """Node ids by transport key, from a SuperLink that has just been (re)attached or extended."""
        with self.lock:
            self._ids = dict(ids)
            self._apply_ids()

    def find(self, key: bytes) -> Node | None:
        with self.lock:
            return self._by_key.get(key)

    def was_revoked(self, key: bytes) -> bool:
        with self.lock:
            return key in self._revoked

    def agent(self, agent_id: bytes) -> Node | None:
        with self.lock:
            return self._by_agent.get(agent_id)

    def all(self) -> list[Node]:
        with self.lock:
            return list(self._by_key.values())

    def __len__(self) -> int:
        with self.lock:
            return len(self._by_key)

    def belongs_to_member(self, node_id: int) -> bool:
        with self.lock:
            return node_id in self._current

    def _apply_ids(self) -> None:
        self._current = frozenset(self._ids[key] for key in self._by_key if key in self._ids)
        for key, node in self._by_key.items():
            node_id = self._ids.get(key, 0)
            if node.node_id != node_id:
                node.node_id = node_id
                node.active = False

    @staticmethod
    def _kept(node: Node | None, member: Member) -> Node:
        """The same device stays connected when the operator renames it."""
        if node is not None and replace(node.member, name=member.name) == member:
            node.member = member
            return node
        return make_node(member)


def make_node(member: Member) -> Node:
    """Raises ConfigError if the member's transport key is not a P-256 public key in PEM."""
    try:
        key = load_pem_public_key(member.node_public)
    except ValueError as error:
        raise ConfigError(f"agent {member.name}: its transport key is not readable") from error
    if not isinstance(key, EllipticCurvePublicKey) or key.curve.name != "secp256r1":
        raise ConfigError(f"agent {member.name}: its transport key is not on the curve P-256")
    return Node(member, key, Ed25519PublicKey.from_public_bytes(member.identity_public))
