"""`agent join`: from a token to a pinned coordinator and a place on the roster."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from agent.state import AgentHome
from shared.clock import Clock
from shared.tokens import Token


@dataclass(frozen=True, slots=True)
class JoinState:
    state: Literal["pending", "member"]
    agent_id: bytes
    name: str


def join(
    home: AgentHome, token: Token, *, clock: Clock | None = None, timeout_s: float = 10.0
) -> JoinState:
    """Join once; the same token again continues where it stopped.

    Raises:
        EnrollmentError: wrong CA, token mistyped, expired, used, void; name taken; other home.
        TransportError: unreachable, or its certificate does not verify.
    """
    raise NotImplementedError


def refresh(home: AgentHome, *, clock: Clock | None = None, timeout_s: float = 10.0) -> JoinState:
    """Ask again with the stored secret; the state of a member is answered without the network."""
    raise NotImplementedError


def wait_until_member(
    home: AgentHome,
    stop: threading.Event,
    on_status: Callable[[str], None],
    *,
    every_s: float = 3.0,
    clock: Clock | None = None,
) -> JoinState:
    """refresh() until a signed roster holds us or `stop` is set; retries what may heal by itself."""
    raise NotImplementedError
