"""One more Transport: requests go to simulated devices, by Flower's messages, and drop out as the operator says."""

import random
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeveil.shared.flower import environment as flower_environment  # noqa: F401 - first: Flower reads its switches at import

# isort: split
from flwr.app import ArrayRecord, Context, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from edgeveil.coordinator.machine.transport import Incoming, Lost, Presence
from edgeveil.coordinator.simulation.workers import Workers
from edgeveil.shared.base.errors import ProtocolError, RunFailed
from edgeveil.shared.flower import managing
from edgeveil.shared.flower.codec import MODEL, bulk_record, decode_reply, encode_request
from edgeveil.shared.wire.messages import Attempt, Reply, Request, Stage

TTL_S = 7 * 86_400.0  # a message waits for its worker as long as it takes
DROPS = (Stage.ROUND, Stage.SHARE, Stage.MASKED, Stage.AGREE)  # where a device may be lost


class SimulatedTransport:
    """`homes` are those of the devices, in the order of their seats.

    With `dropout` each device is lost in an attempt with that probability, from a stage on that is drawn as well; the
    same for the same `seed`, run, round and attempt.
    """

    def __init__(
        self, workers: Workers, homes: Sequence[Path], *, dropout: float = 0.0, seed: int = 0
    ) -> None:
        self._workers = workers
        self._contexts = [_context(seat, home) for seat, home in enumerate(homes)]
        self._seats: dict[bytes, int] = {}  # by agent id, once they have joined
        self._dropout, self._seed = dropout, seed
        self._pending: dict[int, tuple[bytes, Request]] = {}  # by seat
        self._lost: list[Incoming] = []
        self._bulks: dict[int, tuple[object, ArrayRecord]] = {}
        self._traffic = [0, 0]
        self.memory = 0  # bytes, of the largest process of devices so far
        TaskIdentity.task_id = TaskIdentity.run_id = TaskIdentity.node_id = 1

    def seat(self, agents: Sequence[bytes]) -> None:
        """Who sits where, in the order of the homes."""
        self._seats = {agent: seat for seat, agent in enumerate(agents)}

    def manage(
        self, asked: Mapping[int, dict[str, Any]], stop: threading.Event | None = None
    ) -> dict[int, dict[str, Any]]:
        """What each of these seats answers beside the protocol.

        Raises:
            RunFailed: one cannot, with its sentence; or the operator asked to `stop`.
        """
        for seat, values in asked.items():
            self._submit(seat, managing.encode(values), managing.MESSAGE, "")
        told: dict[int, dict[str, Any]] = {}
        while len(told) < len(asked):
            if stop is not None and stop.is_set():
                raise RunFailed(
                    "interrupted while devices were set up; the same command begins anew"
                )
            for seat, message in self._workers.collect(1.0):
                if message is None:
                    raise RunFailed(
                        "a process of simulated devices ended while they were set up: memory may not hold so many "
                        "(--agents); the same command goes on from here"
                    )
                told[seat] = _told(seat, message)
                self.memory = max(self.memory, int(told[seat].get("memory", 0)))
        return told

    def alive(self) -> bool:
        return True

    def presence(self) -> Mapping[bytes, Presence]:
        now = time.time()
        return {agent: Presence(connected=True, last_seen=now) for agent in self._seats}

    def send(
        self, requests: Mapping[bytes, Request], *, ttl_s: float, reply_limit: int | None = None
    ) -> frozenset[bytes]:
        del ttl_s, reply_limit
        for agent, request in requests.items():
            if self._drops(agent, request):
                self._lost.append(Incoming(agent, lost=Lost.UNAVAILABLE))
                continue
            seat = self._seats[agent]
            self._pending[seat] = agent, request
            group = f"{request.attempt.round}.{request.attempt.attempt}"
            self._submit(seat, self._records(request), str(request.stage), group)
            self._traffic[1] += _size(request)
        return frozenset(requests)

    def receive(self, timeout_s: float) -> list[Incoming]:
        if self._lost:
            lost, self._lost = self._lost, []
            return lost
        if not self._pending:
            time.sleep(min(timeout_s, 0.05))
        found = [self._incoming(*answer) for answer in self._workers.collect(timeout_s)]
        return [incoming for incoming in found if incoming is not None]

    def forget(self) -> None:
        self._workers.forget()
        self._pending.clear()
        self._lost.clear()
        self._bulks.clear()

    def take_traffic(self) -> tuple[int, int]:
        up, down = self._traffic
        self._traffic = [0, 0]
        return up, down

    def _submit(self, seat: int, records: RecordDict, kind: str, group: str) -> None:
        message = Message(records, seat + 2, kind, ttl=TTL_S, group_id=group)
        self._workers.submit(seat, message, self._contexts[seat])

    def _records(self, request: Request) -> RecordDict:
        bulk = request.bulk
        if bulk is None:
            return encode_request(request)
        if id(bulk) not in self._bulks:
            self._bulks[id(bulk)] = bulk, bulk_record(MODEL, bulk, request.frozen)
        return encode_request(request, self._bulks[id(bulk)][1])

    def _incoming(self, seat: int, message: Message | None) -> Incoming | None:
        """None for an answer nobody waits for any more."""
        if seat not in self._pending:
            return None
        agent, request = self._pending[seat]
        if message is None or not message.has_content():
            del self._pending[seat]
            return Incoming(agent, lost=Lost.FAILED)
        try:
            reply = decode_reply(message.content)
        except ProtocolError:
            del self._pending[seat]
            return Incoming(agent, lost=Lost.MALFORMED)
        if (reply.stage, reply.attempt) != (request.stage, request.attempt):
            return None  # of an attempt that is over
        del self._pending[seat]
        self._traffic[0] += _size(reply)
        return Incoming(agent, reply=reply)

    def _drops(self, agent: bytes, request: Request) -> bool:
        stage = request.stage
        if not self._dropout or not isinstance(stage, Stage):
            return False
        seat = self._seats[agent]
        drawn = random.Random(f"{self._seed}/{seat}/{_place(request.attempt)}")  # noqa: S311 - no secret: who is lost
        if drawn.random() >= self._dropout:
            return False
        order = list(Stage)
        return order.index(stage) >= order.index(drawn.choice(DROPS))


def _context(seat: int, home: Path) -> Context:
    return Context(
        run_id=1,
        node_id=seat + 2,
        node_config={managing.HOME: str(home), "partition-id": seat},
        state=RecordDict(),
        run_config={},
    )


def _told(seat: int, message: Message) -> dict[str, Any]:
    told = managing.decode(message.content) if message.has_content() else {"fault": "it failed"}
    if "fault" in told:
        raise RunFailed(f"simulated device {seat + 1}: {told['fault']}")
    return told


def _place(attempt: Attempt) -> str:
    """Without the run, so that two runs of one seed lose the same devices."""
    return f"{attempt.round}/{attempt.attempt}"


def _size(sent: Request | Reply) -> int:
    """Of what a message holds; HTTP and TLS come on top on a network."""
    frozen = len(sent.frozen or b"") if isinstance(sent, Request) else 0
    return len(sent.body) + len(sent.signature) + len(sent.bulk or b"") + frozen
