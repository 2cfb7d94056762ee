"""The gateway's way to SuperLink: a pooled client on loopback that counts what it forwards."""

import importlib.util
import sys
from collections import Counter
from dataclasses import dataclass

import httpx

from coordinator.gateway.auth import Claim
from coordinator.gateway.vocabulary import FLEET, Operation, Reason, Rejected, Upstream

MEDIA_TYPE = "application/protobuf"
_KEEP_ALIVE_S = 4.0  # below the 5 s after which SuperLink closes an idle connection
_MOST_ANSWER_BYTES = 8 << 20
_CONNECTIONS = 8  # each request looks at every one of them, and SuperLink works on few at a time

# httpcore tries to import it at each of its events; where it is not installed, a search through all of
# sys.path every time was a seventh of the gateway's work. None makes the attempt fail at once.
if importlib.util.find_spec("sniffio") is None:
    sys.modules["sniffio"] = None  # type: ignore[assignment]


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
        self._client = httpx.AsyncClient(
            base_url=upstream.url,
            verify=upstream.tls,
            trust_env=False,
            follow_redirects=False,
            timeout=httpx.Timeout(30.0, connect=5.0),
            limits=httpx.Limits(max_connections=_CONNECTIONS, keepalive_expiry=_KEEP_ALIVE_S),
        )

    async def send(self, operation: Operation, claim: Claim, body: bytes) -> Answer:
        """Forward with Flower's own headers; raises Rejected(unavailable) if SuperLink is away."""
        headers = claim.forwarded() | {"content-type": MEDIA_TYPE, "accept": MEDIA_TYPE}
        self._forwarded[claim.node.member.agent_id] += 1
        try:
            response = await self._client.post(FLEET + operation, content=body, headers=headers)
        except httpx.TransportError as error:
            raise Rejected(Reason.UNAVAILABLE) from error
        if len(response.content) > _MOST_ANSWER_BYTES:
            raise Rejected(Reason.UNAVAILABLE)
        media_type = response.headers.get("content-type", MEDIA_TYPE)
        return Answer(response.status_code, (response.content,), media_type)

    async def close(self) -> None:
        await self._client.aclose()
