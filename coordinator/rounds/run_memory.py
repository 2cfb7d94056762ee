"""What the finished attempts of a run teach the next one; rebuilt from round records at each start."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from edgeveil.coordinator.learning import judgement
from edgeveil.coordinator.learning.judgement import Scored
from edgeveil.coordinator.plan.derived import assumed_corrupt
from edgeveil.coordinator.plan.evaluation import judged_by
from edgeveil.coordinator.plan.plan import Plan
from edgeveil.coordinator.records.records import Outcome, RoundRecord
from edgeveil.coordinator.rounds import pacing
from edgeveil.coordinator.rounds.complaints import Complaints
from edgeveil.coordinator.rounds.rollback import Restored
from edgeveil.shared.base.errors import RunBehind, RunClosed, RunLost


class RunMemory:
    """`records` are the newest attempts, as many as pacing looks at; `scores` those of all rounds."""

    def __init__(self, run_id: str, plan: Plan, records: Iterable[RoundRecord]) -> None:
        self.records: list[RoundRecord] = []
        self.scores: list[Scored] = []
        self.sizes: dict[str, int] = {}  # declared, by name; the newest word counts
        self._run_id = run_id
        self._metric = judged_by(plan)
        self._complaints = Complaints(assumed_corrupt(plan))
        self._restored = Restored(assumed_corrupt(plan))
        self._spare = plan.rounds.spare
        self._in_vain = 0
        for record in records:
            self.hear(record.extra)
            self.remember(record)

    @property
    def excluded(self) -> frozenset[str]:
        """Agents, by name, that are asked no more in this run."""
        return self._complaints.excluded

    def hear(self, extra: Mapping[str, Any]) -> frozenset[str]:
        """Take in what a round record says about suspects; who is excluded because of it."""
        before = self._complaints.excluded
        self._complaints.note((who, whom) for who, whom in extra.get("complaints", ()))
        self._complaints.convict(extra.get("suspects", ()))
        return self._complaints.excluded - before

    def remember(self, record: RoundRecord) -> None:
        """Take in a finished attempt that was heard already; pace and pay follow from those that train alone."""
        self._restored.note(record)
        if record.evaluates:
            return
        self._in_vain += record.paid_in_vain
        self.records.append(record)
        self.sizes |= record.sizes
        self.scores += judgement.scored([record], self._metric)
        del self.records[: -pacing.KEPT]

    def evaluated(self, record: RoundRecord) -> None:
        """Take in what devices measured of a committed round."""
        self.remember(record)
        committed = replace(record, outcome=Outcome.COMMITTED)
        self.scores += judgement.scored([committed], self._metric)

    def refuse_to_overcharge(self) -> None:
        """Nobody pays for more rounds than the plan was sized for, whoever makes attempts fail.

        Raises:
            RunClosed: more attempts were paid in vain than the plan has spare rounds.
        """
        if self._in_vain <= self._spare:
            return
        liars = ", ".join(sorted(self.excluded))
        who = (
            f"{liars} lied about shares: `coordinator agents revoke` shuts such devices out"
            if liars
            else "nobody is proved to have lied; the reasons are in the round records"
        )
        raise RunClosed(
            f"{self._in_vain} attempts of {self._run_id} came to nothing after agents had uploaded, and "
            f"the plan has {self._spare} spare (rounds.spare): one more could charge them beyond the "
            f"plan's epsilon, so this run is closed. {who}. Then start a run from another plan"
        )

    def hear_refusals(self, number: int, epoch: int, reasons: Mapping[str, str]) -> None:
        """Take in why agents, by name, would not take part in round `number`; raises as refuse_an_old_database."""
        self._restored.hear(number, epoch, reasons)
        self.refuse_an_old_database()

    def refuse_an_old_database(self) -> None:
        """What agents know and this database does not cannot be caught up with by trying again.

        Raises:
            RunLost: agents have been at later rounds.
            RunBehind: they hold a newer roster.
        """
        if lost := self._restored.run_is_lost(self._run_id):
            raise RunLost(lost)
        if old := self._restored.roster_is_old():
            raise RunBehind(old)
