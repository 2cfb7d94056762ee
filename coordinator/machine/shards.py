"""A cohort in shards: one round machine per shard behind the interface of a single one (pure).

Every shard closes its own stages on its own deadlines and reveals its own sum. The round is complete
when all shards have ended: the sums of those that finished are added, and the round stands if enough
agents are in them. An aborted shard costs its own agents the round and nobody else.
"""

from collections.abc import Callable, Iterable, Sequence

from edgeveil.coordinator.machine.attempt import RoundMachine
from edgeveil.coordinator.machine.drop_reasons import DropReason
from edgeveil.coordinator.machine.machine import Abort, Action, Finish
from edgeveil.shared.base.errors import RefusalCode
from edgeveil.shared.secagg.agreement.result import Result
from edgeveil.shared.secagg.agreement.sharding import combine
from edgeveil.shared.wire.messages import Stage

STAGES = tuple(Stage)


class ShardedMachine:
    """Shards number 0, 1, … in the order of `machines`; `minimum` agents must be in the added sum."""

    def __init__(self, machines: Sequence[RoundMachine], minimum: int) -> None:
        self._machines = tuple(machines)
        self._minimum = minimum
        self._shard = {
            agent: number
            for number, machine in enumerate(self._machines)
            for agent in machine.selected
        }
        self._results: dict[int, Result] = {}
        self._aborts: dict[int, Abort] = {}
        self.done = False

    @property
    def selected(self) -> tuple[bytes, ...]:
        return tuple(sorted(self._shard))

    @property
    def stage(self) -> Stage:
        """The earliest stage any shard is in; the last one once all have ended."""
        running = [STAGES.index(machine.stage) for machine in self._running()]
        return STAGES[min(running, default=len(STAGES) - 1)]

    @property
    def deadline(self) -> float:
        """Monotonic second at which tick() has something to close."""
        return min((machine.deadline for machine in self._running()), default=0.0)

    @property
    def waiting(self) -> frozenset[bytes]:
        return frozenset(agent for machine in self._running() for agent in machine.waiting)

    @property
    def dropped(self) -> dict[bytes, str]:
        """Lost agents of all shards, and everybody else of a shard that was aborted."""
        found: dict[bytes, str] = {}
        for number, machine in enumerate(self._machines):
            if number in self._aborts:
                reason = f"{DropReason.SHARD}:{self._aborts[number].reason}"
                found.update(dict.fromkeys(machine.selected, reason))
            found.update(machine.dropped)
        return found

    @property
    def results(self) -> tuple[Result, ...]:
        """The sum of each shard that finished."""
        return tuple(result for _, result in sorted(self._results.items()))

    @property
    def complaints(self) -> dict[bytes, bytes]:
        return {who: whom for machine in self._machines for who, whom in machine.complaints.items()}

    @property
    def suspects(self) -> frozenset[bytes]:
        return frozenset(agent for machine in self._machines for agent in machine.suspects)

    @property
    def stage_seconds(self) -> dict[str, float]:
        """Of the stages that no running shard is still in, the slowest shard's seconds."""
        here = len(STAGES) if self.done else STAGES.index(self.stage)
        past = {stage.name.lower() for stage in STAGES[:here]}
        longest: dict[str, float] = {}
        for machine in self._machines:
            for name, seconds in machine.stage_seconds.items():
                if name in past:
                    longest[name] = max(seconds, longest.get(name, 0.0))
        return longest

    @property
    def answer_seconds(self) -> dict[str, float]:
        """When the last answer of each stage came, in the shard where it took longest."""
        longest: dict[str, float] = {}
        for machine in self._machines:
            for name, seconds in machine.answer_seconds.items():
                longest[name] = max(seconds, longest.get(name, 0.0))
        return longest

    def start(self, now: float) -> list[Action]:
        return self._each(lambda machine: machine.start(now))

    def reply(
        self, agent: bytes, stage: Stage, body: bytes, bulk: bytes | memoryview | None, now: float
    ) -> list[Action]:
        return self._of(agent, lambda machine: machine.reply(agent, stage, body, bulk, now))

    def refused(
        self, agent: bytes, stage: Stage, code: RefusalCode, now: float, about: bytes = b""
    ) -> list[Action]:
        return self._of(agent, lambda machine: machine.refused(agent, stage, code, now, about))

    def invalid(self, agent: bytes, stage: Stage, code: RefusalCode, now: float) -> list[Action]:
        return self._of(agent, lambda machine: machine.invalid(agent, stage, code, now))

    def lost(self, agents: Iterable[bytes], now: float) -> list[Action]:
        gone = frozenset(agents)
        return self._each(lambda machine: machine.lost(gone & machine.waiting, now))

    def tick(self, now: float) -> list[Action]:
        return self._each(lambda machine: machine.tick(now))

    def _running(self) -> list[RoundMachine]:
        return [machine for machine in self._machines if not machine.done]

    def _each(self, step: Callable[[RoundMachine], list[Action]]) -> list[Action]:
        return [
            action
            for number in range(len(self._machines))
            for action in self._take(number, step(self._machines[number]))
        ]

    def _of(self, agent: bytes, step: Callable[[RoundMachine], list[Action]]) -> list[Action]:
        number = self._shard.get(agent)
        return [] if number is None else self._take(number, step(self._machines[number]))

    def _take(self, number: int, actions: list[Action]) -> list[Action]:
        """Pass on what a shard wants sent; keep how it ended until all have."""
        passed: list[Action] = []
        for action in actions:
            if isinstance(action, Finish):
                self._results[number] = action.result
            elif isinstance(action, Abort):
                self._aborts[number] = action
            else:
                passed.append(action)
        if not self.done and len(self._results) + len(self._aborts) == len(self._machines):
            self.done = True
            passed.append(self._outcome())
        return passed

    def _outcome(self) -> Action:
        survivors = sum(len(result.u3) for result in self._results.values())
        if self._results and survivors >= self._minimum:
            return Finish(combine(self._results))
        reasons = "; ".join(
            f"shard {number}: {abort.detail}" for number, abort in sorted(self._aborts.items())
        )
        detail = f"{survivors} agents in the shards that finished, {self._minimum} needed"
        codes = {abort.reason for abort in self._aborts.values()}
        code = codes.pop() if len(codes) == 1 else RefusalCode.COHORT_TOO_SMALL
        return Abort(code, f"{detail}; {reasons}" if reasons else detail)
