"""The only door of the coordinator: agents' Fleet requests, joining, health (docs/transport.md).

It runs in a thread of its own with its own event loop. The driver's side talks to it through
`attach`, `expect`, `wake` and `forget`; the roster's through `set_members`. It imports no flwr.
"""

import asyncio
import logging
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from starlette.types import Receive, Scope, Send

from coordinator.gateway.auth import Authenticator, Claim
from coordinator.gateway.counts import Counts
from coordinator.gateway.edge_store import EdgeStore
from coordinator.gateway.fleet import FleetDoor
from coordinator.gateway.nodes import Node, Nodes
from coordinator.gateway.upstream import UpstreamClient
from coordinator.gateway.vocabulary import (
    BODY_CAPS,
    FLEET,
    JOIN_CAP,
    GatewaySettings,
    Instruction,
    Operation,
    Reason,
    Rejected,
    Upstream,
)
from coordinator.gateway.web import (
    Body,
    ClientGone,
    HttpServer,
    check_request,
    client_address,
    send_json,
    send_pieces,
    trust,
)
from coordinator.rate_limit import RateLimiter
from coordinator.transport import Log, Member, Presence
from shared import condition
from shared.clock import Clock, SystemClock
from shared.condition import Condition
from shared.errors import ConfigError, ProtocolError
from shared.event_log import Event
from shared.standing import PATH

_STOP_GRACE_S = 2.0
_log = logging.getLogger("edgeveil.gateway")
_START_S = 10.0
_THREAD_BYTES = 64 << 10
_EVERYBODY = ""  # the one key of a limiter for all addresses together

Join = Callable[[bytes, str], tuple[int, dict[str, object]]]
About = Callable[[], dict[str, object]]


class Gateway:
    """`join` answers `/v1/join` in a worker thread; `ready` adds to `/readyz`, `about` to `/v1/whoami`
    (in a worker thread too).
    """

    def __init__(
        self,
        *,
        join: Join,
        ready: Callable[[], bool],
        log: Log,
        about: About = dict,
        settings: GatewaySettings | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.settings = settings or GatewaySettings()
        self._clock = clock or SystemClock()
        self.store = EdgeStore()
        self._join = join
        self._ready = ready
        self._about = about
        self._log = log
        self._nodes = Nodes()
        self._authenticator = Authenticator(self._nodes, self.settings, self._clock, log)
        self._door = FleetDoor(self._nodes, self.store, self.settings, self._clock)
        self._joins = RateLimiter(
            self.settings.join_rate_per_address, self.settings.join_burst_per_address, self._clock
        )
        self._all_joins = RateLimiter(
            self.settings.join_rate, self.settings.join_burst, self._clock
        )
        # Not the loop's own threads, which check agents' uploads: joins wait for the database.
        self._joiners = ThreadPoolExecutor(2, "join")
        self._forwarded: Counter[bytes] = Counter()
        self._counts = Counts()
        self._traffic = [0, 0]
        self._counting = threading.Lock()
        self._server = HttpServer(self._serve, self.settings)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run_loop, name="gateway", daemon=True)

    @property
    def port(self) -> int:
        return self._server.port

    def start(self, host: str, port: int, files: tuple[Path, Path] | None) -> None:
        """Listen; `port` 0 lets the system choose. `files`: certificate chain and key; None: no TLS.

        Raises:
            ConfigError: the address is taken or not ours, the certificate cannot be used, or no TLS
                is asked for on an address that is not loopback.
        """
        try:
            self._call(self._server.start(host, port, files)).result(_START_S)
        except ssl.SSLError as error:
            raise ConfigError(
                f"{files[0] if files else ''}: this certificate does not fit its key ({error.reason})"
            ) from error
        except OSError as error:
            raise ConfigError(
                f"cannot listen on {host}:{port} ({error.strerror or error}); "
                "is another coordinator running? change `listen` in coordinator.toml"
            ) from error

    def reload(self, certificate: Path, key: Path) -> None:
        """Use a renewed certificate for new connections."""
        self._call(self._server.reload(certificate, key)).result(_START_S)

    def stop(self) -> None:
        """Refuse new work, end open polls, close every connection. Idempotent."""
        if not self._thread.is_alive():
            return
        self._call(self._close()).result(_STOP_GRACE_S + 5.0)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_STOP_GRACE_S + 5.0)
        self._joiners.shutdown(wait=False, cancel_futures=True)

    def set_members(
        self, members: Iterable[Member], revoked: frozenset[bytes] = frozenset()
    ) -> None:
        """Who may connect from now on. `revoked`: transport keys (PEM) that are told so.

        Takes effect on requests under way: a held poll of a removed agent ends within milliseconds.
        """
        for node in self._nodes.set_members(members, revoked):
            self.store.forget_agent(node.member.agent_id)
            self._wake(node.wake)

    def presence(self) -> dict[bytes, Presence]:
        now = self._clock.monotonic()
        with self._nodes.lock:
            return {node.member.agent_id: node.presence(now) for node in self._nodes.all()}

    def silence(self) -> dict[bytes, float]:
        """Seconds since each member was last heard of, by agent id."""
        now = self._clock.monotonic()
        with self._nodes.lock:
            return {node.member.agent_id: node.silence(now) for node in self._nodes.all()}

    def forwarded(self) -> dict[bytes, int]:
        """Requests sent on to SuperLink so far, by agent id."""
        return dict(self._forwarded)

    def rejected(self) -> dict[str, int]:
        """Refused requests so far, by reason."""
        return self._counts.by_reason()

    def counts(self) -> Counts:
        """Everything that was counted since the start, as it is now."""
        return self._counts.copy()

    def take_traffic(self) -> tuple[int, int]:
        """Body bytes (up, down) of Fleet requests since the last call."""
        with self._counting:
            up, down = self._traffic
            self._traffic[:] = (0, 0)
            return up, down

    def attach(self, upstream: Upstream) -> None:
        self._call(self._attach(upstream)).result(_START_S)

    def detach(self) -> None:
        if self._thread.is_alive():
            self._call(self._attach(None)).result(_START_S)

    def set_nodes(self, ids: Mapping[bytes, int], run_id: int) -> None:
        """SuperLink's node ids by transport key, and the Flower run that is current."""
        with self._nodes.lock:
            self._nodes.run_id = run_id
            self._nodes.set_ids(ids)

    def expect(self, instruction: Instruction) -> None:
        """Announce a message before it is pushed, so that no poll can see it unannounced."""
        with self._nodes.lock:
            node = self._nodes.agent(instruction.agent_id)
            if node is not None:
                node.announced[instruction.message_id] = instruction

    def withdraw(self, instruction: Instruction) -> None:
        with self._nodes.lock:
            node = self._nodes.agent(instruction.agent_id)
            if node is not None:
                node.on_its_way(instruction.message_id)
                node.delivered.pop(instruction.message_id, None)

    def wake(self, instructions: Iterable[Instruction]) -> None:
        """The announced messages are stored: let the held polls of their agents go."""
        with self._nodes.lock:
            for instruction in instructions:
                node = self._nodes.agent(instruction.agent_id)
                if node is not None and instruction.message_id in node.announced:
                    del node.announced[instruction.message_id]
                    node.waiting[instruction.message_id] = instruction
                    self._wake(node.wake)

    def forget(self) -> None:
        """Drop every announced message and every object."""
        with self._nodes.lock:
            for node in self._nodes.all():
                node.clear()
        self.store.clear()

    def _wake(self, event: asyncio.Event) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(event.set)

    def _call(self, coroutine: Coroutine[Any, Any, None]) -> Future[None]:
        if not self._thread.is_alive():
            self._thread.start()
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def _run_loop(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    async def _attach(self, upstream: Upstream | None) -> None:
        old = self._door.client
        self._door.client = None if upstream is None else UpstreamClient(upstream, self._forwarded)
        for node in self._nodes.all():
            node.wake.set()
        if old is not None:
            await old.close()

    async def _close(self) -> None:
        await self._attach(None)
        await self._server.stop(_STOP_GRACE_S)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = Body(scope, receive)
        try:
            check_request(scope)
            path = scope["path"]
            if path.startswith(FLEET) and scope["method"] == "POST":
                await self._fleet(scope, body, send)
            elif path == "/v1/join" and scope["method"] == "POST":
                await self._answer_join(scope, body, send)
            elif path == PATH and scope["method"] == "POST":
                await self._answer_whoami(scope, body, send)
            elif path == condition.PATH and scope["method"] == "POST":
                await self._take_condition(scope, body, send)
            elif path in {"/healthz", "/readyz"} and scope["method"] == "GET":
                await self._answer_health(path, send)
            else:
                raise Rejected(Reason.NOT_FOUND)
        except Rejected as rejected:
            await self._refuse(scope["path"], rejected, body, send)
        except ClientGone:
            return
        except Exception:
            _log.exception("a request could not be answered")
            self._log(Event.GATEWAY_ERROR, level="error", reason="internal")
            raise

    async def _fleet(self, scope: Scope, body: Body, send: Send) -> None:
        path: str = scope["path"]
        try:
            operation = Operation(path.removeprefix(FLEET))
        except ValueError as error:
            raise Rejected(Reason.NOT_FOUND) from error
        claim = self._authenticator.claim(scope["headers"], client_address(scope))
        if claim.node.requests >= self.settings.most_parallel_per_agent:
            raise Rejected(Reason.RATE)
        claim.node.requests += 1
        try:
            await self._authenticated(scope, operation, claim, body, send)
        finally:
            claim.node.requests -= 1

    async def _authenticated(
        self, scope: Scope, operation: Operation, claim: Claim, body: Body, send: Send
    ) -> None:
        path: str = scope["path"]
        data = await body.read(BODY_CAPS[operation], self.settings.body_deadline_s)
        if len(data) < _THREAD_BYTES:
            nonce = self._authenticator.verify(claim, path, data)
        else:
            nonce = await asyncio.to_thread(self._authenticator.verify, claim, path, data)
        if self._authenticator.admit(claim, nonce):
            claim.node.active = False  # a new process of this agent: it has to activate
        trust(scope, claim.node.member.agent_id)
        self._counts.moved(up=len(data))
        with self._counting:
            self._traffic[0] += len(data)
        answer = await self._door.serve(operation, claim, data, body.gone)
        self._counts.moved(down=answer.size())
        self._counts.answered(path, answer.status)
        with self._counting:
            self._traffic[1] += answer.size()
        await send_pieces(send, answer.status, answer.pieces, answer.media_type)

    async def _answer_join(self, scope: Scope, body: Body, send: Send) -> None:
        address = client_address(scope)
        if not self._joins.allow(address) or not self._all_joins.allow(_EVERYBODY):
            raise Rejected(Reason.RATE)
        data = await body.read(JOIN_CAP, self.settings.body_deadline_s)
        status, fields = await self._loop.run_in_executor(self._joiners, self._join, data, address)
        self._counts.answered(scope["path"], status)
        await send_json(send, status, fields)

    async def _answer_whoami(self, scope: Scope, body: Body, send: Send) -> None:
        """For `agent doctor`: authenticated like every Fleet request, beside the agent's session."""
        claim = self._authenticator.claim(scope["headers"], client_address(scope), aside=True)
        data = await body.read(0, self.settings.body_deadline_s)
        self._authenticator.admit_aside(claim, self._authenticator.verify(claim, PATH, data))
        about = await self._loop.run_in_executor(self._joiners, self._about)
        self._counts.answered(PATH, 200)
        await send_json(send, 200, self._standing(claim.node) | about)

    async def _take_condition(self, scope: Scope, body: Body, send: Send) -> None:
        """How an agent stands; authenticated like every Fleet request, within its session."""
        claim = self._authenticator.claim(scope["headers"], client_address(scope))
        data = await body.read(condition.MOST_BYTES, self.settings.body_deadline_s)
        nonce = self._authenticator.verify(claim, condition.PATH, data)
        if self._authenticator.admit(claim, nonce):
            claim.node.active = False
        trust(scope, claim.node.member.agent_id)
        try:
            told = Condition.decode(data)
        except ProtocolError as error:
            raise Rejected(Reason.MALFORMED) from error
        with self._nodes.lock:
            claim.node.condition = told
        self._counts.answered(condition.PATH, 200)
        await send_json(send, 200, {})

    def _standing(self, node: Node) -> dict[str, object]:
        with self._nodes.lock:
            return {
                "name": node.member.name,
                "connected": node.presence(self._clock.monotonic()).connected,
                "session": 0 if node.session is None else node.session.counter,
            }

    async def _answer_health(self, path: str, send: Send) -> None:
        well = path == "/healthz" or (self._door.client is not None and self._ready())
        self._counts.answered(path, 200 if well else 503)
        fields = {"status": "ok" if well else "not ready", "time": self._clock.wall()}
        await send_json(send, 200 if well else 503, fields)

    async def _refuse(self, path: str, rejected: Rejected, body: Body, send: Send) -> None:
        self._counts.refused(path, rejected.reason, rejected.status)
        fields: dict[str, object] = {"code": rejected.reason, "detail": rejected.detail}
        if rejected.reason is Reason.CLOCK_SKEW:
            fields["server_time"] = self._clock.wall()
        await send_json(send, rejected.status, fields, close=not body.complete)
