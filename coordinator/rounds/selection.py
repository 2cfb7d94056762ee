"""Whom a round asks: wait until enough are there, then draw a cohort (docs/design.md, "Cohort")."""

from collections.abc import Callable

from edgeveil.coordinator.plan import cohort
from edgeveil.coordinator.plan.plan import Plan
from edgeveil.coordinator.rounds import pacing
from edgeveil.coordinator.rounds.attempt_runner import Surroundings
from edgeveil.coordinator.rounds.eligibility import RESTING, present_and_kept_out
from edgeveil.coordinator.rounds.preflight.willing import Willing
from edgeveil.coordinator.rounds.run_memory import RunMemory
from edgeveil.coordinator.store.store import Store
from edgeveil.shared.events.log import Event

SETTLE_S = 3.0  # once the minimum is there, how long to wait for the rest of the goal
POLL_S = 0.25


class Selection:
    """`pause(seconds)` lets time pass and raises what ends the run.

    `not_asked` says of the agents that were connected at the last draw, by name, why they were left out.
    """

    def __init__(
        self,
        run_id: str,
        plan: Plan,
        *,
        store: Store,
        around: Surroundings,
        memory: RunMemory,
        willing: Willing,
        pause: Callable[[float], None],
    ) -> None:
        self._run_id = run_id
        self._plan = plan
        self._store = store
        self._around = around
        self._memory = memory
        self._willing = willing
        self._pause = pause
        self._sizes = store.declared_sizes()
        self.not_asked: dict[str, str] = {}

    def select(self, number: int) -> tuple[bytes, ...]:
        """For round `number`: wait for the minimum, a little longer for the goal, then draw.

        In the first round only those count that said they would take part in the whole plan.

        Raises:
            RunRefused: too few would, for reasons that do not pass by themselves.
            RunLost, RunBehind: they know more than this database.
        """
        rounds = self._plan.rounds
        settled: float | None = None
        announced = -1
        while True:
            connected = self._willing_among(number, self._eligible())
            now = self._around.clock.monotonic()
            if len(connected) >= rounds.minimum and settled is None:
                settled = now + SETTLE_S
            if len(connected) < rounds.minimum:
                settled = None
            if len(connected) >= rounds.goal or (settled is not None and now >= settled):
                return self._draw(connected)
            if len(connected) != announced:
                announced = len(connected)
                self._announce(number, announced)
            self._pause(POLL_S)

    def _draw(self, connected: list[bytes]) -> tuple[bytes, ...]:
        """Whoever keeps refusing this plan rests, unless the goal needs everybody."""
        goal, records = self._plan.rounds.goal, self._memory.records
        names, resting = self._around.names, pacing.resting(records)
        willing = [agent for agent in connected if names[agent] not in resting]
        if len(willing) >= goal:
            tired = {names[agent]: RESTING for agent in connected if names[agent] in resting}
            self.not_asked |= tired
            connected = willing
        wanted = pacing.rates(records).asked(goal, self._plan.secagg.quorum)
        return cohort.select(connected, min(wanted, self._plan.cohort_max))

    def _eligible(self) -> list[bytes]:
        """Members of the signed roster that hold their long poll open now and may be asked."""
        signed = self._store.roster()
        members = {} if signed is None else signed.roster.members
        presence, names = self._around.transport.presence(), self._around.names
        eligible, kept_out = present_and_kept_out(
            members,
            presence,
            names,
            excluded=self._memory.excluded,
            required=self._plan.rounds.require,
            sizes={**self._sizes, **self._memory.sizes},
            wanted=self._plan.sizes,
        )
        self.not_asked = {names[agent]: reason for agent, reason in kept_out.items()}
        return eligible

    def _willing_among(self, number: int, connected: list[bytes]) -> list[bytes]:
        unwilling = self._willing.unwilling(number, connected)
        reasons = {self._around.names[agent]: why for agent, why in unwilling.items()}
        signed = self._store.roster()
        if reasons and signed is not None:
            self._memory.hear_refusals(number, signed.roster.epoch, reasons)
        self.not_asked |= reasons
        return [agent for agent in connected if agent not in unwilling]

    def _announce(self, number: int, connected: int) -> None:
        """For the minimum, or, once that is there, a moment for the goal."""
        rounds = self._plan.rounds
        wanted = rounds.minimum if connected < rounds.minimum else rounds.goal
        self._around.events.emit(
            Event.ROUND_WAIT,
            run=self._run_id,
            round=number,
            reason=f"{connected}-of-{wanted}-agents",
        )
