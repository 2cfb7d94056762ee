"""A small HTTP/1.1 client for the one neighbour on this machine: h11 on asyncio streams, kept-alive connections.

A hundred agents make some 1,500 requests a round; with httpx these were more than half of the gateway's work.
It follows nothing, knows no proxy and retries nothing, since a message is delivered at most once.
"""

import asyncio
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import h11

KEEP_ALIVE_S = 4.0  # below the 5 s after which SuperLink closes an idle connection
CONNECTIONS = 8
CONNECT_S, ANSWER_S = 5.0, 30.0
MOST_ANSWER_BYTES = 8 << 20
_PIECE = 64 << 10


class NoAnswer(Exception):
    """The neighbour is away, answers too slowly, too much, or not in HTTP."""


@dataclass(slots=True)
class _Connection:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    protocol: h11.Connection = field(default_factory=lambda: h11.Connection(h11.CLIENT))
    used: float = 0.0  # monotonic

    def fresh(self) -> bool:
        return time.monotonic() - self.used < KEEP_ALIVE_S and not self.reader.at_eof()


class LoopbackClient:
    """Runs in one event loop. At most CONNECTIONS requests at once; the others wait their turn."""

    def __init__(self, url: str, tls: ssl.SSLContext | None) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port or 443
        self._tls = tls
        self._idle: list[_Connection] = []
        self._turns = asyncio.Semaphore(CONNECTIONS)
        self._closed = False

    async def post(
        self, path: str, body: bytes, headers: Mapping[str, str]
    ) -> tuple[int, str, bytes]:
        """(status, content type or "", body); raises NoAnswer."""
        try:
            async with asyncio.timeout(ANSWER_S), self._turns:
                connection = self._take_idle() or await self._connect()
                try:
                    answer = await self._exchange(connection, path, body, headers)
                except BaseException:
                    self._drop(connection)
                    raise
                self._give_back(connection)
                return answer
        except (OSError, TimeoutError, EOFError, h11.ProtocolError) as error:
            raise NoAnswer(str(error)) from error

    async def close(self) -> None:
        self._closed = True
        for connection in self._idle:
            self._drop(connection)
        self._idle.clear()

    async def _connect(self) -> _Connection:
        if self._closed:
            raise EOFError("this client was closed")
        async with asyncio.timeout(CONNECT_S):
            reader, writer = await asyncio.open_connection(
                self._host, self._port, ssl=self._tls, limit=2 * _PIECE
            )
        return _Connection(reader, writer)

    async def _exchange(
        self, connection: _Connection, path: str, body: bytes, headers: Mapping[str, str]
    ) -> tuple[int, str, bytes]:
        protocol = connection.protocol
        fields = [
            ("host", f"{self._host}:{self._port}"),
            ("content-length", str(len(body))),
            *headers.items(),
        ]
        parts = [
            protocol.send(h11.Request(method="POST", target=path, headers=fields)),
            protocol.send(h11.Data(data=body)),
            protocol.send(h11.EndOfMessage()),
        ]
        connection.writer.write(b"".join(part for part in parts if part))
        await connection.writer.drain()
        response, content = await _response(connection)
        found = dict(response.headers)
        return response.status_code, found.get(b"content-type", b"").decode("latin-1"), content

    def _take_idle(self) -> _Connection | None:
        """The one used last, so that the others can grow old and be closed."""
        while self._idle:
            connection = self._idle.pop()
            if connection.fresh():
                return connection
            self._drop(connection)
        return None

    def _give_back(self, connection: _Connection) -> None:
        protocol = connection.protocol
        if (
            self._closed
            or protocol.our_state is h11.MUST_CLOSE
            or protocol.their_state is not h11.DONE
        ):
            self._drop(connection)
            return
        protocol.start_next_cycle()
        connection.used = time.monotonic()
        self._idle.append(connection)

    @staticmethod
    def _drop(connection: _Connection) -> None:
        connection.writer.transport.abort()


async def _response(connection: _Connection) -> tuple[h11.Response, bytes]:
    protocol, content = connection.protocol, bytearray()
    response: h11.Response | None = None
    while True:
        event = protocol.next_event()
        if event is h11.NEED_DATA:
            data = await connection.reader.read(_PIECE)
            if not data and response is None:
                raise EOFError("the connection ended before an answer")
            protocol.receive_data(data)
        elif isinstance(event, h11.Response):
            response = event
        elif isinstance(event, h11.Data):
            content += event.data
            if len(content) > MOST_ANSWER_BYTES:
                raise EOFError("the answer is longer than any of Flower's")
        elif isinstance(event, h11.EndOfMessage) and response is not None:
            return response, bytes(content)
        elif not isinstance(event, h11.InformationalResponse):
            raise EOFError("the connection ended within an answer")
