"""The coordinator's Flower side: SuperLink, its run, and the exchange of requests and replies.

Implements coordinator.transport.Transport (docs/transport.md). Rules it keeps: a reply is pulled
only after the gateway's ready signal, and once; Flower's own polling helpers are never used; what
Flower says of a node is never taken for an identity.
"""

import queue
import threading
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from shared import flower_environment  # noqa: F401 - first: Flower reads its switches at import

# isort: split
from flwr.app import ArrayRecord, RecordDict
from flwr.proto.message_pb2 import ConfirmMessageReceivedRequest
from flwr.proto.node_pb2 import Node as FlowerNode
from flwr.proto.runtime_pb2 import PullAppMessagesRequest, PushAppMessagesRequest
from flwr.supercore.inflatable.inflatable_object import no_object_id_recompute
from flwr.supercore.inflatable.inflatable_protobuf_utils import (
    make_pull_object_fn_protobuf,
    make_push_object_fn_protobuf,
)
from flwr.supercore.inflatable.inflatable_utils import pull_objects, push_objects

from coordinator.flower_runtime.messages import Outgoing, build, group_id, read_reply
from coordinator.flower_runtime.run import FlowerRun, Registry
from coordinator.flower_runtime.superlink import SuperLink
from coordinator.flower_runtime.wire import FlowerCodec, flatten
from coordinator.gateway import Gateway
from coordinator.gateway.vocabulary import SERVER_NODE, Instruction, Upstream
from coordinator.transport import Incoming, Log, Lost, Member, Presence
from shared.errors import TransportError
from shared.event_log import Event
from shared.flower_codec import MODEL, bulk_record, encode_request
from shared.messages import Request

_SILENT_S = 65.0  # an agent sends a heartbeat every 24 s
_TICK_S = 1.0
_SPARE_TTL_S = 30.0
_LEAST_TTL_S = 60.0
_TRIES = 3  # pushes of one request
_MESSAGES_PER_RUN = 3000  # SuperLink keeps about 2 KB of each, and a soak saw them outlive the run
_PUSH_TIME_S = 60.0


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


class FlowerRuntime:
    """Used by one driver thread; `set_members`, `presence` and `alive` from any."""

    def __init__(
        self, runtime_dir: Path, gateway: Gateway, log: Log, *, database: str = ":flwr-in-memory:"
    ) -> None:
        self._gateway = gateway
        self._log = log
        self._superlink = SuperLink(runtime_dir, log, database=database)
        self._members: tuple[Member, ...] = ()
        self._lock = threading.Lock()  # members, registry, node ids
        self._registry: Registry | None = None
        self._nodes: dict[bytes, int] = {}  # by agent id
        self._run: FlowerRun | None = None
        self._pending: dict[str, _Pending] = {}
        self._bulks: dict[int, tuple[object, ArrayRecord]] = {}
        self._largest = 0
        self._sent = 0
        self._signals: queue.SimpleQueue[_Signal] = queue.SimpleQueue()
        self._background = ThreadPoolExecutor(1, thread_name_prefix="flower-confirm")
        self._failed = False

    @property
    def superlink_pid(self) -> int | None:
        return self._superlink.pid

    @property
    def run_id(self) -> int:
        """Flower's number of the run that is current; 0 before `start`."""
        return 0 if self._run is None else self._run.run_id

    def alive(self) -> bool:
        if not self._failed and self._run is not None and not self._superlink.alive():
            self._failed = True
            self._log(Event.SUPERLINK_STOP, level="error")
        return self._run is not None and not self._failed

    def start(self) -> None:
        """Call it from the main thread; raises TransportError when SuperLink does not come up."""
        self._superlink.start()
        try:
            self._registry = Registry(self._superlink)
            self._begin_run()
            upstream = Upstream(
                f"https://{self._superlink.address}", self._superlink.tls(), FlowerCodec(), self
            )
            self._gateway.attach(upstream)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """In the order that lets SuperLink end at once: no connection may be left open. Idempotent."""
        self._gateway.detach()
        self._background.shutdown(wait=True, cancel_futures=True)
        if self._run is not None and self._superlink.alive():
            self._run.close()
        if self._registry is not None:
            self._registry.close()
        self._run, self._registry = None, None
        self._superlink.stop()

    def set_members(
        self, members: Iterable[Member], revoked: frozenset[bytes] = frozenset()
    ) -> None:
        """Who may connect from now on; the gateway lets the others go before Flower hears of it."""
        with self._lock:
            self._members = tuple(members)
            self._gateway.set_members(self._members, revoked)
            self._sync()

    def presence(self) -> Mapping[bytes, Presence]:
        return self._gateway.presence()

    def take_traffic(self) -> tuple[int, int]:
        return self._gateway.take_traffic()

    def send(
        self, requests: Mapping[bytes, Request], *, ttl_s: float, reply_limit: int | None = None
    ) -> frozenset[bytes]:
        run = self._running()
        if run.lost.is_set():
            run = self._renew()
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

    def receive(self, timeout_s: float) -> list[Incoming]:
        end = time.monotonic() + timeout_s
        while True:
            run = self._running()
            if run.lost.is_set() and self._pending:
                return self._give_up(list(self._pending.values()), Lost.UNAVAILABLE)
            incoming = self._handle(run, self._drain(min(_TICK_S, end - time.monotonic())))
            incoming += self._silent()
            if incoming or time.monotonic() >= end:
                return incoming

    def forget(self) -> None:
        self._pending.clear()
        self._bulks.clear()
        self._largest = 0
        self._gateway.forget()
        if self._run is not None and (self._run.lost.is_set() or self._sent > _MESSAGES_PER_RUN):
            self._renew()

    def ready(self, instruction: Instruction, reply_id: str) -> None:
        """The gateway's signal, in its thread."""
        self._signals.put(_Signal(instruction, reply_id))

    def lost(self, _agent_id: bytes, instructions: tuple[Instruction, ...]) -> None:
        """The gateway's signal, in its thread."""
        for instruction in instructions:
            self._signals.put(_Signal(instruction, None))

    def _running(self) -> FlowerRun:
        if not self.alive() or self._run is None:
            raise TransportError("Flower's SuperLink is not running; restart the coordinator")
        return self._run

    def _sync(self) -> None:
        if self._registry is None:
            return
        ids = self._registry.sync(self._members)
        self._nodes = {member.agent_id: ids[member.node_public] for member in self._members}
        self._gateway.set_nodes(ids, self.run_id)

    def _begin_run(self) -> None:
        registry = self._registry
        if registry is None:
            raise TransportError("Flower's SuperLink is not running; restart the coordinator")
        self._run = FlowerRun(self._superlink, registry.start_run())
        self._sent = 0
        with self._lock:
            self._sync()

    def _renew(self) -> FlowerRun:
        """End the run and start another; costs 0.1 to 0.4 s."""
        old = self._running()
        old.close()
        self._begin_run()
        if self._registry is not None:
            self._registry.sweep(old.run_id)
        return self._running()

    def _records(self, request: Request) -> RecordDict:
        bulk = request.bulk
        if bulk is None:
            return encode_request(request)
        self._largest = max(self._largest, len(bulk))
        known = self._bulks.get(id(bulk))
        if known is None:
            known = (bulk, bulk_record(MODEL, bulk))  # holds `bulk`, so its id stays its own
            self._bulks[id(bulk)] = known
        return encode_request(request, known[1])

    def _push(self, run: FlowerRun, pendings: list[_Pending]) -> frozenset[bytes]:
        with self._lock:
            nodes = self._nodes
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
                self._running()  # raises if it is SuperLink that failed
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
        store = self._gateway.store
        missing = store.hold(out.message_id, out.objects)
        if self._gateway.settings.edge_store:
            store.fill({name: out.objects[name].deflate() for name in missing})
        self._gateway.expect(instruction)
        return instruction

    def _store(
        self, run: FlowerRun, sending: list[tuple[_Pending, Outgoing, Instruction]]
    ) -> frozenset[bytes]:
        request = PushAppMessagesRequest(
            messages_list=[out.proto for _, out, _ in sending],
            message_object_trees=[out.tree for _, out, _ in sending],
        )
        answer = run.call("take messages", lambda: run.client.PushMessages(request))
        if not self._gateway.settings.edge_store:
            self._push_objects(run, sending, answer.session_id, set(answer.objects_to_push))
        self._sent += len(sending)
        stored: dict[bytes, Instruction] = {}
        for (pending, out, instruction), message_id in zip(
            sending, answer.message_ids, strict=True
        ):
            if message_id == out.message_id:
                stored[pending.agent_id] = instruction
            else:  # a node that never activated, or is no longer registered
                self._drop(pending, instruction)
        self._gateway.wake(stored.values())
        return frozenset(stored)

    def _drop(self, pending: _Pending, instruction: Instruction) -> None:
        self._pending.pop(pending.message_id, None)
        self._gateway.withdraw(instruction)
        self._gateway.store.release(pending.message_id)

    def _push_objects(
        self,
        run: FlowerRun,
        sending: list[tuple[_Pending, Outgoing, Instruction]],
        session_id: str,
        wanted: set[str],
    ) -> None:
        objects = {name: item for _, out, _ in sending for name, item in out.objects.items()}
        push = make_push_object_fn_protobuf(
            run.client.PushObject, FlowerNode(node_id=SERVER_NODE), run.run_id, session_id
        )
        run.call("take objects", lambda: push_objects(objects, push, object_ids_to_push=wanted))

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
            self._running()  # raises if it is SuperLink that failed
            return self._give_up([self._pending[name] for name in replies], Lost.FAILED)
        incoming: list[Incoming] = []
        for header, tree in zip(answer.messages_list, answer.message_object_trees, strict=True):
            pending = self._pending.pop(header.metadata.reply_to_message_id, None)
            if pending is None:
                continue
            reply_id = header.metadata.message_id
            found = read_reply(
                header,
                self._contents(run, reply_id, flatten(tree)[0]),
                stage=pending.request.stage,
                attempt=pending.request.attempt,
                most_bytes=pending.reply_limit,
            )
            self._gateway.store.release(pending.message_id)
            self._confirm(run, reply_id)
            if isinstance(found, Lost):
                incoming.append(Incoming(pending.agent_id, lost=found))
            else:
                incoming.append(Incoming(pending.agent_id, reply=found))
        return incoming

    def _contents(
        self, run: FlowerRun, reply_id: str, names: tuple[str, ...]
    ) -> Mapping[str, bytes] | None:
        taken = self._gateway.store.take(reply_id)
        if self._gateway.settings.edge_store or not names:
            return taken
        pull = make_pull_object_fn_protobuf(
            run.client.PullObject, FlowerNode(node_id=SERVER_NODE), run.run_id
        )
        return run.call(
            "hand out objects",
            lambda: pull_objects(list(dict.fromkeys(names)), pull, max_time=_PUSH_TIME_S),
        )

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
            self._gateway.store.release(pending.message_id)
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
        silence = self._gateway.silence()
        never = float("inf")
        gone = [p for p in self._pending.values() if silence.get(p.agent_id, never) > _SILENT_S]
        return self._give_up(gone, Lost.UNAVAILABLE)

    def _give_up(self, pendings: list[_Pending], why: Lost) -> list[Incoming]:
        for pending in pendings:
            self._pending.pop(pending.message_id)
            self._gateway.store.release(pending.message_id)
        return [Incoming(pending.agent_id, lost=why) for pending in pendings]
