"""An evaluation as a user of secure sums: after a round is committed, the same devices count how its model does.

It is a further attempt of that round, with keys and masks of its own. Whatever goes wrong leaves the round and the
run as they are: a figure is missing then. Nobody is asked twice after anything was uploaded for it.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edgeveil.coordinator.machine.machine import Abort
from edgeveil.coordinator.records.records import EVALUATION, Outcome, RoundRecord
from edgeveil.coordinator.rounds import round_facts
from edgeveil.coordinator.rounds.attempt_runner import Surroundings
from edgeveil.coordinator.rounds.evaluating.counts import Counting
from edgeveil.coordinator.rounds.preflight.question import WholePlan
from edgeveil.coordinator.rounds.preflight.willing import Willing
from edgeveil.coordinator.rounds.proposal import Proposal
from edgeveil.coordinator.rounds.run_memory import RunMemory
from edgeveil.coordinator.rounds.sums import Summed, Sums
from edgeveil.coordinator.runs.open_run import OpenRun
from edgeveil.coordinator.store.store import Store
from edgeveil.shared.base.errors import RunRefused
from edgeveil.shared.events.log import Event
from edgeveil.shared.secagg.agreement.result import Result
from edgeveil.shared.wire.identity import Signer
from edgeveil.shared.wire.messages import Attempt
from edgeveil.shared.wire.roster import SignedRoster

# Why an evaluation did not take place: too few devices came, or too few of all would ever take part.
TOO_FEW, REFUSED = "TOO_FEW_TO_EVALUATE", "EVALUATION_REFUSED"


class _TooFew(Exception):
    """Not enough agents came while an evaluation waited for them."""


class EvaluationRounds:
    """Of one run. `pause(seconds)` lets time pass and raises what ends the run."""

    def __init__(
        self,
        run: OpenRun,
        *,
        store: Store,
        signer: Signer,
        around: Surroundings,
        memory: RunMemory,
        pause: Callable[[float], None],
    ) -> None:
        self._run = run
        self._store = store
        self._signer = signer
        self._around = around
        self._memory = memory
        self._pause = pause
        self._until = 0.0
        self._model: NDArray[np.float32] = np.zeros(0, np.float32)
        self._counting = counting = Counting.of(run.plan, run.task)
        self._refused = False  # for good: too few of the members would take part
        whole = WholePlan(run.task, counting.asked, counting.params, signer)
        first = run.plan.evaluation.step(run.plan.rounds.count)
        self._sums = Sums(
            run.run_id,
            run.plan,
            store=store,
            around=around,
            memory=memory,
            willing=Willing(run.run_id, run.plan, whole, store=store, around=around, first=first),
            pause=self._wait,
            asks=EVALUATION,
        )

    def after(self, number: int, model: NDArray[np.float32]) -> None:
        """Evaluate the committed model of round `number`, (d,), if that is due.

        Raises:
            Stopped, TransportError, RunLost, RunBehind, EnrollmentError: as a training round.
        """
        if self._refused or not self._run.plan.evaluation.due(number, self._run.plan.rounds.count):
            return
        self._model = model
        for _ in range(self._run.plan.rounds.attempts):
            self._until = self._around.clock.monotonic() + self._run.plan.rounds.deadline_s
            try:
                summed = self._sums.collect(number, self._propose)
            except RunRefused:  # each device's reason is in the event log
                self._refused = True
                self._tell(number, REFUSED)
                return
            except _TooFew:
                self._tell(number, TOO_FEW)
                return
            if not self._again(summed):
                return

    def begun(self, number: int) -> bool:
        """Whether an evaluation of the committed round `number` was ever asked for; a crash may have come before."""
        committed = self._store.last_committed(self._run.run_id)
        if committed is None or committed.round != number:
            return True
        return self._store.last_attempt(self._run.run_id, number) > committed.attempt

    def _propose(
        self, attempt: Attempt, roster: SignedRoster, shards: tuple[tuple[bytes, ...], ...]
    ) -> Proposal:
        counting = self._counting
        return Proposal(
            attempt=attempt,
            task=self._run.task,
            plan=counting.asked,
            params=counting.params,
            roster=roster,
            shards=shards,
            tensors=self._run.tensors,
            model=self._model,
            signer=self._signer,
            deadline_s=self._run.plan.rounds.deadline_s,
            frozen=self._run.frozen,
        )

    def _again(self, summed: Summed) -> bool:
        """Record how an attempt ended; whether it may be tried again, since nothing was uploaded."""
        facts, attempt = summed.facts, summed.proposal.attempt
        if isinstance(summed.outcome, Abort):
            extra = {
                **facts.extra,
                "detail": summed.outcome.detail,
                EVALUATION: self._counting.told,
            }
            record = replace(facts, reason=summed.outcome.reason, extra=extra)
            self._store.record_round(record)
            self._around.tell(
                Event.ROUND_ABORT, attempt, level="warning", reason=record.reason, sync=True
            )
            return not record.paid_in_vain
        record = self._store.record_evaluation(self._evaluated(summed, summed.outcome))
        self._memory.evaluated(record)
        took = round(facts.seconds * 1000)
        self._around.tell(Event.ROUND_EVALUATE, attempt, dur_ms=took, sync=True)
        return False

    def _evaluated(self, summed: Summed, result: Result) -> RoundRecord:
        facts, names = summed.facts, self._around.names
        counted = self._counting.read(result)
        return replace(
            facts,
            outcome=Outcome.EVALUATED,
            survived=round_facts.named(names, result.u3),
            metrics=counted.metrics,
            result_hash=result.result_hash.hex(),
            extra={
                **facts.extra,
                **round_facts.of_mechanism(summed.proposal, result, names),
                EVALUATION: counted.kept,
            },
        )

    def _wait(self, seconds: float) -> None:
        """A run does not wait for its evaluations as long as it does for its rounds."""
        if self._around.clock.monotonic() > self._until:
            raise _TooFew
        self._pause(seconds)

    def _tell(self, number: int, why: str) -> None:
        self._around.events.emit(
            Event.ROUND_EVALUATE, level="warning", run=self._run.run_id, round=number, reason=why
        )
