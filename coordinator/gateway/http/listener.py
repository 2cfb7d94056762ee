"""The gateway's listener: TLS 1.3, HTTP/1.1 by uvicorn behind bounds that hold before its parser."""

import asyncio
import functools
import json
import resource
import socket
import ssl
from collections import Counter
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any

import h11
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from edgeveil.coordinator.federation.rate_limit import RateLimiter, host_of
from edgeveil.coordinator.gateway.http.framing import MOST_HEAD_BYTES, BadFraming, Expects, Framing
from edgeveil.coordinator.gateway.http.lobby import Lobby
from edgeveil.coordinator.gateway.http.meter import WRITE_BUFFER, Meter, Tls, paid
from edgeveil.coordinator.gateway.http.share import Share
from edgeveil.coordinator.gateway.http.web import CONNECTION
from edgeveil.coordinator.gateway.vocabulary import GatewaySettings, Reason, Rejected
from edgeveil.coordinator.plan.config import check_loopback
from edgeveil.shared.base.clock import SystemClock

_TLS_SHUTDOWN_S = 2.0
_STALL_S = 30.0  # for the client to take what is written, some 512 KiB
_BACKLOG = 1024
_ACCEPTS_AT_ONCE = 8  # in one turn of the loop
_NO_FILES_S = 0.1  # until the next try when this process has too many files open
_FILES_FOR_NEWCOMERS = 0.5  # of those this process may open


class _Answers(h11.Connection):
    """What h11 sends, with fewer copies, and an answer's head in one TLS record with what follows it."""

    _head: tuple[bytes, ...] = ()

    def send(self, event: Any) -> Any:
        parts = self.send_with_data_passthrough(event)
        if isinstance(event, h11.Response):
            self._head = tuple(parts or ())
            return b""
        if parts is None:
            return None
        parts, self._head = [*self._head, *parts], ()
        return parts[0] if len(parts) == 1 else b"".join(parts)


class PatientProtocol(H11Protocol):
    """uvicorn's HTTP/1.1 behind Framing, with a deadline for the head of every request.

    `refused` is told the status of an answer that no route gave.
    """

    def __init__(  # noqa: PLR0917 - uvicorn's three, ours
        self,
        config: Config,
        state: ServerState,
        meter: Meter,
        lobby: Lobby,
        header_deadline_s: float,
        refused: Callable[[int], None],
    ) -> None:
        super().__init__(config, state, {CONNECTION: self})
        self.conn = _Answers(h11.SERVER, 2 * MOST_HEAD_BYTES)
        self.meter = meter
        self._lobby = lobby
        self._header_deadline_s = header_deadline_s
        self._refused = refused
        self._framing = Framing()
        self._header_timer: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None
        self._over = False

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        transport.set_write_buffer_limits(WRITE_BUFFER)
        self.meter.arrived()
        self._lobby.enter(self, self.meter.address)
        # Its side has waited for a head since the handshake's last message came, not since we read it.
        self._arm(min(self.meter.waited_s, self._header_deadline_s / 2))

    def data_received(self, data: bytes) -> None:
        if self._over:
            return
        begins = self._framing.expects is Expects.HEAD
        try:
            allowed = self._framing.feed(data)
        except BadFraming as bad:
            self._refuse(bad.status)
            return
        if not allowed:
            self._await_head()
            return
        if begins:
            self._disarm()
            if self.meter.stranger:
                self.meter.asked()
            self.app = self._paid_for if self.meter.stranger else self.config.loaded_app
        super().data_received(allowed)

    def on_response_complete(self) -> None:
        self._framing.answered()
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's name for it
        self._refuse(HTTPStatus.BAD_REQUEST)

    def connection_lost(self, exc: Exception | None) -> None:
        self._over = True
        self._lobby.leave(self)
        self._disarm()
        super().connection_lost(exc)
        if self._stalled is not None:
            self._stalled.cancel()

    def claim(self) -> None:
        self.meter.claim()

    def disown(self) -> None:
        self.meter.disown()

    def admit(self, agent_id: bytes) -> None:
        self.meter.admit()
        self._lobby.admit(self, agent_id)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stalled = self.loop.call_later(_STALL_S, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stalled is not None:
            self._stalled.cancel()

    async def _paid_for(self, scope: Scope, receive: Receive, send: Send) -> None:
        app: ASGIApp = self.config.loaded_app
        await paid(app(scope, receive, send), self.meter.work)
        self.meter.done()

    def _await_head(self) -> None:
        if self._header_timer is None:
            self._unset_keepalive_if_required()
            self._arm()

    def _refuse(self, status: int) -> None:
        """Answer once, unless an answer has begun, and close."""
        self._over = True
        self._disarm()
        self._refused(status)
        if self.cycle is not None and not self.cycle.response_complete:
            self.transport.abort()
            return
        rejected = Rejected(Reason.MALFORMED)
        body = json.dumps({"code": rejected.reason, "detail": rejected.detail}).encode("ascii")
        head = (
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode("ascii") + body)
        self.transport.close()

    def _arm(self, gone_s: float = 0.0) -> None:
        left = self._header_deadline_s - gone_s
        self._header_timer = self.loop.call_later(left, self.transport.abort)

    def _disarm(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None


class HttpServer:
    """One listener in the running event loop; without TLS only on loopback."""

    def __init__(
        self, app: ASGIApp, settings: GatewaySettings, refused: Callable[[int], None]
    ) -> None:
        self._settings = settings
        self._refused = refused
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
        )
        self._config.load()
        self._tls: ssl.SSLContext | None = None
        self._porch = _Porch(settings)
        self._share: Share | None = None
        self._listeners: list[socket.socket] = []
        self._arriving: set[asyncio.Task[Any]] = set()
        self._meters: set[Meter] = set()
        self.port = 0

    async def start(self, host: str, port: int, files: tuple[Path, Path] | None) -> None:
        """`files`: certificate chain and key; None serves plain HTTP, for a proxy on this machine.

        Raises:
            ConfigError: plain HTTP on an address that is not loopback.
            OSError, ssl.SSLError: the address cannot be bound; a bad certificate.
        """
        if files is None:
            check_loopback(host)
            self._lobby.most_per_agent = None
        else:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.minimum_version = ssl.TLSVersion.TLSv1_3
            self._tls.load_cert_chain(*files)
            self._tls.set_alpn_protocols(["http/1.1"])
        loop = asyncio.get_running_loop()
        self._share = Share(loop)
        # asyncio resolves and binds, and never accepts: it would take a hundred in one turn.
        bound = await loop.create_server(asyncio.Protocol, host, port, start_serving=False)
        self._listeners = [found.dup() for found in bound.sockets]
        bound.close()
        for listener in self._listeners:
            listener.setblocking(False)
            listener.listen(_BACKLOG)
            self._listen(listener)
        self.port = self._listeners[0].getsockname()[1]

    async def reload(self, certificate: Path, key: Path) -> None:
        """New connections get the renewed certificate.

        In the event loop, where handshakes begin: none may see the new chain with the old key.
        """
        if self._tls is not None:
            self._tls.load_cert_chain(certificate, key)

    async def stop(self, grace_s: float) -> None:
        """Stop listening, let answers under way end within `grace_s`, then cut every connection."""
        for listener in self._listeners:
            asyncio.get_running_loop().remove_reader(listener)
            listener.close()
        self._listeners = []
        for connection in list(self._state.connections):
            connection.shutdown()
        tasks = set(self._state.tasks)
        if tasks:
            _, pending = await asyncio.wait(tasks, timeout=grace_s)
            for task in pending:
                task.cancel()
        for arriving in self._arriving:
            arriving.cancel()
        for meter in list(self._meters):
            meter.transport.abort()
        if self._share is not None:
            self._share.close()

    def _listen(self, listener: socket.socket) -> None:
        if listener.fileno() >= 0:
            asyncio.get_running_loop().add_reader(listener, self._accept, listener)

    def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(_ACCEPTS_AT_ONCE):
            try:
                arrived, peer = listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError:  # out of files or memory; connections wait in the kernel
                loop.remove_reader(listener)
                loop.call_later(_NO_FILES_S, self._listen, listener)
                return
            address = host_of(str(peer[0]))
            if self._tls is not None and not self._porch.enter(address):
                arrived.close()
                continue
            arrived.setblocking(False)
            task = loop.create_task(
                loop.connect_accepted_socket(functools.partial(self._meter, address), arrived)
            )
            self._arriving.add(task)
            task.add_done_callback(self._arriving.discard)

    def _meter(self, address: str) -> Meter:
        loop = asyncio.get_running_loop()
        meter = Meter(
            loop,
            self._share or Share(loop),
            address,
            self._layers,
            silence_s=self._settings.handshake_deadline_s,
            inside=self._porch.leave if self._tls is not None else None,
            lost=self._meters.discard,
        )
        self._meters.add(meter)
        return meter

    def _layers(self, meter: Meter) -> asyncio.BaseProtocol:
        protocol = PatientProtocol(
            self._config,
            self._state,
            meter,
            self._lobby,
            self._settings.header_deadline_s,
            self._refused,
        )
        if self._tls is None:
            return protocol
        return Tls(
            meter.loop,
            protocol,
            self._tls,
            waiter=None,  # type: ignore[arg-type]
            server_side=True,
            ssl_handshake_timeout=self._settings.handshake_deadline_s,  # type: ignore[arg-type] # seconds
            ssl_shutdown_timeout=_TLS_SHUTDOWN_S,
        )


class _Porch:
    """Connections that have not ended their handshake: so many per second and at once."""

    def __init__(self, settings: GatewaySettings) -> None:
        self._rate = RateLimiter(
            settings.connections_per_address, settings.burst_connections, SystemClock()
        )
        self._most_per_address = settings.most_strangers_per_address
        self._most = int(_FILES_FOR_NEWCOMERS * resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        self._here: Counter[str] = Counter()
        self._all = 0

    def enter(self, address: str) -> bool:
        if self._here[address] >= self._most_per_address or self._all >= self._most:
            return False
        if not self._rate.allow(address):
            return False
        self._here[address] += 1
        self._all += 1
        return True

    def leave(self, address: str) -> None:
        self._here[address] -= 1
        self._all -= 1
        if self._here[address] <= 0:
            del self._here[address]
