"""One attempt of one round as a pure machine: events in, actions out; no I/O, clock or framework.

The five exchanges follow docs/protocol.md. The machine knows who was asked, who answered and why
anybody left; the secure-aggregation stages (shared.secagg.server.stages) know whether a quorum stands.
A stage closes when everybody still awaited has answered, when the goal is met (first stage only),
or at its deadline if the quorum holds; otherwise the attempt aborts with a reason.
"""

import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

from edgeveil.coordinator.machine.drop_reasons import DropReason, common_refusal, told
from edgeveil.coordinator.machine.machine import Abort, Action, Finish, Send
from edgeveil.shared.base.errors import RefusalCode
from edgeveil.shared.secagg.primitives.errors import Aborted, PeerFault
from edgeveil.shared.secagg.server import stages
from edgeveil.shared.wire.messages import Stage

TOO_FEW = frozenset({RefusalCode.COHORT_TOO_SMALL, RefusalCode.QUORUM})
USUAL_FOR = 100  # agents, within the usual seconds of a stage


class Collecting(Protocol):
    """One exchange, as shared.secagg.server.stages has them; the first one's requests are the driver's offers."""

    @property
    def waiting(self) -> frozenset[bytes]: ...
    def accept(self, agent: bytes, body: bytes, bulk: bytes | memoryview | None = None) -> None: ...
    def drop(self, agent: bytes) -> None: ...
    def close(self) -> "Following | stages.Result": ...


class Following(Collecting, Protocol):
    def requests(self) -> Mapping[bytes, bytes]: ...


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Seconds allowed per stage, from the moment its requests are sent."""

    round_s: float
    share_s: float = 20.0
    masked_s: float = 60.0
    agree_s: float = 10.0
    unmask_s: float = 20.0

    @classmethod
    def capped(cls, limit_s: float, agents: int = 1) -> "Deadlines":
        """The plan's deadline for training, and for no later stage more than that.

        Later stages get the usual seconds for each hundred agents begun: their messages are many,
        and long, in a large cohort.
        """
        usual = cls(limit_s)
        times = math.ceil(agents / USUAL_FOR)
        later = (usual.share_s, usual.masked_s, usual.agree_s, usual.unmask_s)
        return cls(limit_s, *(min(times * seconds, limit_s) for seconds in later))

    def of(self, stage: Stage) -> float:
        return {
            Stage.ROUND: self.round_s,
            Stage.SHARE: self.share_s,
            Stage.MASKED: self.masked_s,
            Stage.AGREE: self.agree_s,
            Stage.UNMASK: self.unmask_s,
        }[stage]


NEXT_STAGE = dict(itertools.pairwise(Stage))


@dataclass(slots=True)
class RoundMachine:
    """Drive with start(), then reply()/refused()/lost()/tick(); stop after Finish or Abort.

    `complaints` holds, by accuser, whose share did not open; `suspects` who is proved to have lied
    about shares.
    """

    following: ClassVar[Mapping[Stage, Stage]] = NEXT_STAGE

    setup: stages.ServerSetup
    selected: tuple[bytes, ...]
    goal: int
    minimum: int
    deadlines: Deadlines
    stage: Stage = Stage.ROUND
    dropped: dict[bytes, str] = field(default_factory=dict)
    stage_seconds: dict[str, float] = field(default_factory=dict)
    answer_seconds: dict[str, float] = field(default_factory=dict)  # of each stage's last answer
    complaints: dict[bytes, bytes] = field(default_factory=dict)
    suspects: frozenset[bytes] = frozenset()
    results: tuple[stages.Result, ...] = ()
    done: bool = False
    _collecting: Collecting = field(init=False)
    _answered: set[bytes] = field(default_factory=set)
    _since: float = 0.0
    _until: float = 0.0

    def start(self, now: float) -> list[Action]:
        self._collecting = self._first()
        self._enter(Stage.ROUND, now)
        return [Send(Stage.ROUND, self.selected, {}, self.deadlines.round_s)]

    @property
    def deadline(self) -> float:
        """Monotonic second at which tick() closes the present stage."""
        return self._until

    @property
    def waiting(self) -> frozenset[bytes]:
        """Agents whose answer of this stage is still awaited."""
        return self._collecting.waiting

    @property
    def answered(self) -> int:
        return len(self._answered)

    def reply(
        self, agent: bytes, stage: Stage, body: bytes, bulk: bytes | memoryview | None, now: float
    ) -> list[Action]:
        """Take one agent's answer. A foreign, repeated or late one is ignored, a bad one drops the agent."""
        if self.done or stage is not self.stage or agent not in self.waiting:
            return []
        try:
            self._collecting.accept(agent, body, bulk)
        except PeerFault as fault:
            return self._leave(agent, f"{DropReason.INVALID}:{fault.code}", now)
        self._answered.add(agent)
        self.answer_seconds[self.stage.name.lower()] = round(now - self._since, 3)
        return self._close_if_complete(now)

    def refused(
        self, agent: bytes, stage: Stage, code: RefusalCode, now: float, about: bytes = b""
    ) -> list[Action]:
        """Drop the agent; a late refusal of an earlier stage's repeated request is ignored.

        `about` is what the refusal says beside its code (shared.wire.messages.REFUSAL_BYTES).
        """
        if stage is not self.stage:
            return []
        reason = f"{DropReason.REFUSED}:{code}"
        if agent in self.waiting and code is RefusalCode.SHARE_AUTH:
            self._complain(agent, about)
        if about:
            reason += told(code, about)
        return self._leave(agent, reason, now)

    def invalid(self, agent: bytes, stage: Stage, code: RefusalCode, now: float) -> list[Action]:
        if stage is not self.stage:
            return []
        return self._leave(agent, f"{DropReason.INVALID}:{code}", now)

    def lost(self, agents: Iterable[bytes], now: float) -> list[Action]:
        actions: list[Action] = []
        for agent in agents:
            actions += self._leave(agent, DropReason.LOST, now)
        return actions

    def tick(self, now: float) -> list[Action]:
        """Close the stage if its deadline has passed."""
        if self.done or now < self._until:
            return []
        self._drop_awaited(DropReason.DEADLINE)
        return self._close(now)

    def _first(self) -> Collecting:
        return stages.CollectAdverts(self.setup)

    def _complain(self, accuser: bytes, accused: bytes) -> None:
        """Only sealed shares can fail to open, and only those of another member of the cohort."""
        if self.stage is Stage.MASKED and accused in self.selected and accused != accuser:
            self.complaints[accuser] = accused

    def _leave(self, agent: bytes, reason: str, now: float) -> list[Action]:
        if self.done or agent not in self.waiting:
            return []
        self._drop(agent, reason)
        return self._close_if_complete(now)

    def _drop(self, agent: bytes, reason: str) -> None:
        self.dropped[agent] = reason
        self._collecting.drop(agent)

    def _drop_awaited(self, reason: DropReason) -> None:
        for agent in self.waiting:
            self._drop(agent, reason)

    def _close_if_complete(self, now: float) -> list[Action]:
        if self.done:
            return []
        goal_met = self.stage is Stage.ROUND and len(self._answered) >= self.goal
        if self.waiting and not goal_met:
            return []
        self._drop_awaited(DropReason.LATE)
        return self._close(now)

    def _close(self, now: float) -> list[Action]:
        self._note_seconds(now)
        if self.stage is Stage.ROUND and len(self._answered) < self.minimum:
            detail = f"{len(self._answered)} of {len(self.selected)} agents answered, {self.minimum} needed"
            return self._abort(RefusalCode.COHORT_TOO_SMALL, detail)
        try:
            following = self._collecting.close()
        except Aborted as error:
            self.suspects = error.guilty
            return self._abort(error.code, str(error))
        if isinstance(following, stages.Result):
            self.done, self.results = True, (following,)
            self.suspects = frozenset(following.liars)
            return [Finish(following)]
        self._collecting = following
        self._enter(self.following[self.stage], now)
        bodies = following.requests()
        return [Send(self.stage, tuple(bodies), bodies, self.deadlines.of(self.stage))]

    def _abort(self, code: str, detail: str) -> list[Action]:
        """Too few agents are left for a reason; where most of them named one, it is the attempt's."""
        self.done = True
        if code in TOO_FEW and (named := common_refusal(self.dropped.values())):
            return [Abort(named, detail)]
        return [Abort(str(code), detail)]

    def _enter(self, stage: Stage, now: float) -> None:
        self.stage = stage
        self._answered = set()
        self._since = now
        self._until = now + self.deadlines.of(stage)

    def _note_seconds(self, now: float) -> None:
        name = self.stage.name.lower()
        self.stage_seconds[name] = round(now - self._since, 3)
