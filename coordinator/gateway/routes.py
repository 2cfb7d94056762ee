"""What the gateway answers, request by request, in its own loop (docs/transport.md, "Gateway")."""

import asyncio
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from starlette.types import Receive, Scope, Send

from edgeveil.coordinator.federation.rate_limit import RateLimiter
from edgeveil.coordinator.gateway.auth import Authenticator, Claim
from edgeveil.coordinator.gateway.counts import Counts
from edgeveil.coordinator.gateway.edge_store import EdgeStore
from edgeveil.coordinator.gateway.fleet import FleetDoor
from edgeveil.coordinator.gateway.http.web import (
    Body,
    ClientGone,
    check_request,
    client_address,
    disown,
    recognise,
    send_json,
    send_pieces,
    trust,
)
from edgeveil.coordinator.gateway.models import ModelDoor, Shelf
from edgeveil.coordinator.gateway.nodes import Node, Nodes
from edgeveil.coordinator.gateway.vocabulary import (
    BODY_CAPS,
    FLEET,
    JOIN_CAP,
    GatewaySettings,
    Operation,
    Reason,
    Rejected,
)
from edgeveil.coordinator.machine.transport import Log
from edgeveil.shared.base.clock import Clock
from edgeveil.shared.base.errors import ProtocolError
from edgeveil.shared.events.log import Event
from edgeveil.shared.models.offer import MOST_QUESTION, OFFER_PATH, SLICE_PATH
from edgeveil.shared.wire import condition
from edgeveil.shared.wire.condition import Condition
from edgeveil.shared.wire.standing import PATH

_log = logging.getLogger("edgeveil.gateway")
_THREAD_BYTES = 64 << 10
_NOT_AN_AGENTS = frozenset({Reason.RATE, Reason.NOT_FOUND, Reason.UNKNOWN_KEY, Reason.REVOKED})
_EVERYBODY = ""  # the one key of a limiter for all addresses together

Join = Callable[[bytes, str], tuple[int, dict[str, object]]]
About = Callable[[], dict[str, object]]


class Routes:
    """`join`, `ready` and `about` as in Gateway; serve() is called in one event loop only."""

    def __init__(
        self,
        nodes: Nodes,
        store: EdgeStore,
        settings: GatewaySettings,
        clock: Clock,
        log: Log,
        *,
        join: Join,
        ready: Callable[[], bool],
        about: About,
        shelf: Shelf,
    ) -> None:
        self.models = ModelDoor(shelf, settings.hold_s)
        self.door = FleetDoor(nodes, store, settings, clock)
        self.counts = Counts()
        self._nodes = nodes
        self._settings = settings
        self._clock = clock
        self._log = log
        self._join, self._ready, self._about = join, ready, about
        self._authenticator = Authenticator(nodes, settings, clock, log)
        self._signed = {
            PATH: self._answer_whoami,
            condition.PATH: self._take_condition,
            OFFER_PATH: self._answer_model,
            SLICE_PATH: self._answer_model,
        }
        self._bytes_coming = 0
        self._joins = RateLimiter(
            settings.join_rate_per_address, settings.join_burst_per_address, clock
        )
        self._all_joins = RateLimiter(settings.join_rate, settings.join_burst, clock)
        # Not the loop's own threads, which check agents' uploads: joins wait for the database.
        self._joiners = ThreadPoolExecutor(2, "join")

    def close(self) -> None:
        self._joiners.shutdown(wait=False, cancel_futures=True)

    def refused_unread(self, status: int) -> None:
        """A request that HTTP itself forbids, or that no client of ours sends."""
        self.counts.refused("", Reason.MALFORMED, status)

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = Body(scope, receive)
        try:
            check_request(scope)
            path = scope["path"]
            if path.startswith(FLEET) and scope["method"] == "POST":
                await self._fleet(scope, body, send)
            elif path == "/v1/join" and scope["method"] == "POST":
                disown(scope)
                await self._answer_join(scope, body, send)
            elif path in self._signed and scope["method"] == "POST":
                await self._signed[path](scope, body, send)
            elif path in {"/healthz", "/readyz"} and scope["method"] == "GET":
                disown(scope)
                await self._answer_health(path, send)
            else:
                raise Rejected(Reason.NOT_FOUND)
        except Rejected as rejected:
            if rejected.reason in _NOT_AN_AGENTS:
                disown(scope)
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
        claim = self._claim(scope)
        size = body.announced(BODY_CAPS[operation])
        with self._under_way(claim.node, size):
            await self._authenticated(scope, operation, claim, body, send)

    def _claim(self, scope: Scope, *, aside: bool = False) -> Claim:
        claim = self._authenticator.claim(scope["headers"], client_address(scope), aside=aside)
        recognise(scope)
        return claim

    @contextmanager
    def _under_way(self, node: Node, size: int) -> Iterator[None]:
        """One request and the bytes of its body count as under way; raises Rejected(rate)."""
        most = self._settings
        if (
            node.requests >= most.most_parallel_per_agent
            or node.bytes_coming + size > most.most_bytes_per_agent
            or self._bytes_coming + size > most.most_bytes
        ):
            raise Rejected(Reason.RATE)
        node.requests += 1
        node.bytes_coming += size
        self._bytes_coming += size
        try:
            yield
        finally:
            node.requests -= 1
            node.bytes_coming -= size
            self._bytes_coming -= size

    async def _authenticated(
        self, scope: Scope, operation: Operation, claim: Claim, body: Body, send: Send
    ) -> None:
        path: str = scope["path"]
        data = await body.read(BODY_CAPS[operation], self._settings.body_deadline_s)
        if len(data) < _THREAD_BYTES:
            nonce = self._authenticator.verify(claim, path, data)
        else:
            nonce = await asyncio.to_thread(self._authenticator.verify, claim, path, data)
        if self._authenticator.admit(claim, nonce):
            claim.node.active = False  # a new process of this agent: it has to activate
        trust(scope, claim.node.member.agent_id)
        self.counts.moved(up=len(data))
        answer = await self.door.serve(operation, claim, data, body.gone)
        self.counts.moved(down=answer.size())
        self.counts.answered(path, answer.status)
        await send_pieces(send, answer.status, answer.pieces, answer.media_type)

    async def _answer_join(self, scope: Scope, body: Body, send: Send) -> None:
        address = client_address(scope)
        if not self._joins.allow(address) or not self._all_joins.allow(_EVERYBODY):
            raise Rejected(Reason.RATE)
        data = await body.read(JOIN_CAP, self._settings.body_deadline_s)
        status, fields = await asyncio.get_running_loop().run_in_executor(
            self._joiners, self._join, data, address
        )
        self.counts.answered(scope["path"], status)
        await send_json(send, status, fields)

    async def _answer_whoami(self, scope: Scope, body: Body, send: Send) -> None:
        """For `agent doctor`: authenticated like every Fleet request, beside the agent's session."""
        claim = self._claim(scope, aside=True)
        data = await body.read(0, self._settings.body_deadline_s)
        self._authenticator.admit_aside(claim, self._authenticator.verify(claim, PATH, data))
        about = await asyncio.get_running_loop().run_in_executor(self._joiners, self._about)
        self.counts.answered(PATH, 200)
        await send_json(send, 200, self._standing(claim.node) | about)

    async def _take_condition(self, scope: Scope, body: Body, send: Send) -> None:
        """How an agent stands; authenticated like every Fleet request, within its session."""
        claim = self._claim(scope)
        data = await body.read(condition.MOST_BYTES, self._settings.body_deadline_s)
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
        self.counts.answered(condition.PATH, 200)
        await send_json(send, 200, {})

    async def _answer_model(self, scope: Scope, body: Body, send: Send) -> None:
        """Authenticated like every Fleet request, beside the agent's session: a device without one asks too."""
        path: str = scope["path"]
        claim = self._claim(scope, aside=True)
        with self._under_way(claim.node, body.announced(MOST_QUESTION)):
            data = await body.read(MOST_QUESTION, self._settings.body_deadline_s)
            self._authenticator.admit_aside(claim, self._authenticator.verify(claim, path, data))
            trust(scope, claim.node.member.agent_id)
            piece: bytes | memoryview
            if path == OFFER_PATH:
                piece, kind = (
                    await self.models.offer(claim.node, data, body.gone),
                    "application/json",
                )
            else:
                piece, kind = await self.models.part(claim.node, data), "application/octet-stream"
            self.counts.answered(path, 200)
            await send_pieces(send, 200, (piece,), kind)

    def _standing(self, node: Node) -> dict[str, object]:
        with self._nodes.lock:
            return {
                "name": node.member.name,
                "connected": node.presence(self._clock.monotonic()).connected,
                "session": 0 if node.session is None else node.session.counter,
            }

    async def _answer_health(self, path: str, send: Send) -> None:
        well = path == "/healthz" or (self.door.client is not None and self._ready())
        self.counts.answered(path, 200 if well else 503)
        fields = {"status": "ok" if well else "not ready", "time": self._clock.wall()}
        await send_json(send, 200 if well else 503, fields)

    async def _refuse(self, path: str, rejected: Rejected, body: Body, send: Send) -> None:
        self.counts.refused(path, rejected.reason, rejected.status)
        fields: dict[str, object] = {"code": rejected.reason, "detail": rejected.detail}
        if rejected.reason is Reason.CLOCK_SKEW:
            fields["server_time"] = self._clock.wall()
        await send_json(send, rejected.status, fields, close=not body.complete)
