"""Requests on their way to agents, and their replies (docs/transport.md).

A reply is pulled only after the gateway's ready signal, and once; Flower's own polling helpers are
never used; what Flower says of a node is never taken for an identity.
"""

import queue
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from edgeveil.shared.flower import environment as flower_environment  # noqa: F401 - first: Flower reads its switches at import

# isort: split
from flwr.app import ArrayRecord, RecordDict
from flwr.proto.message_pb2 import ConfirmMessageReceivedRequest
from flwr.proto.node_pb2 import Node as FlowerNode
from flwr.proto.runtime_pb2 import PullAppMessagesRequest, PushAppMessagesRequest
from flwr.supercore.inflatable.inflatable_object import no_object_id_recompute

from edgeveil.coordinator.flower_runtime.messages import Outgoing, build, group_id, read_reply
from edgeveil.coordinator.flower_runtime.run import FlowerRun
from edgeveil.coordinator.gateway.server import Gateway
from edgeveil.coordinator.gateway.vocabulary import SERVER_NODE, Instruction
from edgeveil.coordinator.machine.transport import Incoming, Lost
from edgeveil.shared.base.errors import TransportError
from edgeveil.shared.flower.codec import MODEL, bulk_record, encode_request
from edgeveil.shared.wire.messages import Request

_SILENT_S = 65.0  # an agent sends a heartbeat every 24 s
_SPARE_TTL_S = 30.0
_LEAST_TTL_S = 60.0
_TRIES = 3  # pushes of one request


@dataclass(slots=True)
class _Pending:
    """A request on its way; `deadline` is monotonic."""

    agent_id: bytes
    request: Request = field(repr=False)
    records: RecordDict = field(repr=False)
    deadline: float
    reply_limit: int
    tries: int = 1
    message_id: str = ""


@dataclass(frozen=True, slots=True)
class _Signal:
    """From the gateway's thread: the reply `reply_id` is complete, or (None) the message is lost."""

    instruction: Instruction
    reply_id: str | None


@dataclass(eq=False)
class Mailbox:
    """Used by one driver thread; `ready` and `lost` are the gateway's signals, in its thread.

    `nodes`: Flower's node ids by agent id, as of now; `must_live` raises without SuperLink.
    """

    gateway: Gateway
    nodes: Callable[[], Mapping[bytes, int]]
    must_live: Callable[[], object]

    def __post_init__(self) -> None:
        self._pending: dict[str, _Pending] = {}
        self._bulks: dict[int, tuple[object, ArrayRecord]] = {}
        self._largest = 0
        self._signals: queue.SimpleQueue[_Signal] = queue.SimpleQueue()
        self._background = ThreadPoolExecutor(1, thread_name_prefix="flower-confirm")
        self.sent = 0  # messages so far

    def close(self) -> None:
        self._background.shutdown(wait=True, cancel_futures=True)

    def clear(self) -> None:
        """Forget what is on its way and the bulks it shared."""
        self._pending.clear()
        self._bulks.clear()
        self._largest = 0

    def send(
        self,
        run: FlowerRun,
        requests: Mapping[bytes, Request],
        ttl_s: float,
        reply_limit: int | None,
    ) -> frozenset[bytes]:
        """The agents whose request SuperLink has taken; by default replies are bounded by the bulk."""
        deadline = time.monotonic() + ttl_s
        records = {agent: self._records(request) for agent, request in requests.items()}
        limit = reply_limit or (1 << 20) + self._largest * 22 // 10
        return self._push(
            run,
            [
                _Pending(agent, request, records[agent], deadline, limit)
                for agent, request in requests.items()
            ],
        )

    def collect(self, run: FlowerRun, timeout_s: float) -> list[Incoming]:
        """Replies and losses that are known now, or once the gateway signals one in that time."""
        if run.lost.is_set() and self._pending:
            return self._give_up(list(self._pending.values()), Lost.UNAVAILABLE)
        return self._handle(run, self._drain(timeout_s)) + self._silent()

    def ready(self, instruction: Instruction, reply_id: str) -> None:
        """The gateway's signal, in its thread."""
        self._signals.put(_Signal(instruction, reply_id))

    def lost(self, _agent_id: bytes, instructions: tuple[Instruction, ...]) -> None:
        """The gateway's signal, in its thread."""
        for instruction in instructions:
            self._signals.put(_Signal(instruction, None))

    def _records(self, request: Request) -> RecordDict:
        bulk = request.bulk
        if bulk is None:
            return encode_request(request)
        self._largest = max(self._largest, len(bulk))
        known = self._bulks.get(id(bulk))
        if known is None:
            # Holds `bulk`, so its id stays its own; what is frozen is the same for everybody.
            known = (bulk, bulk_record(MODEL, bulk, request.frozen))
            self._bulks[id(bulk)] = known
        return encode_request(request, known[1])

    def _push(self, run: FlowerRun, pendings: list[_Pending]) -> frozenset[bytes]:
        nodes = self.nodes()
        sending: list[tuple[_Pending, Outgoing, Instruction]] = []
        now = time.monotonic()
        with no_object_id_recompute():
            for pending in pendings:
                if pending.agent_id not in nodes:
                    continue
                ttl_s = max(_LEAST_TTL_S, pending.deadline - now + _SPARE_TTL_S)
                out = build(pending.request, pending.records, nodes[pending.agent_id], ttl_s)
                sending.append((pending, out, self._announce(run, pending, out)))
            try:
                return self._store(run, sending) if sending else frozenset()
            except TransportError:
                for pending, _, instruction in sending:
                    self._drop(pending, instruction)
                self.must_live()  # raises if it is SuperLink that failed
                return frozenset()

    def _announce(self, run: FlowerRun, pending: _Pending, out: Outgoing) -> Instruction:
        pending.message_id = out.message_id
        self._pending[out.message_id] = pending
        instruction = Instruction(
            message_id=out.message_id,
            agent_id=pending.agent_id,
            run_id=run.run_id,
            group_id=group_id(pending.request.attempt),
            message_type=str(pending.request.stage),
            reply_limit=pending.reply_limit,
        )
        store = self.gateway.store
        missing = store.hold(out.message_id, out.objects)
        store.fill({name: out.objects[name].deflate() for name in missing})
        self.gateway.expect(instruction)
        return instruction

    def _store(
        self, run: FlowerRun, sending: list[tuple[_Pending, Outgoing, Instruction]]
    ) -> frozenset[bytes]:
        request = PushAppMessagesRequest(
            messages_list=[out.proto for _, out, _ in sending],
            message_object_trees=[out.tree for _, out, _ in sending],
        )
        answer = run.call("take messages", lambda: run.client.PushMessages(request))
        self.sent += len(sending)
        stored: dict[bytes, Instruction] = {}
        for (pending, out, instruction), message_id in zip(
            sending, answer.message_ids, strict=True
        ):
            if message_id == out.message_id:
                stored[pending.agent_id] = instruction
            else:  # a node that never activated, or is no longer registered
                self._drop(pending, instruction)
        self.gateway.wake(stored.values())
        return frozenset(stored)

    def _drop(self, pending: _Pending, instruction: Instruction) -> None:
        self._pending.pop(pending.message_id, None)
        self.gateway.withdraw(instruction)
        self.gateway.store.release(pending.message_id)

    def _drain(self, timeout_s: float) -> list[_Signal]:
        signals: list[_Signal] = []
        try:
            signals.append(self._signals.get(timeout=max(timeout_s, 0.001)))
            while True:
                signals.append(self._signals.get_nowait())
        except queue.Empty:
            return signals

    def _handle(self, run: FlowerRun, signals: list[_Signal]) -> list[Incoming]:
        known = [signal for signal in signals if signal.instruction.message_id in self._pending]
        replies = {s.instruction.message_id: s.reply_id for s in known if s.reply_id is not None}
        incoming = self._pull(run, replies) if replies else []
        lost = [s.instruction.message_id for s in known if s.reply_id is None]
        return incoming + self._send_again(run, [self._pending.pop(name) for name in lost])

    def _pull(self, run: FlowerRun, replies: Mapping[str, str]) -> list[Incoming]:
        """Collect the replies to these message ids, each exactly once."""
        request = PullAppMessagesRequest(message_ids=list(replies))
        try:
            answer = run.call("hand out replies", lambda: run.client.PullMessages(request))
        except TransportError:
            self.must_live()  # raises if it is SuperLink that failed
            return self._give_up([self._pending[name] for name in replies], Lost.FAILED)
        incoming: list[Incoming] = []
        for header in answer.messages_list:
            pending = self._pending.pop(header.metadata.reply_to_message_id, None)
            if pending is None:
                continue
            reply_id = header.metadata.message_id
            found = read_reply(
                header,
                self.gateway.store.take(reply_id),
                stage=pending.request.stage,
                attempt=pending.request.attempt,
                most_bytes=pending.reply_limit,
            )
            self.gateway.store.release(pending.message_id)
            self._confirm(run, reply_id)
            if isinstance(found, Lost):
                incoming.append(Incoming(pending.agent_id, lost=found))
            else:
                incoming.append(Incoming(pending.agent_id, reply=found))
        return incoming

    def _confirm(self, run: FlowerRun, reply_id: str) -> None:
        request = ConfirmMessageReceivedRequest(
            node=FlowerNode(node_id=SERVER_NODE), run_id=run.run_id, message_object_id=reply_id
        )
        self._background.submit(
            run.call, "free a reply", lambda: run.client.ConfirmMessageReceived(request)
        )

    def _send_again(self, run: FlowerRun, lost: list[_Pending]) -> list[Incoming]:
        """An agent that restarted gets the identical request as a new message; it knows repeats."""
        incoming: list[Incoming] = []
        again: list[_Pending] = []
        for pending in lost:
            self.gateway.store.release(pending.message_id)
            pending.tries += 1
            if time.monotonic() >= pending.deadline:
                incoming.append(Incoming(pending.agent_id, lost=Lost.EXPIRED))
            elif pending.tries > _TRIES:
                incoming.append(Incoming(pending.agent_id, lost=Lost.FAILED))
            else:
                again.append(pending)
        stored = self._push(run, again)
        missed = [pending for pending in again if pending.agent_id not in stored]
        return incoming + [Incoming(p.agent_id, lost=Lost.UNAVAILABLE) for p in missed]

    def _silent(self) -> list[Incoming]:
        """Agents not heard of for longer than two heartbeats, and those that were just revoked."""
        silence = self.gateway.silence()
        never = float("inf")
        gone = [p for p in self._pending.values() if silence.get(p.agent_id, never) > _SILENT_S]
        return self._give_up(gone, Lost.UNAVAILABLE)

    def _give_up(self, pendings: list[_Pending], why: Lost) -> list[Incoming]:
        for pending in pendings:
            self._pending.pop(pending.message_id)
            self.gateway.store.release(pending.message_id)
        return [Incoming(pending.agent_id, lost=why) for pending in pendings]
