"""The loop that executes one attempt: what the round machine wants sent goes out, what arrives goes in.

Signatures are checked here, before the machine sees a reply; nothing in the transport's own metadata
is believed (docs/threat-model.md).
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from edgeveil.coordinator.machine.attempt import RoundMachine
from edgeveil.coordinator.machine.machine import Abort, Action, Finish, Machine, Send
from edgeveil.coordinator.machine.transport import Incoming, Transport
from edgeveil.coordinator.rounds.pacing import waves
from edgeveil.coordinator.rounds.proposal import Proposal
from edgeveil.shared.base.clock import Clock
from edgeveil.shared.base.errors import ProtocolError
from edgeveil.shared.base.failpoints import Failpoint, failpoint
from edgeveil.shared.events.log import Event, EventLog, Level
from edgeveil.shared.privacy.ledger.heads import SignedHead
from edgeveil.shared.secagg.server.stages import Result
from edgeveil.shared.wire.messages import (
    Attempt,
    Kind,
    MaskedAccept,
    Reply,
    Request,
    RoundAccept,
    Stage,
    check_reply,
    make_request,
)

POLL_S = 0.25  # longest time a stop request or a passed deadline goes unnoticed
TTL_MARGIN_S = 30.0


class Stopped(Exception):
    """The operator asked the process to stop; the run continues at the next start."""


@dataclass(frozen=True)
class Surroundings:
    """The hands of an attempt: everything with I/O or time comes in here.

    `note_head(agent, head)` stores the ledger head an agent has signed; `housekeeping` is called
    while waiting, so that a changed roster reaches the transport. A simulation has a `machine` of its own where
    it leaves out masks, and `patience`: devices that share a processor get so many times the seconds of a plan.
    """

    transport: Transport
    events: EventLog
    clock: Clock
    stop: threading.Event
    names: Mapping[bytes, str]
    note_head: Callable[[bytes, SignedHead], None]
    housekeeping: Callable[[], None]
    machine: type[RoundMachine] = RoundMachine
    patience: float = 1.0

    def tell(
        self,
        event: Event,
        attempt: Attempt,
        *,
        level: Level = "info",
        stage: Kind | None = None,
        agent: str = "",
        reason: str = "",
        dur_ms: int | None = None,
        size: int = 0,
        sync: bool = False,
    ) -> None:
        """One line of the run's event log."""
        self.events.emit(
            event,
            level=level,
            run=attempt.run_id,
            round=attempt.round,
            attempt=attempt.attempt,
            stage=stage.name.lower() if stage else "",
            agent=agent,
            reason=reason,
            dur_ms=dur_ms,
            size=size,
            sync=sync,
        )


class AttemptRunner:
    """Use once: execute() returns how the attempt ended."""

    def __init__(
        self,
        proposal: Proposal,
        machine: Machine,
        heads: Mapping[bytes, bytes],
        around: Surroundings,
    ) -> None:
        self.proposal = proposal
        self.machine = machine
        self._heads = heads
        self._around = around
        self._reported: set[bytes] = set()
        self._started: dict[Stage, float] = {}
        self._reached: dict[bytes, Stage] = {}  # the last stage each agent answered
        self._finished: set[str] = set()
        self._later: list[tuple[float, Send]] = []  # waves of the first stage still to be sent

    def execute(self) -> Result | Abort:
        """Run to the end.

        Raises:
            Stopped: the operator asked for it; the attempt is over and nothing was revealed.
            TransportError: the transport is gone.
        """
        around = self._around
        try:
            pending = self.machine.start(around.clock.monotonic())
            while True:
                self._report()
                for action in pending:
                    if isinstance(action, Finish):
                        return action.result
                    if isinstance(action, Abort):
                        return action
                pending = [item for action in pending for item in self._send(action)]
                if not pending:
                    pending = self._wait()
        finally:
            around.transport.forget()

    def _send(self, action: Action) -> list[Action]:
        """Put one stage's requests on the wire; agents that cannot be reached are lost at once."""
        if not isinstance(action, Send):
            return []
        if action.stage not in self._started:
            self._started[action.stage] = self._now()
            self._around.tell(Event.STAGE_START, self.proposal.attempt, stage=action.stage)
        failpoint(Failpoint[f"COORDINATOR_STAGE_{action.stage.name}"])
        if action.stage is Stage.ROUND:
            (_, now), *later = waves(action.agents)
            self._later += [
                (self._now() + after, replace(action, agents=agents)) for after, agents in later
            ]
            action = replace(action, agents=now)
        return self._put(action)

    def _put(self, action: Send) -> list[Action]:
        sent = self._around.transport.send(
            self._requests(action), ttl_s=action.deadline_s + TTL_MARGIN_S
        )
        failpoint(Failpoint.COORDINATOR_SENT)
        unreachable = [agent for agent in action.agents if agent not in sent]
        return self.machine.lost(unreachable, self._now())

    def _requests(self, action: Send) -> dict[bytes, Request]:
        if action.stage is Stage.ROUND:
            return self.proposal.offers(self._heads, action.agents)
        signer, attempt = self.proposal.signer, self.proposal.attempt
        return {
            agent: make_request(signer, agent, action.stage, attempt, body)
            for agent, body in action.bodies.items()
        }

    def _wait(self) -> list[Action]:
        if self._around.stop.is_set():
            raise Stopped
        self._around.housekeeping()
        actions: list[Action] = []
        while self._later and self._later[0][0] <= self._now():
            wave = self._later.pop(0)[1]
            wanted = tuple(agent for agent in wave.agents if agent in self.machine.waiting)
            if wanted:
                actions += self._put(replace(wave, agents=wanted))
        left = max(0.0, self.machine.deadline - self._now())
        for incoming in self._around.transport.receive(min(POLL_S, left)):
            actions += self._take(incoming)
        return actions or self.machine.tick(self._now())

    def _take(self, incoming: Incoming) -> list[Action]:
        agent, reply = incoming.agent_id, incoming.reply
        if reply is None:
            return self.machine.lost([agent], self._now())
        stage = reply.stage
        if not isinstance(stage, Stage) or reply.attempt != self.proposal.attempt:
            return []
        if agent not in self.machine.waiting:
            return []
        try:
            check_reply(
                reply, self.proposal.roster.roster.members[agent], agent, self._around.names[agent]
            )
            if reply.refusal is not None:
                return self.machine.refused(agent, stage, reply.refusal, self._now(), reply.body)
            body = self._open(agent, reply)
        except ProtocolError as error:
            return self.machine.invalid(agent, stage, error.code, self._now())
        actions = self.machine.reply(agent, stage, body, reply.bulk, self._now())
        if agent not in self.machine.dropped:
            self._note_reply(agent, stage, reply)
        return actions

    def _note_reply(self, agent: bytes, stage: Stage, reply: Reply) -> None:
        """How long the answer took to come and how large it was; both follow from public numbers."""
        self._reached[agent] = stage
        waited = self._now() - self._started.get(stage, self._now())
        self._around.tell(
            Event.AGENT_REPLY,
            self.proposal.attempt,
            stage=stage,
            agent=self._around.names[agent],
            dur_ms=round(waited * 1000),
            size=len(reply.body) + len(reply.bulk or b""),
        )

    @property
    def dropped_stages(self) -> dict[bytes, Stage]:
        """The stage whose answer is missing, of every agent that left."""
        return {agent: self._missed(agent) for agent in self.machine.dropped}

    def _missed(self, agent: bytes) -> Stage:
        order = list(Stage)
        reached = self._reached.get(agent)
        return order[0] if reached is None else order[min(order.index(reached) + 1, 4)]

    def _open(self, agent: bytes, reply: Reply) -> bytes:
        """The stage's own message; two replies also carry the agent's signed ledger head."""
        if reply.stage is Stage.ROUND:
            accept = RoundAccept.decode(reply.body)
            self._hear_head(agent, accept.ledger_head)
            return accept.advert
        if reply.stage is Stage.MASKED:
            upload = MaskedAccept.decode(reply.body)
            self._hear_head(agent, upload.ledger_head)
            return upload.masked
        return reply.body

    def _hear_head(self, agent: bytes, data: bytes) -> None:
        head = SignedHead.decode(data)
        head.verify(self.proposal.roster.roster.members[agent], self._around.names[agent])
        self._around.note_head(agent, head)

    def _report(self) -> None:
        """Log every drop and every finished stage once."""
        for agent, reason in self.machine.dropped.items():
            if agent not in self._reported:
                self._reported.add(agent)
                self._around.tell(
                    Event.AGENT_DROP,
                    self.proposal.attempt,
                    level="warning",
                    stage=self._missed(agent),
                    agent=self._around.names[agent],
                    reason=reason,
                )
        for stage, seconds in self.machine.stage_seconds.items():
            if stage not in self._finished:
                self._finished.add(stage)
                self._around.tell(
                    Event.STAGE_FINISH,
                    self.proposal.attempt,
                    stage=Stage[stage.upper()],
                    dur_ms=round(seconds * 1000),
                )

    def _now(self) -> float:
        return self._around.clock.monotonic()
