"""One run, round by round: a sum is collected, the model learns from it, and a failed round is tried again."""

from edgeveil.coordinator.learning import judgement
from edgeveil.coordinator.machine.machine import Abort
from edgeveil.coordinator.rounds import pacing
from edgeveil.coordinator.rounds.attempt_runner import Stopped, Surroundings
from edgeveil.coordinator.rounds.evaluating.evaluation_rounds import EvaluationRounds
from edgeveil.coordinator.rounds.preflight.question import WholePlan
from edgeveil.coordinator.rounds.preflight.willing import Willing
from edgeveil.coordinator.rounds.round_facts import why_agents_left
from edgeveil.coordinator.rounds.run_memory import RunMemory
from edgeveil.coordinator.rounds.sums import Sums
from edgeveil.coordinator.rounds.training_round import TrainingRounds
from edgeveil.coordinator.runs import run_files
from edgeveil.coordinator.runs.learner import Learned
from edgeveil.coordinator.runs.open_run import OpenRun, Progress
from edgeveil.coordinator.store.store import Store
from edgeveil.shared.base.errors import RefusalCode, RunClosed, RunFailed, RunRefused
from edgeveil.shared.secagg.agreement.result import Result
from edgeveil.shared.wire.identity import Signer

DIVERGED = frozenset({RefusalCode.MODEL_INVALID, RefusalCode.UPDATE_NON_FINITE})
# Of the codes that last, those that time alone can mend.
PASSING = frozenset({RefusalCode.POLICY_WHEN})
CHANGE = "change the plan or the devices (`coordinator doctor --plan`, `agent doctor`, `agent policy show`)"
REMEDY = {
    RefusalCode.TASK_UNKNOWN: "install the same edgeveil, and of an own task the same file, on both sides; "
    "`agent doctor` compares them",
    RefusalCode.VERSION: "install the same edgeveil on both sides; `agent doctor` compares them",
    RefusalCode.BUDGET_EXHAUSTED: "`agent budget` shows what is left; only an owner can allow more",
    RefusalCode.BUDGET_WOULD_EXCEED: "`agent budget plan --ledger` shows what still fits; lower training.epsilon",
    RefusalCode.POLICY_SIGMA: "lower training.epsilon or rounds.count; `agent budget` shows what is left",
    RefusalCode.POLICY_DP: 'plan with training.privacy = "dp"; a device trains without noise by its owner\'s word alone',
    RefusalCode.POLICY_NOISE: 'plan with privacy.noise = "local"; a device adds a share of the noise by its owner\'s word alone',
    RefusalCode.POLICY_METRICS: 'leave out evaluation.on = "devices"; a device takes part in one once its owner holds '
    "records out for it (`agent policy set evaluation_share=0.2`)",
    RefusalCode.POLICY_TASK: "task.options name other labels or another shape than the devices' [data]: "
    "`agent policy show`, `coordinator plan new`",
    RefusalCode.POLICY_SIZE: "widen secagg.n_ref_min and n_ref_max; `coordinator agents` shows what devices declare",
}  # fmt: skip


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
        self._evaluations: EvaluationRounds | None = None
        if run.plan.evaluation.on_devices:
            self._evaluations = EvaluationRounds(
                run,
                store=store,
                signer=signer,
                around=around,
                memory=memory,
                pause=self._pause,
            )

    @property
    def learned(self) -> Learned:
        """What the agents are given next, and what the server remembers beside it."""
        return self._training.learned

    def drive(self, first_round: int) -> str:
        """Complete every round from `first_round` to the plan's last; why it ended before, or "".

        Raises:
            Stopped: the operator asked for it; the run continues at the next start.
            RunFailed: a round aborted as often as the plan allows.
            RunRefused: so, for a reason that does not pass by itself, or too few members would take part.
            RunClosed: the model has diverged, or agents have uploaded in vain more often than the plan has
                spare rounds.
            RunBehind: agents hold a newer roster.
            RunLost: agents have been at later rounds than this database knows.
            TransportError: the transport is gone.
        """
        judge = self.run.plan.evaluation
        self._memory.refuse_to_overcharge()
        self._evaluate_what_was_left(first_round - 1)
        for number in range(first_round, self.run.plan.rounds.count + 1):
            if judgement.converged(
                self._memory.scores, patience=judge.patience, least_gain=judge.least_gain
            ):
                return f"converged after round {number - 1}"
            self._complete(number)
            self._evaluate(number)
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
            why = f"{abort.reason} ({abort.detail}){why_agents_left(self._memory.records[-1])}"
            if abort.reason in DIVERGED:
                raise RunClosed(_diverged(number, why))
            self._memory.refuse_to_overcharge()
            if failures == allowed:
                said = f"round {number} aborted {allowed} times in a row, last with {why}"
                if abort.reason in pacing.LASTING - PASSING:
                    raise RunRefused(f"{said}: {REMEDY.get(RefusalCode(abort.reason), CHANGE)}")
                raise RunFailed(said)
            self._pause(min(2.0**failures, 30.0))

    def _evaluate_what_was_left(self, number: int) -> None:
        """The round before, if the process ended between its commit and its evaluation."""
        if number and self._evaluations is not None and not self._evaluations.begun(number):
            self._evaluate(number)

    def _evaluate(self, number: int) -> None:
        """On devices, where the plan says so; afterwards another round may be the best."""
        if self._evaluations is None:
            return
        self._progress.stand(number, "evaluate")
        self._evaluations.after(number, self.learned.published)
        run_files.link(self.run.folder, number, judgement.best(self._memory.scores))

    def _pause(self, seconds: float) -> None:
        self._around.housekeeping()
        self._progress.kept_out = self._sums.kept_out
        if self._around.stop.wait(seconds):
            raise Stopped


def _diverged(number: int, why: str) -> str:
    """Another attempt would charge every device the full price for the same end."""
    return (
        f"round {number} came to no usable model, with {why}: training diverges, so it is not tried again. "
        "Lower training.learning_rate (or server.learning_rate), training.clip_norm or training.steps, or "
        "set training.proximal, and start the changed plan with `coordinator run PLAN`"
    )
