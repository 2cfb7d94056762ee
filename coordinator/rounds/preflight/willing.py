"""Holds the first round of a run back until enough agents have said that they would take part.

Nothing of it is on the disk: a process that is killed before round 1 asks again, and one that resumes
after it never does. An answer promises nothing; an offer is judged anew (docs/design.md, "Preflight").
"""

from collections.abc import Sequence

from edgeveil.coordinator.machine.drop_reasons import DropReason
from edgeveil.coordinator.machine.preflight import YES
from edgeveil.coordinator.plan.plan import Plan
from edgeveil.coordinator.rounds.attempt_runner import Surroundings
from edgeveil.coordinator.rounds.pacing import LASTING
from edgeveil.coordinator.rounds.preflight.asking import ask
from edgeveil.coordinator.rounds.preflight.question import WholePlan
from edgeveil.coordinator.rounds.preflight.words import code_of, sentence
from edgeveil.coordinator.rounds.rollback import lost_attempt
from edgeveil.coordinator.store.store import Store
from edgeveil.shared.base.errors import RefusalCode, RunRefused
from edgeveil.shared.events.log import Event
from edgeveil.shared.wire.messages import Asking, Attempt

AGAIN_S = 60.0  # before somebody who would not is asked again; the devices keep their answers
BACK_S = 1.0  # before somebody who went offline is
OF_ROSTERS = frozenset(
    {
        RefusalCode.ROSTER_STALE,
        RefusalCode.ROSTER_EXPIRED,
        RefusalCode.ROSTER_SIGNATURE,
        RefusalCode.EQUIVOCATION,
        RefusalCode.NOT_MEMBER,
    }
)
FOR_GOOD = LASTING - {RefusalCode.POLICY_WHEN}


class Willing:
    """One run's, in one life of the process. `first`: the round before which everybody is asked."""

    def __init__(
        self,
        run_id: str,
        plan: Plan,
        whole: WholePlan,
        *,
        store: Store,
        around: Surroundings,
        first: int = 1,
    ) -> None:
        self._run_id = run_id
        self._plan = plan
        self._whole = whole
        self._first = first
        self._store = store
        self._around = around
        self._reasons: dict[bytes, str] = {}
        self._asked_at: dict[bytes, float] = {}
        self._epoch = 0
        self._passed: dict[
            int, int
        ] = {}  # round → an attempt that agents have seen and this database has not

    def unwilling(self, number: int, connected: Sequence[bytes]) -> dict[bytes, str]:
        """Why some of these are not to be asked in round `number`.

        Before the first round everybody is asked until there is a yes. Later only who refused for good before it is,
        so that no cohort is drawn around them and an owner's change of mind is heard of.

        Raises:
            RunRefused: before the first round, so many members refuse for good that waiting brings nothing.
            Stopped, TransportError: as an attempt.
        """
        self._forget_of_older_rosters()
        now = self._around.clock.monotonic()
        asked = connected if number == self._first else [a for a in connected if self._refused(a)]
        due = [agent for agent in asked if self._is_due(agent, now)]
        if due:
            self._ask(number, due)
        if due and number == self._first:
            self._give_up_if_in_vain(connected)
        kept_out = asked if number == self._first else [a for a in asked if self._refused(a)]
        reasons = {agent: self._reasons.get(agent, DropReason.LOST) for agent in kept_out}
        return {agent: reason for agent, reason in reasons.items() if reason != YES}

    def _forget_of_older_rosters(self) -> None:
        """Whoever refused a roster is asked at once when there is another."""
        signed = self._store.roster()
        epoch = 0 if signed is None else signed.roster.epoch
        if epoch != self._epoch:
            self._epoch = epoch
            kept = {a: why for a, why in self._reasons.items() if code_of(why) not in OF_ROSTERS}
            self._reasons = kept

    def _refused(self, agent: bytes) -> bool:
        return code_of(self._reasons.get(agent, YES)) in FOR_GOOD

    def _is_due(self, agent: bytes, now: float) -> bool:
        reason = self._reasons.get(agent)
        if reason is None or reason == YES:
            return reason is None
        soon = code_of(reason) in {
            None,
            RefusalCode.ROUND_REPLAY,
        }  # it is passed by the next attempt
        pause = BACK_S if soon else AGAIN_S
        return now - self._asked_at[agent] >= pause

    def _ask(self, number: int, agents: Sequence[bytes]) -> None:
        around, signed = self._around, self._store.roster()
        if signed is None:
            return
        known = self._store.last_attempt(self._run_id, number)
        attempt = Attempt(self._run_id, number, max(known, self._passed.get(number, 0)) + 1)
        members = signed.roster.members  # one may have been revoked a moment ago
        heads = {agent: self._store.ledger_head(agent) for agent in agents if agent in members}
        requests = self._whole.questions(attempt, signed, heads)
        found = ask(requests, members, around, limit_s=self._plan.rounds.deadline_s)
        now = around.clock.monotonic()
        for agent, reason in found.items():
            if reason not in {YES, self._reasons.get(agent)}:
                around.tell(
                    Event.AGENT_DROP,
                    attempt,
                    level="warning",
                    stage=Asking.PREFLIGHT,
                    agent=around.names[agent],
                    reason=reason,
                )
            self._reasons[agent], self._asked_at[agent] = reason, now
            self._passed[number] = max(
                self._passed.get(number, 0), lost_attempt(reason, number, known)
            )

    def _give_up_if_in_vain(self, connected: Sequence[bytes]) -> None:
        """With enough agents there to begin, too few members left that could still say yes."""
        needed, signed = self._plan.rounds.minimum, self._store.roster()
        members = {} if signed is None else signed.roster.members
        refused = {agent for agent in members if self._refused(agent)}
        if len(connected) < needed or len(members) - len(refused) >= needed:
            return
        names = self._around.names
        said = {names[a]: reason for a, reason in self._reasons.items() if a in members}
        raise RunRefused(
            f"nothing was begun: {sentence(said, needed)}. Once that is mended, `coordinator run` with the "
            "same plan asks again"
        )
