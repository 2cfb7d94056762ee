"""Bodies and answers within bounds, of one request each. Nothing here knows Flower or agents."""

import asyncio
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from starlette.types import Receive, Scope, Send

from edgeveil.coordinator.gateway.vocabulary import Reason, Rejected

_SLOWEST_BYTES_PER_S = 8 << 10
# Of an answer, given to a connection at once: with what TLS adds it stays below WRITE_BUFFER.
_SLICE_BYTES = 496 << 10
CONNECTION = "edgeveil.connection"
_PATH = re.compile(rb"[a-z0-9/-]{1,64}")


class ClientGone(Exception):
    """The client closed the connection; there is nobody to answer."""


class Body:
    """Reads a request's body once, within a cap and a deadline."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self._receive = receive
        self._headers: list[tuple[bytes, bytes]] = scope["headers"]
        self.complete = False

    async def read(self, cap: int, deadline_s: float) -> bytes:
        """The whole body.

        Raises:
            Rejected: oversize (by Content-Length before a byte is read, or while streaming),
                malformed (a content encoding), slow: `deadline_s`, and a second more for every
                8 KiB that did come, so that a slow but steady link gets its body through.
            ClientGone: the connection closed.
        """
        self.announced(cap)
        parts = io.BytesIO()  # whose value is no copy
        loop = asyncio.get_running_loop()
        end = loop.time() + deadline_s
        try:
            while not self.complete:
                async with asyncio.timeout_at(end + parts.tell() / _SLOWEST_BYTES_PER_S):
                    await self._next(parts, cap)
        except TimeoutError as error:
            raise Rejected(Reason.SLOW) from error
        return parts.getvalue()

    async def gone(self) -> None:
        """Returns when the client closes the connection; call it after the body was read."""
        while (await self._receive())["type"] != "http.disconnect":
            continue

    def announced(self, cap: int) -> int:
        """Its bytes by Content-Length; raises Rejected as read() does."""
        size = 0
        for name, value in self._headers:
            if name == b"content-encoding":
                raise Rejected(Reason.MALFORMED)
            if name == b"content-length":
                size = int(value)
        if size > cap:
            raise Rejected(Reason.OVERSIZE)
        return size

    async def _next(self, parts: io.BytesIO, cap: int) -> None:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        parts.write(message.get("body", b""))
        self.complete = not message.get("more_body", False)
        if parts.tell() > cap:
            raise Rejected(Reason.OVERSIZE)


def check_request(scope: Scope) -> None:
    """Only requests that a proxy in front cannot read in another way than we do.

    Raises:
        Rejected: not_found (a path with an escape or a query, which nothing here has), malformed (two
            ways of saying where the body ends, or a body where none belongs).
    """
    if scope["query_string"] or not _PATH.fullmatch(scope["raw_path"]):
        raise Rejected(Reason.NOT_FOUND)
    names = [name for name, _ in scope["headers"]]
    lengths, chunked = names.count(b"content-length"), names.count(b"transfer-encoding")
    if lengths + chunked > (scope["method"] != "GET"):
        raise Rejected(Reason.MALFORMED)


async def send_pieces(
    send: Send,
    status: int,
    pieces: Sequence[bytes | memoryview],
    media_type: str,
    *,
    close: bool = False,
) -> None:
    """Slice by slice as the client takes them, so that little of it waits in buffers."""
    headers = [
        (b"content-type", media_type.encode("latin-1")),
        (b"content-length", str(sum(map(len, pieces))).encode("ascii")),
    ]
    if close:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    slices = list(_slices(pieces))
    for number, piece in enumerate(slices, 1):
        await send({"type": "http.response.body", "body": piece, "more_body": number < len(slices)})


def _slices(pieces: Sequence[bytes | memoryview]) -> Iterator[bytes | memoryview]:
    for piece in pieces:
        if len(piece) <= _SLICE_BYTES:
            yield piece
        else:
            view = memoryview(piece)
            yield from (view[at : at + _SLICE_BYTES] for at in range(0, len(piece), _SLICE_BYTES))


async def send_json(
    send: Send, status: int, fields: Mapping[str, object], *, close: bool = False
) -> int:
    """Returns the number of body bytes."""
    body = json.dumps(fields, separators=(",", ":")).encode("utf-8")
    await send_pieces(send, status, (body,), "application/json", close=close)
    return len(body)


class Connection(Protocol):
    """What a route may say of the connection that a request came on."""

    def claim(self) -> None: ...
    def disown(self) -> None: ...
    def admit(self, agent_id: bytes) -> None: ...


def _connection(scope: Scope) -> Connection:
    found: Connection = scope["state"][CONNECTION]
    return found


def recognise(scope: Scope) -> None:
    """The request's head shows that whoever sends it has an agent's key: it is no stranger's."""
    _connection(scope).claim()


def disown(scope: Scope) -> None:
    """Nothing that an agent asks, or more than it may: until the next good head it counts as a stranger's."""
    _connection(scope).disown()


def trust(scope: Scope, agent_id: bytes) -> None:
    """The request of this scope passed every check: its connection is that agent's and may stay."""
    _connection(scope).admit(agent_id)


def client_address(scope: Scope) -> str:
    client = scope.get("client")
    return str(client[0]) if client else ""
