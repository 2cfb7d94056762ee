"""The gateway's way to SuperLink: a pooled client on loopback that counts what it forwards."""

from collections import Counter
from dataclasses import dataclass

from edgeveil.coordinator.gateway.auth import Claim
from edgeveil.coordinator.gateway.http.loopback_http import LoopbackClient, NoAnswer
from edgeveil.coordinator.gateway.vocabulary import FLEET, Operation, Reason, Rejected, Upstream

MEDIA_TYPE = "application/protobuf"


@dataclass(frozen=True, slots=True)
class Answer:
    """A response in pieces that are sent one after another, so that an object is never copied."""

    status: int
    pieces: tuple[bytes, ...]
    media_type: str = MEDIA_TYPE

    def body(self) -> bytes:
        return self.pieces[0] if len(self.pieces) == 1 else b"".join(self.pieces)

    def size(self) -> int:
        return sum(len(piece) for piece in self.pieces)


class UpstreamClient:
    """Runs in the gateway's event loop. `forwarded` counts requests by agent id."""

    def __init__(self, upstream: Upstream, forwarded: Counter[bytes]) -> None:
        self.upstream = upstream
        self._forwarded = forwarded
        self._client = LoopbackClient(upstream.url, upstream.tls)

    async def send(self, operation: Operation, claim: Claim, body: bytes) -> Answer:
        """Forward with Flower's own headers; raises Rejected(unavailable) if SuperLink is away."""
        headers = claim.forwarded() | {"content-type": MEDIA_TYPE, "accept": MEDIA_TYPE}
        self._forwarded[claim.node.member.agent_id] += 1
        try:
            status, media_type, content = await self._client.post(FLEET + operation, body, headers)
        except NoAnswer as error:
            raise Rejected(Reason.UNAVAILABLE) from error
        return Answer(status, (content,), media_type or MEDIA_TYPE)

    async def close(self) -> None:
        await self._client.close()
