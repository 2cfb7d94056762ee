"""The gateway's HTTP floor: bounded bodies, fixed answers, and a listener that slow clients can't
exhaust. Nothing here knows Flower or agents.
"""

import asyncio
import functools
import ipaddress
import json
import re
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h11
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from edgeveil.coordinator.gateway.http.lobby import Lobby
from edgeveil.coordinator.gateway.vocabulary import GatewaySettings, Reason, Rejected
from edgeveil.shared.base.errors import ConfigError

_SLOWEST_BYTES_PER_S = 8 << 10
_MOST_HEADER_BYTES = 16 << 10
_TLS_SHUTDOWN_S = 2.0
_TRUST = "edgeveil.trust"
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
        self._check_headers(cap)
        parts = bytearray()
        loop = asyncio.get_running_loop()
        end = loop.time() + deadline_s
        try:
            while not self.complete:
                async with asyncio.timeout_at(end + len(parts) / _SLOWEST_BYTES_PER_S):
                    await self._next(parts, cap)
        except TimeoutError as error:
            raise Rejected(Reason.SLOW) from error
        return bytes(parts)

    async def gone(self) -> None:
        """Returns when the client closes the connection; call it after the body was read."""
        while (await self._receive())["type"] != "http.disconnect":
            continue

    def _check_headers(self, cap: int) -> None:
        for name, value in self._headers:
            if name == b"content-encoding":
                raise Rejected(Reason.MALFORMED)
            if name == b"content-length" and (not value.isdigit() or int(value) > cap):
                raise Rejected(Reason.OVERSIZE)

    async def _next(self, parts: bytearray, cap: int) -> None:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        parts += message.get("body", b"")
        self.complete = not message.get("more_body", False)
        if len(parts) > cap:
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
    send: Send, status: int, pieces: tuple[bytes, ...], media_type: str, *, close: bool = False
) -> None:
    headers = [
        (b"content-type", media_type.encode("latin-1")),
        (b"content-length", str(sum(map(len, pieces))).encode("ascii")),
    ]
    if close:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    for piece in pieces[:-1]:
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": pieces[-1]})


async def send_json(
    send: Send, status: int, fields: Mapping[str, object], *, close: bool = False
) -> int:
    """Returns the number of body bytes."""
    body = json.dumps(fields, separators=(",", ":")).encode("utf-8")
    await send_pieces(send, status, (body,), "application/json", close=close)
    return len(body)


class PatientProtocol(H11Protocol):
    """uvicorn's HTTP/1.1 with a deadline for the headers of every request, which it lacks."""

    header_deadline_s = 10.0
    lobby: Lobby
    _header_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.lobby.enter(self, self.client[0] if self.client else "")
        self._arm()

    def data_received(self, data: bytes) -> None:
        if self.conn.their_state is h11.IDLE and self._header_timer is None:
            self._arm()
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._disarm()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lobby.leave(self)
        self._disarm()
        super().connection_lost(exc)

    def _arm(self) -> None:
        self._header_timer = self.loop.call_later(self.header_deadline_s, self.transport.abort)

    def _disarm(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None


class HttpServer:
    """One TLS 1.3 listener in the running event loop; without TLS only on loopback."""

    def __init__(self, app: ASGIApp, settings: GatewaySettings) -> None:
        self._settings = settings
        self._state = ServerState()
        self._lobby = Lobby(
            most=settings.most_strangers,
            most_per_address=settings.most_strangers_per_address,
            life_s=settings.stranger_life_s,
            most_per_agent=settings.most_connections_per_agent,
        )
        self._config = Config(
            app,
            lifespan="off",
            access_log=False,
            log_config=None,
            log_level="critical",
            ws="none",
            interface="asgi3",
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=settings.keep_alive_s,
            h11_max_incomplete_event_size=_MOST_HEADER_BYTES,
        )
        self._config.load()
        self._tls: ssl.SSLContext | None = None
        self._server: asyncio.Server | None = None
        self.port = 0

    async def start(self, host: str, port: int, files: tuple[Path, Path] | None) -> None:
        """`files`: certificate chain and key; None serves plain HTTP, for a proxy on this machine.

        Raises:
            ConfigError: plain HTTP on an address that is not loopback.
            OSError, ssl.SSLError: the address cannot be bound; a bad certificate.
        """
        timeouts: dict[str, Any] = {}
        if files is None:
            _check_loopback(host)
            self._lobby.most_per_agent = None
        else:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.minimum_version = ssl.TLSVersion.TLSv1_3
            self._tls.load_cert_chain(*files)
            self._tls.set_alpn_protocols(["http/1.1"])
            timeouts["ssl_handshake_timeout"] = self._settings.handshake_deadline_s
            timeouts["ssl_shutdown_timeout"] = _TLS_SHUTDOWN_S
        self._server = await asyncio.get_running_loop().create_server(
            self._protocol, host, port, ssl=self._tls, **timeouts
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def reload(self, certificate: Path, key: Path) -> None:
        """New connections get the renewed certificate.

        In the event loop, where handshakes begin: none may see the new chain with the old key.
        """
        if self._tls is not None:
            self._tls.load_cert_chain(certificate, key)

    async def stop(self, grace_s: float) -> None:
        """Stop listening, let answers under way end within `grace_s`, then cut every connection."""
        if self._server is not None:
            self._server.close()
        for connection in list(self._state.connections):
            connection.shutdown()
        tasks = set(self._state.tasks)
        if tasks:
            _, pending = await asyncio.wait(tasks, timeout=grace_s)
            for task in pending:
                task.cancel()
        for connection in list(self._state.connections):
            connection.transport.abort()

    def _protocol(self) -> PatientProtocol:
        state: dict[str, Any] = {}
        protocol = PatientProtocol(config=self._config, server_state=self._state, app_state=state)
        protocol.header_deadline_s = self._settings.header_deadline_s
        protocol.lobby = self._lobby
        state[_TRUST] = functools.partial(self._lobby.admit, protocol)
        return protocol


def _check_loopback(host: str) -> None:
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False  # a name may resolve to anything
    if not loopback:
        raise ConfigError(
            f"plain HTTP is served on a loopback address only, not on {host}: "
            'set listen = "127.0.0.1:PORT" in coordinator.toml and put a TLS proxy in front'
        )


def trust(scope: Scope, agent_id: bytes) -> None:
    """The request of this scope passed every check: its connection is that agent's and may stay."""
    scope["state"][_TRUST](agent_id)


def client_address(scope: Scope) -> str:
    client = scope.get("client")
    return str(client[0]) if client else ""
