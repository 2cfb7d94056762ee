"""A training round as a user of secure sums: propose the model, apply the mean update, save, record.

Order of durability: sum revealed → checkpoint on disk → round record in the database → event in the log.
"""

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edgeveil.coordinator.learning import judgement
from edgeveil.coordinator.learning.aggregation import mean_update
from edgeveil.coordinator.machine.machine import Abort
from edgeveil.coordinator.plan.derived import secagg_params, training_plan
from edgeveil.coordinator.plan.evaluation import judged_by
from edgeveil.coordinator.records.records import Evaluation, Outcome, RoundRecord
from edgeveil.coordinator.rounds import round_facts
from edgeveil.coordinator.rounds.attempt_runner import Surroundings
from edgeveil.coordinator.rounds.proposal import Proposal
from edgeveil.coordinator.rounds.run_memory import RunMemory
from edgeveil.coordinator.rounds.sums import Summed
from edgeveil.coordinator.runs import galleries, run_files
from edgeveil.coordinator.runs.learner import Learned, Learner
from edgeveil.coordinator.runs.open_run import OpenRun
from edgeveil.coordinator.store.store import Store
from edgeveil.shared.base.errors import ProtocolError, RefusalCode
from edgeveil.shared.base.failpoints import Failpoint, failpoint
from edgeveil.shared.events.log import Event
from edgeveil.shared.secagg.agreement.result import Result
from edgeveil.shared.wire.identity import Signer
from edgeveil.shared.wire.messages import Attempt
from edgeveil.shared.wire.roster import SignedRoster

CANARY = "CANARY"  # why a round is undone that the held-out data say did harm


class TrainingRounds:
    """What a run has learned, and how it learns more from each sum."""

    def __init__(
        self,
        run: OpenRun,
        learned: Learned,
        *,
        store: Store,
        signer: Signer,
        around: Surroundings,
        memory: RunMemory,
    ) -> None:
        self.learned = learned
        self._run = run
        self._store = store
        self._signer = signer
        self._around = around
        self._memory = memory
        self._plan = training_plan(run.plan)
        self._params = secagg_params(run.plan, self._plan, learned.model.size)
        self._learner = Learner(run.plan)

    def propose(
        self, attempt: Attempt, roster: SignedRoster, shards: tuple[tuple[bytes, ...], ...]
    ) -> Proposal:
        """The present model, to be trained by everybody in `shards`."""
        return Proposal(
            attempt=attempt,
            task=self._run.task,
            plan=self._plan,
            params=self._params,
            roster=roster,
            shards=shards,
            tensors=self._run.tensors,
            model=self.learned.model,
            signer=self._signer,
            deadline_s=self._run.plan.rounds.deadline_s,
            variate=self.learned.variate if self._plan.control_variates else None,
            frozen=self._run.frozen,
        )

    def apply(self, summed: Summed) -> Abort | None:
        """Learn from a sum and record it; why the attempt counts for nothing, or None."""
        outcome = summed.outcome
        if isinstance(outcome, Result):
            try:
                harm = self._commit(summed, outcome)
            except ProtocolError as error:
                harm = Abort(error.code, error.message)
            if harm is None:
                return None
            outcome = harm
        self._abort(summed, outcome)
        return outcome

    def _commit(self, summed: Summed, result: Result) -> Abort | None:
        """Apply the mean update; nothing counts before the record is in the database.

        An Abort instead when the held-out data say that the round did harm: the model stays as it was.
        """
        attempt, folder = summed.proposal.attempt, self._run.folder
        number = attempt.round
        failpoint(Failpoint.COORDINATOR_REVEALED)
        learned = self._learner.next(self.learned, self._means(summed, result), number)
        evaluated = self._evaluate(number, learned.published)
        if (harm := self._harm(evaluated)) is not None:
            return harm
        failpoint(Failpoint.COORDINATOR_CHECKPOINT_BEFORE)
        facts = round_facts.of_checkpoint(self._run, number, result)
        saved = run_files.save(
            folder, number, learned, self._run.tensors, facts, frozen=self._run.frozen
        )
        failpoint(Failpoint.COORDINATOR_CHECKPOINT_AFTER)
        record = self._record(summed, result, evaluated, *saved)
        failpoint(Failpoint.COORDINATOR_RECORD_BEFORE)
        self._memory.remember(self._store.record_round(record))
        failpoint(Failpoint.COORDINATOR_RECORD_AFTER)
        self.learned = learned
        galleries.keep(folder, "after", number, evaluated.pictures)
        run_files.link(folder, number, judgement.best(self._memory.scores))
        run_files.drop_old_states(folder, number)
        took = round(summed.facts.seconds * 1000)
        self._around.tell(Event.ROUND_COMMIT, attempt, dur_ms=took, sync=True)
        return None

    def _record(
        self,
        summed: Summed,
        result: Result,
        evaluated: Evaluation,
        sha256: str,
        state: dict[str, str],
    ) -> RoundRecord:
        facts, names = summed.facts, self._around.names
        return replace(
            facts,
            outcome=Outcome.COMMITTED,
            survived=round_facts.named(names, result.u3),
            metrics=evaluated.metrics,
            model_sha256=sha256,
            result_hash=result.result_hash.hex(),
            extra={
                **facts.extra,
                **round_facts.of_mechanism(summed.proposal, result, names),
                "task_hash": self._run.task.task_hash().hex(),
                **evaluated.kept,
                **state,
            },
        )

    def _means(self, summed: Summed, result: Result) -> list[NDArray[np.float64]]:
        """One mean over everybody, or one per shard where the plan wants them compared."""
        results = [result] if self._run.plan.server.robust == "none" else summed.shards
        return [mean_update(each, self._params) for each in results]

    def _evaluate(self, number: int, model: NDArray[np.float32]) -> Evaluation:
        due = self._run.plan.evaluation.due(number, self._run.plan.rounds.count)
        if self._run.evaluate is None or not due:
            return Evaluation()
        return self._run.evaluate(model)

    def _harm(self, evaluated: Evaluation) -> Abort | None:
        judge = self._run.plan.evaluation
        if not all(math.isfinite(value) for value in evaluated.metrics.values()):
            return Abort(RefusalCode.MODEL_INVALID, "the held-out loss of this round is not finite")
        said = judgement.harm(
            evaluated.metrics,
            self._memory.scores,
            metric=judged_by(self._run.plan),
            tolerance=judge.reject_below,
        )
        return Abort(CANARY, said) if said else None

    def _abort(self, summed: Summed, abort: Abort) -> None:
        failpoint(Failpoint.COORDINATOR_ABORT_BEFORE)
        facts = summed.facts
        extra = {**facts.extra, "detail": abort.detail}
        self._memory.remember(
            self._store.record_round(replace(facts, reason=abort.reason, extra=extra))
        )
        attempt = summed.proposal.attempt
        self._around.tell(
            Event.ROUND_ABORT, attempt, level="warning", reason=abort.reason, sync=True
        )
