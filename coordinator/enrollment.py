"""Invitations and the join desk: how a device gets from a token to the roster."""

from collections.abc import Sequence

from coordinator.store import Store
from shared.clock import Clock
from shared.event_log import EventLog
from shared.tokens import Token


def create_invites(
    store: Store,
    names: Sequence[str],
    *,
    ttl_s: float,
    url: str,
    ca_sha256: bytes,
    federation_public: bytes,
    coordinator_public: bytes,
    clock: Clock | None = None,
) -> list[Token]:
    """One token per name; an unused invite of the same name stops working.

    Raises:
        ConfigError: a bad or repeated name, an empty list, a lifetime that is not positive.
        EnrollmentError: a name is enrolled already.
    """
    raise NotImplementedError


class JoinDesk:
    """Answers POST /v1/join. Thread-safe; never raises on anything a stranger can send."""

    def __init__(
        self, store: Store, *, events: EventLog | None = None, clock: Clock | None = None
    ) -> None:
        raise NotImplementedError

    def handle(self, body: bytes, address: str) -> tuple[int, dict[str, str]]:
        """(HTTP status, JSON object) for one request from `address`."""
        raise NotImplementedError
