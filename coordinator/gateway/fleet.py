"""The eight Fleet operations an agent may use, each with its own rules (docs/transport.md).

By now the request is authenticated. What remains: it names the agent's own node, moves only
messages and objects that belong to it, and reaches SuperLink only where it must: activation,
heartbeat, and per exchange one poll, one confirmation and one reply.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine

from edgeveil.coordinator.federation.rate_limit import RateLimiter
from edgeveil.coordinator.gateway.auth import Claim
from edgeveil.coordinator.gateway.edge_store import EdgeStore, Refused
from edgeveil.coordinator.gateway.nodes import Node, Nodes
from edgeveil.coordinator.gateway.upstream import Answer, UpstreamClient
from edgeveil.coordinator.gateway.vocabulary import (
    HEARTBEAT_S,
    SERVER_NODE,
    Delivered,
    FleetCall,
    GatewaySettings,
    Instruction,
    Operation,
    PushedMessage,
    Reason,
    Rejected,
    Upstream,
)
from edgeveil.shared.base.clock import Clock
from edgeveil.shared.flower.objects import most_objects

MOST_DEPTH = 6
ACTIVATIONS_PER_S, ACTIVATIONS_AT_ONCE = 0.1, 6.0  # each costs SuperLink two requests
HEARTBEAT_GAP_S = 5.0
_MOST_STALE = 64  # messages of forgotten attempts dropped in one poll
_THREAD_BYTES = 64 << 10  # above this a hash leaves the event loop

Gone = Callable[[], Coroutine[None, None, None]]
Handler = Callable[[Claim, FleetCall, bytes], Awaitable[Answer]]


class FleetDoor:
    """Runs in the gateway's event loop. `client` is None while no SuperLink is attached."""

    def __init__(
        self,
        nodes: Nodes,
        store: EdgeStore,
        settings: GatewaySettings,
        clock: Clock,
    ) -> None:
        self._nodes = nodes
        self._store = store
        self._settings = settings
        self._clock = clock
        self.client: UpstreamClient | None = None
        self._activations = RateLimiter(ACTIVATIONS_PER_S, ACTIVATIONS_AT_ONCE, clock)
        self._handlers: dict[Operation, Handler] = {
            Operation.ACTIVATE: self._activate,
            Operation.DEACTIVATE: self._deactivate,
            Operation.HEARTBEAT: self._heartbeat,
            Operation.PULL_MESSAGES: self._pull_messages,
            Operation.PUSH_MESSAGES: self._push_messages,
            Operation.PULL_OBJECT: self._pull_object,
            Operation.PUSH_OBJECT: self._push_object,
            Operation.CONFIRM: self._confirm,
        }

    async def serve(self, operation: Operation, claim: Claim, body: bytes, gone: Gone) -> Answer:
        """The answer to an admitted request; raises Rejected. `gone` ends when the client left."""
        client = self._attached()
        call = self._parse(client.upstream, operation, body)
        self._check_identity(operation, claim, call)
        if operation is Operation.PULL_MESSAGES:
            self._give_up(claim.node, client.upstream)
            if not await self._hold(claim, gone):
                return Answer(200, (b"",))
        return await self._handlers[operation](claim, call, body)

    def _attached(self) -> UpstreamClient:
        if self.client is None:
            raise Rejected(Reason.UNAVAILABLE)
        return self.client

    def _parse(self, upstream: Upstream, operation: Operation, body: bytes) -> FleetCall:
        try:
            return upstream.codec.parse(operation, body)
        except ValueError as error:
            raise Rejected(Reason.MALFORMED) from error

    def _check_identity(self, operation: Operation, claim: Claim, call: FleetCall) -> None:
        node = claim.node
        if operation is Operation.ACTIVATE:
            if call.public_key != node.member.node_public:
                raise Rejected(Reason.IDENTITY)
            return
        if call.node_id != node.node_id and self._nodes.belongs_to_member(call.node_id):
            raise Rejected(Reason.IDENTITY)
        if not node.active or node.node_id == 0 or call.node_id != node.node_id:
            raise Rejected(Reason.ACTIVATE_FIRST)

    async def _activate(self, claim: Claim, call: FleetCall, body: bytes) -> Answer:
        node, client = claim.node, self._attached()
        if call.interval_s != HEARTBEAT_S:
            raise Rejected(Reason.MALFORMED)
        if node.node_id == 0:
            raise Rejected(Reason.UNAVAILABLE)  # on the roster, but not yet registered upstream
        if not self._activations.allow(node.member.agent_id.hex()):
            raise Rejected(Reason.RATE)
        # A node that died is "online" for up to a minute more and can't be activated; the triple
        # signs only the time, so it is as good for ending that state (docs/transport.md).
        if node.node_id in self._nodes.met:
            request = client.upstream.codec.deactivate(node.node_id)
            await client.send(Operation.DEACTIVATE, claim, request)
        answer = await client.send(Operation.ACTIVATE, claim, body)
        if answer.status == 200:
            self._restart(node, client.upstream)
        return answer

    def _restart(self, node: Node, upstream: Upstream) -> None:
        with self._nodes.lock:
            node.active = True
            self._nodes.met.add(node.node_id)
        self._give_up(node, upstream)

    def _give_up(self, node: Node, upstream: Upstream) -> None:
        """Agents work on one message at a time: whatever this one was given, it isn't working on."""
        with self._nodes.lock:
            lost = tuple(node.delivered.values())
            node.delivered.clear()
            node.replies.clear()
        self._store.forget_agent(node.member.agent_id)
        if lost:
            upstream.listener.lost(node.member.agent_id, lost)

    async def _deactivate(self, claim: Claim, _call: FleetCall, body: bytes) -> Answer:
        answer = await self._attached().send(Operation.DEACTIVATE, claim, body)
        with self._nodes.lock:
            claim.node.active = False
        return answer

    async def _heartbeat(self, claim: Claim, call: FleetCall, body: bytes) -> Answer:
        now = self._clock.monotonic()
        if call.interval_s != HEARTBEAT_S:
            raise Rejected(Reason.MALFORMED)
        if now - claim.node.heartbeat < HEARTBEAT_GAP_S:
            raise Rejected(Reason.RATE)
        claim.node.heartbeat = now
        return await self._attached().send(Operation.HEARTBEAT, claim, body)

    async def _hold(self, claim: Claim, gone: Gone) -> bool:
        """Wait until there is a message; False when the time is up or a newer poll came."""
        node = claim.node
        with self._nodes.lock:
            node.generation += 1
            mine = node.generation
            node.polls += 1
            node.wake.set()  # an older poll of this agent has to look at `generation`
        left = asyncio.ensure_future(gone())
        end = self._clock.monotonic() + self._settings.hold_s
        try:
            while self._clock.monotonic() < end and not left.done():
                if node.revoked:
                    raise Rejected(Reason.REVOKED)
                if self.client is None:
                    raise Rejected(Reason.UNAVAILABLE)
                if not node.active or claim.session != node.session:
                    raise Rejected(Reason.ACTIVATE_FIRST)
                if node.generation != mine:
                    return False
                if node.waiting:
                    return True
                node.wake.clear()
                woken = asyncio.ensure_future(node.wake.wait())
                rest = end - self._clock.monotonic()
                await asyncio.wait({woken, left}, timeout=rest, return_when=asyncio.FIRST_COMPLETED)
                woken.cancel()
            return False
        finally:
            self._end_poll(node, mine, vanished=left.done())
            left.cancel()

    def _end_poll(self, node: Node, mine: int, *, vanished: bool) -> None:
        with self._nodes.lock:
            node.polls -= 1
            if vanished and node.generation == mine:
                node.vanished = True
            else:
                node.seen(self._clock)

    async def _pull_messages(self, claim: Claim, _call: FleetCall, body: bytes) -> Answer:
        node, client = claim.node, self._attached()
        for _ in range(_MOST_STALE):
            answer = await client.send(Operation.PULL_MESSAGES, claim, body)
            if answer.status == 401:  # held until Flower's own window closed
                raise Rejected(Reason.CLOCK_SKEW)
            if answer.status != 200:
                return answer
            messages = client.upstream.codec.delivered(answer.body())
            if not messages:
                self._undelivered(node, client.upstream)
                return answer
            if self._take(node, messages):
                return answer
        raise Rejected(Reason.UNAVAILABLE)

    def _take(self, node: Node, messages: list[Delivered]) -> bool:
        """Note what the agent is given; False if it is left over from a forgotten attempt."""
        with self._nodes.lock:
            for message in messages:
                instruction = node.on_its_way(message.message_id)
                if instruction is None:
                    return False
                node.delivered[message.message_id] = instruction
        for message in messages:
            self._store.grant(node.member.agent_id, message.message_id, message.objects)
        return True

    def _undelivered(self, node: Node, upstream: Upstream) -> None:
        """SuperLink has nothing although we announced it: an answer got lost, or it expired."""
        with self._nodes.lock:
            lost = tuple(node.waiting.values())
            node.waiting.clear()
        if lost:
            upstream.listener.lost(node.member.agent_id, lost)

    async def _pull_object(self, claim: Claim, call: FleetCall, _body: bytes) -> Answer:
        client, agent_id = self._attached(), claim.node.member.agent_id
        if call.run_id != self._nodes.run_id:
            raise Rejected(Reason.OBJECT)
        try:
            content = self._store.read(agent_id, call.object_id)
        except Refused as error:
            raise Rejected(Reason(error.reason)) from error
        return Answer(200, client.upstream.codec.object_answer(content))

    async def _confirm(self, claim: Claim, call: FleetCall, body: bytes) -> Answer:
        node = claim.node
        with self._nodes.lock:
            known = call.object_id in node.delivered
        if not known:
            raise Rejected(Reason.OBJECT)
        answer = await self._attached().send(Operation.CONFIRM, claim, body)
        if answer.status == 200:
            self._store.confirm(node.member.agent_id, call.object_id)
        return answer

    async def _push_messages(self, claim: Claim, call: FleetCall, body: bytes) -> Answer:
        node, client = claim.node, self._attached()
        message = call.message
        if message is None:
            raise Rejected(Reason.MALFORMED)
        instruction = self._check_reply(node, message)
        answer = await client.send(Operation.PUSH_MESSAGES, claim, body)
        if answer.status != 200:
            return answer
        session_id, to_push = client.upstream.codec.upload(answer.body())
        if not to_push:
            return answer  # SuperLink did not store it: late, or answered already
        try:
            complete = self._store.expect(
                node.member.agent_id,
                session_id,
                message.message_id,
                message.objects,
                to_push,
                most_bytes=instruction.reply_limit,
            )
        except Refused as error:
            raise Rejected(Reason(error.reason)) from error
        with self._nodes.lock:
            node.replies[message.message_id] = instruction
        if complete:
            self._ready(node, message.message_id)
        return answer

    def _check_reply(self, node: Node, message: PushedMessage) -> Instruction:
        if message.source != node.node_id:
            raise Rejected(Reason.IDENTITY)
        with self._nodes.lock:
            instruction = node.delivered.get(message.reply_to)
        if instruction is None or message.destination != SERVER_NODE:
            raise Rejected(Reason.OBJECT)
        same = (
            message.run_id == instruction.run_id
            and message.group_id == instruction.group_id
            and message.message_type == instruction.message_type
            and message.root == message.message_id
        )
        if not same:
            raise Rejected(Reason.OBJECT)
        if message.depth > MOST_DEPTH or len(message.objects) > most_objects(
            instruction.reply_limit
        ):
            raise Rejected(Reason.OVERSIZE)
        return instruction

    async def _push_object(self, claim: Claim, call: FleetCall, _body: bytes) -> Answer:
        client, agent_id = self._attached(), claim.node.member.agent_id
        names = (agent_id, call.session_id, call.object_id, call.content)
        try:
            if len(call.content) < _THREAD_BYTES:
                complete = self._store.accept(*names)
            else:
                complete = await asyncio.to_thread(self._store.accept, *names)
        except Refused as error:
            raise Rejected(Reason(error.reason)) from error
        if complete is not None:
            self._ready(claim.node, complete)
        return Answer(200, (client.upstream.codec.stored_answer(),))

    def _ready(self, node: Node, reply_id: str) -> None:
        with self._nodes.lock:
            instruction = node.replies.pop(reply_id, None)
            if instruction is None:
                return
            node.delivered.pop(instruction.message_id, None)
        self._attached().upstream.listener.ready(instruction, reply_id)
