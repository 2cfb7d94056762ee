"""The nonces of the last minutes, so that no request counts twice (docs/transport.md, "Gateway").

They are kept in buckets of some seconds, each given up whole: about 100 bytes for a nonce.
"""

from collections import deque
from dataclasses import dataclass, field

from edgeveil.coordinator.gateway.nodes import Node
from edgeveil.shared.base.clock import Clock
from edgeveil.shared.wire.request_signature import Session

BUCKET_S = 10.0


@dataclass(slots=True)
class _Bucket:
    """Nonces of a few seconds, and the newest time that each session signed beside one of them."""

    begun: float  # monotonic
    nonces: set[bytes] = field(default_factory=set)
    signed: dict[tuple[Node, Session], float] = field(default_factory=dict)


class Nonces:
    """Used in the gateway's thread only."""

    def __init__(self, kept_s: float, clock: Clock) -> None:
        """A nonce is known for `kept_s` at least, and BUCKET_S longer at most."""
        self._kept_s = kept_s
        self._clock = clock
        self._buckets: deque[_Bucket] = deque()

    def __len__(self) -> int:
        return sum(len(bucket.nonces) for bucket in self._buckets)

    def use(self, nonce: bytes, node: Node, session: Session, signed: float) -> bool:
        """Remember it; False if it was used before. `signed`: Unix seconds, by the agent's clock."""
        now = self._clock.monotonic()
        while self._buckets and self._buckets[0].begun + BUCKET_S + self._kept_s < now:
            _give_up(self._buckets.popleft())
        if any(nonce in bucket.nonces for bucket in self._buckets):
            return False
        if not self._buckets or now >= self._buckets[-1].begun + BUCKET_S:
            self._buckets.append(_Bucket(now))
        newest, who = self._buckets[-1], (node, session)
        newest.nonces.add(nonce)
        newest.signed[who] = max(signed, newest.signed.get(who, signed))
        return True


def _give_up(bucket: _Bucket) -> None:
    """Their time is out of the window; should our clock go back, nothing so old is taken again."""
    for (node, session), signed in bucket.signed.items():
        if session == node.session:
            node.forgotten = max(node.forgotten, signed)
