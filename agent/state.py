"""The agent's home folder: keys, pins, roster and counters. Everything is saved before it is sent."""

from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from shared.clock import Clock
from shared.identity import Identity
from shared.messages import Attempt
from shared.roster import Roster, SignedRoster


@dataclass(frozen=True, slots=True)
class Pinned:
    """What this device believes about its coordinator since it joined. Keys are raw 32 bytes."""

    url: str
    ca_pem: bytes
    coordinator_public: bytes
    federation_public: bytes
    name: str
    agent_id: bytes
    token_id: bytes
    state: Literal["joining", "pending", "member"]


class AgentHome:
    """Folder 0700; see the properties for what lies where."""

    def __init__(self, path: Path) -> None:
        """Creates the folder; raises StateDamaged when it cannot be private."""
        raise NotImplementedError

    path: Path
    ledger_folder: Path
    policy_path: Path

    def lock(self) -> AbstractContextManager[None]:
        """Held by `agent run`; raises Busy when another process has it."""
        raise NotImplementedError

    def ensure_keys(self) -> None: ...
    def identity(self) -> Identity: ...
    def node_key(self) -> EllipticCurvePrivateKey: ...
    def pinned(self) -> Pinned:
        """Raises EnrollmentError when this home never joined."""
        raise NotImplementedError

    def find_pinned(self) -> Pinned | None: ...
    def save_pinned(self, pinned: Pinned) -> None: ...
    def roster(self) -> SignedRoster | None: ...
    def accept_roster(self, body: bytes, signature: bytes, *, now: float) -> Roster:
        """The roster rules of the device. Raises ProtocolError with the refusal's code
        (ROSTER_SIGNATURE, ROSTER_STALE, EQUIVOCATION, ROSTER_EXPIRED, NOT_MEMBER)."""
        raise NotImplementedError

    def next_session(self) -> int:
        """Increment, fsync, return: one number per start of the agent."""
        raise NotImplementedError

    def last_attempt(self, run_id: str) -> Attempt | None: ...
    def advance(self, attempt: Attempt) -> None:
        """Remember `attempt`; raises ProtocolError(ROUND_REPLAY) unless it is newer than the last."""
        raise NotImplementedError

    def join_secret(self) -> bytes | None: ...
    def save_join_secret(self, secret: bytes) -> None: ...
    def erase_join_secret(self) -> None: ...
