"""One run, round by round: select, attempt, apply, evaluate, save, record.

Order of durability: attempt number in the database → offers on the wire → checkpoint on disk →
round record in the database → event in the log. A crash anywhere repeats at most the open round,
as a new attempt with fresh keys.
"""

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edgeveil.coordinator.learning import judgement
from edgeveil.coordinator.learning.aggregation import mean_update
from edgeveil.coordinator.machine.attempt import Abort
from edgeveil.coordinator.machine.shards import ShardedMachine
from edgeveil.coordinator.plan.derived import secagg_params, training_plan
from edgeveil.coordinator.plan.measured import judged_by
from edgeveil.coordinator.records.records import Evaluation, Outcome, RoundRecord
from edgeveil.coordinator.rounds import round_facts
from edgeveil.coordinator.rounds.attempt_runner import AttemptRunner, Stopped, Surroundings
from edgeveil.coordinator.rounds.opening import Machine, machine_for, shards_of
from edgeveil.coordinator.rounds.proposal import Proposal
from edgeveil.coordinator.rounds.round_facts import why_agents_left
from edgeveil.coordinator.rounds.run_memory import RunMemory
from edgeveil.coordinator.rounds.selection import Selection
from edgeveil.coordinator.runs import run_files
from edgeveil.coordinator.runs.learner import Learned, Learner
from edgeveil.coordinator.runs.open_run import OpenRun, Progress
from edgeveil.coordinator.store.store import Store
from edgeveil.shared.base.errors import EnrollmentError, ProtocolError, RefusalCode, RunFailed
from edgeveil.shared.base.failpoints import Failpoint, failpoint
from edgeveil.shared.events.log import Event, Level
from edgeveil.shared.secagg.server.stages import Result
from edgeveil.shared.wire.identity import Signer
from edgeveil.shared.wire.messages import Attempt
from edgeveil.shared.wire.roster import SignedRoster

CANARY = "CANARY"  # why a round is undone that the held-out data say did harm


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
        self.learned = learned
        self._store = store
        self._signer = signer
        self._around = around
        self._progress = progress
        self._training = training_plan(run.plan)
        self._params = secagg_params(run.plan, self._training, learned.model.size)
        self._learner = Learner(run.plan)
        self._memory = RunMemory(run.run_id, run.plan, store.rounds(run.run_id))
        self._selection = Selection(
            run.run_id,
            run.plan,
            store=store,
            around=around,
            memory=self._memory,
            pause=self._pause,
        )

    @property
    def model(self) -> NDArray[np.float32]:
        """What the agents are given next, float32 (d,)."""
        return self.learned.model

    def drive(self, first_round: int) -> str:
        """Complete every round from `first_round` to the plan's last; why it ended before, or "".

        Raises:
            Stopped: the operator asked for it; the run continues at the next start.
            RunFailed: a round aborted as often as the plan allows, or agents hold a newer roster.
            RunLost: agents have been at later rounds than this database knows.
            TransportError: the transport is gone.
        """
        judge = self.run.plan.evaluation
        for number in range(first_round, self.run.plan.rounds.count + 1):
            if judgement.converged(
                self._memory.scores, patience=judge.patience, least_gain=judge.least_gain
            ):
                return f"converged after round {number - 1}"
            self._complete(number)
        return ""

    def _complete(self, number: int) -> None:
        allowed = self.run.plan.rounds.attempts
        failures = 0
        while (abort := self._attempt(number)) is not None:
            failures += 1
            self._memory.refuse_an_old_database()
            if failures == allowed:
                raise RunFailed(
                    f"round {number} aborted {allowed} times in a row, last with {abort.reason} "
                    f"({abort.detail}){why_agents_left(self._memory.records[-1])}"
                )
            self._pause(min(2.0**failures, 30.0))

    def _attempt(self, number: int) -> Abort | None:
        """One attempt of one round: None when it was committed."""
        self._stand(number, "select")
        selected = self._selection.select(number)
        failpoint(Failpoint.COORDINATOR_ATTEMPT_BEFORE)
        attempt = Attempt(
            self.run.run_id, number, self._store.open_attempt(self.run.run_id, number)
        )
        failpoint(Failpoint.COORDINATOR_ATTEMPT_AFTER)
        proposal = self._propose(attempt, selected)
        machine = self._machine(proposal)
        self._emit(Event.ROUND_START, attempt)
        for agent in selected:
            self._emit(Event.AGENT_SELECT, attempt, agent=self._around.names[agent])
        started = self._around.clock.monotonic()
        self._around.transport.take_traffic()
        heads = {agent: self._store.ledger_head(agent) for agent in selected}
        runner = AttemptRunner(proposal, machine, heads, self._around)
        outcome = runner.execute()
        common = self._facts(runner, started)
        if isinstance(outcome, Result):
            try:
                harm = self._commit(proposal, machine, outcome, common)
            except ProtocolError as error:
                harm = Abort(error.code, error.message)
            if harm is None:
                return None
            outcome = harm
        self._abort(attempt, outcome, common)
        return outcome

    def _propose(self, attempt: Attempt, selected: tuple[bytes, ...]) -> Proposal:
        return Proposal(
            attempt=attempt,
            task=self.run.task,
            plan=self._training,
            params=self._params,
            roster=self._roster(),
            shards=shards_of(attempt, selected, self.run.plan),
            tensors=self.run.tensors,
            model=self.model,
            signer=self._signer,
            deadline_s=self.run.plan.rounds.deadline_s,
            variate=self.learned.variate if self._training.control_variates else None,
        )

    def _machine(self, proposal: Proposal) -> Machine:
        return machine_for(proposal, self.run.plan, self._memory.records)

    def _facts(self, runner: AttemptRunner, started: float) -> RoundRecord:
        """What is known of an attempt once its exchanges are over; suspects are excluded from now on."""
        names, proposal = self._around.names, runner.proposal
        accused = round_facts.accusations(runner, names)
        for name in sorted(self._memory.hear(accused)):
            self._emit(Event.AGENT_EXCLUDE, proposal.attempt, level="warning", agent=name)
        return round_facts.of_attempt(
            runner,
            names,
            seconds=self._around.clock.monotonic() - started,
            traffic=self._around.transport.take_traffic(),
            accused=accused,
            not_asked=self._selection.not_asked,
        )

    def _commit(
        self, proposal: Proposal, machine: Machine, result: Result, facts: RoundRecord
    ) -> Abort | None:
        """Apply the mean update; nothing counts before the record is in the database.

        An Abort instead when the held-out data say that the round did harm: the model stays as it was.
        """
        number, folder, names = proposal.attempt.round, self.run.folder, self._around.names
        self._stand(number, "commit")
        failpoint(Failpoint.COORDINATOR_REVEALED)
        learned = self._learner.next(self.learned, self._means(machine, result), number)
        evaluated = self._evaluate(number, learned.published)
        if (harm := self._harm(evaluated)) is not None:
            return harm
        failpoint(Failpoint.COORDINATOR_CHECKPOINT_BEFORE)
        sha256, state = run_files.save(
            folder,
            number,
            learned,
            self.run.tensors,
            round_facts.of_checkpoint(self.run, number, result),
        )
        failpoint(Failpoint.COORDINATOR_CHECKPOINT_AFTER)
        record = replace(
            facts,
            outcome=Outcome.COMMITTED,
            survived=round_facts.named(names, result.u3),
            metrics=evaluated.metrics,
            model_sha256=sha256,
            result_hash=result.result_hash.hex(),
            extra={
                **facts.extra,
                **round_facts.of_mechanism(proposal, result, names),
                "task_hash": self.run.task.task_hash().hex(),
                **evaluated.kept,
                **state,
            },
        )
        failpoint(Failpoint.COORDINATOR_RECORD_BEFORE)
        self._memory.remember(self._store.record_round(record))
        failpoint(Failpoint.COORDINATOR_RECORD_AFTER)
        self.learned = learned
        run_files.link(folder, number, judgement.best(self._memory.scores))
        run_files.drop_old_states(folder, number)
        self._emit(
            Event.ROUND_COMMIT, proposal.attempt, dur_ms=round(facts.seconds * 1000), sync=True
        )
        return None

    def _means(self, machine: Machine, result: Result) -> list[NDArray[np.float64]]:
        """One mean over everybody, or one per shard where the plan wants them compared."""
        results = [result]
        if self.run.plan.server.robust != "none" and isinstance(machine, ShardedMachine):
            results = list(machine.results)
        return [mean_update(each, self._params) for each in results]

    def _harm(self, evaluated: Evaluation) -> Abort | None:
        judge = self.run.plan.evaluation
        if not all(math.isfinite(value) for value in evaluated.metrics.values()):
            return Abort(RefusalCode.MODEL_INVALID, "the held-out loss of this round is not finite")
        said = judgement.harm(
            evaluated.metrics,
            self._memory.scores,
            metric=judged_by(self.run.plan),
            tolerance=judge.reject_below,
        )
        return Abort(CANARY, said) if said else None

    def _abort(self, attempt: Attempt, abort: Abort, facts: RoundRecord) -> None:
        failpoint(Failpoint.COORDINATOR_ABORT_BEFORE)
        extra = {**facts.extra, "detail": abort.detail}
        self._memory.remember(
            self._store.record_round(replace(facts, reason=abort.reason, extra=extra))
        )
        self._emit(Event.ROUND_ABORT, attempt, level="warning", reason=abort.reason, sync=True)

    def _evaluate(self, number: int, model: NDArray[np.float32]) -> Evaluation:
        every, last = self.run.plan.evaluation.every, self.run.plan.rounds.count
        if self.run.evaluate is None or (number % every and number != last):
            return Evaluation()
        return self.run.evaluate(model)

    def _roster(self) -> SignedRoster:
        signed = self._store.roster()
        if signed is None:
            raise EnrollmentError("no roster has been signed yet; run: coordinator roster sign")
        return signed

    def _emit(
        self,
        event: Event,
        attempt: Attempt,
        *,
        level: Level = "info",
        agent: str = "",
        reason: str = "",
        dur_ms: int | None = None,
        sync: bool = False,
    ) -> None:
        self._around.events.emit(
            event,
            level=level,
            run=attempt.run_id,
            round=attempt.round,
            attempt=attempt.attempt,
            agent=agent,
            reason=reason,
            dur_ms=dur_ms,
            sync=sync,
        )

    def _stand(self, number: int, stage: str) -> None:
        self._progress.round = number
        self._progress.stage = stage

    def _pause(self, seconds: float) -> None:
        self._around.housekeeping()
        if self._around.stop.wait(seconds):
            raise Stopped
