"""One run, round by round: a sum is collected, the model learns from it, and a failed round is tried again."""

from edgeveil.coordinator.learning import judgement
from edgeveil.coordinator.machine.machine import Abort
from edgeveil.coordinator.rounds.attempt_runner import Stopped, Surroundings
from edgeveil.coordinator.rounds.preflight.question import WholePlan
from edgeveil.coordinator.rounds.preflight.willing import Willing
from edgeveil.coordinator.rounds.round_facts import why_agents_left
from edgeveil.coordinator.rounds.run_memory import RunMemory
from edgeveil.coordinator.rounds.sums import Sums
from edgeveil.coordinator.rounds.training_round import TrainingRounds
from edgeveil.coordinator.runs.learner import Learned
from edgeveil.coordinator.runs.open_run import OpenRun, Progress
from edgeveil.coordinator.store.store import Store
from edgeveil.shared.base.errors import RunFailed
from edgeveil.shared.secagg.agreement.result import Result
from edgeveil.shared.wire.identity import Signer


class Driver:
    def __init__(
        self,
        run: OpenRun,
        learned: Learned,
        *,
        store: Store,
        signer: Signer,
        around: Surroundings,
        progress: Progress,
    ) -> None:
        self.run = run
        self._around = around
        self._progress = progress
        self._memory = memory = RunMemory(run.run_id, run.plan, store.rounds(run.run_id))
        whole = WholePlan.of(run.plan, run.task, learned.model.size, signer)
        self._sums = Sums(
            run.run_id,
            run.plan,
            store=store,
            around=around,
            memory=memory,
            willing=Willing(run.run_id, run.plan, whole, store=store, around=around),
            pause=self._pause,
        )
        self._training = TrainingRounds(
            run, learned, store=store, signer=signer, around=around, memory=memory
        )

    @property
    def learned(self) -> Learned:
        """What the agents are given next, and what the server remembers beside it."""
        return self._training.learned

    def drive(self, first_round: int) -> str:
        """Complete every round from `first_round` to the plan's last; why it ended before, or "".

        Raises:
            Stopped: the operator asked for it; the run continues at the next start.
            RunFailed: too few members would take part, a round aborted as often as the plan allows,
                agents have uploaded in vain more
                often than it has spare rounds, or they hold a newer roster.
            RunLost: agents have been at later rounds than this database knows.
            TransportError: the transport is gone.
        """
        judge = self.run.plan.evaluation
        self._memory.refuse_to_overcharge()
        for number in range(first_round, self.run.plan.rounds.count + 1):
            if judgement.converged(
                self._memory.scores, patience=judge.patience, least_gain=judge.least_gain
            ):
                return f"converged after round {number - 1}"
            self._complete(number)
        return ""

    def attempt(self, number: int) -> Abort | None:
        """One attempt of one round: None when it was committed."""
        self._progress.stand(number, "select")
        summed = self._sums.collect(number, self._training.propose)
        if isinstance(summed.outcome, Result):
            self._progress.stand(number, "commit")
        return self._training.apply(summed)

    def _complete(self, number: int) -> None:
        allowed = self.run.plan.rounds.attempts
        failures = 0
        while (abort := self.attempt(number)) is not None:
            failures += 1
            self._memory.refuse_an_old_database()
            self._memory.refuse_to_overcharge()
            if failures == allowed:
                raise RunFailed(
                    f"round {number} aborted {allowed} times in a row, last with {abort.reason} "
                    f"({abort.detail}){why_agents_left(self._memory.records[-1])}"
                )
            self._pause(min(2.0**failures, 30.0))

    def _pause(self, seconds: float) -> None:
        self._around.housekeeping()
        if self._around.stop.wait(seconds):
            raise Stopped
