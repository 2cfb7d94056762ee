"""The records of a run, kept in memory while somebody looks: only what is new is read again."""

from edgeveil.coordinator.records.records import RoundRecord, Run
from edgeveil.coordinator.reports.facts import RunFacts
from edgeveil.coordinator.store.store import Store


class History:
    """One reader at a time; a run's finished attempts never change, they only become more."""

    def __init__(self) -> None:
        self._run_id = ""
        self._records: list[RoundRecord] = []

    def of(self, store: Store, run: Run) -> RunFacts:
        """Everything that is known of `run` now."""
        if run.run_id != self._run_id:
            self._run_id, self._records = run.run_id, []
        known = sum(store.count_rounds(run.run_id).values())
        missing = known - len(self._records)
        if missing > 0:
            self._records += store.rounds(run.run_id, last=missing)
        elif missing < 0:
            self._records = store.rounds(run.run_id)
        return RunFacts(run, tuple(self._records), store.told_budgets())
