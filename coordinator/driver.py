"""One run, round by round: select, attempt, apply, evaluate, save, record.

Order of durability: attempt number in the database → offers on the wire → checkpoint on disk →
round record in the database → event in the log. A crash anywhere repeats at most the open round,
as a new attempt with fresh keys.
"""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from coordinator import cohort, judgement, pacing, run_files
from coordinator.aggregation import mean_update
from coordinator.attempt import AttemptRunner, Stopped, Surroundings
from coordinator.complaints import Complaints
from coordinator.config import Plan
from coordinator.judgement import Scored
from coordinator.learning import Learned, Learner
from coordinator.offers import Proposal, assumed_corrupt, secagg_params, training_plan
from coordinator.records import Evaluation, Outcome, RoundRecord
from coordinator.restored import Restored
from coordinator.rounds import Abort, RoundMachine
from coordinator.shards import ShardedMachine
from coordinator.store import Store
from shared.errors import EnrollmentError, ProtocolError, RefusalCode, RunFailed, RunLost
from shared.event_log import Event, Level
from shared.failpoints import Failpoint, failpoint
from shared.identity import Signer
from shared.installed import installed
from shared.messages import Attempt, Tensor
from shared.roster import SignedRoster
from shared.secagg.server import Result
from shared.secagg.sharding import partition
from shared.tasks.spec import TaskSpec

SETTLE_S = 3.0  # once the minimum is there, how long to wait for the rest of the goal
POLL_S = 0.25
CANARY = "CANARY"  # why a round is undone that the held-out data say did harm
Machine = RoundMachine | ShardedMachine


class Evaluate(Protocol):
    def __call__(self, vector: NDArray[np.float32]) -> Evaluation:
        """How a model does on the coordinator's held-out data."""


@dataclass(frozen=True)
class OpenRun:
    """What stays the same for all rounds of one run."""

    run_id: str
    plan: Plan
    task: TaskSpec
    tensors: tuple[Tensor, ...]
    folder: Path
    evaluate: Evaluate | None


@dataclass
class Progress:
    """Where the driver stands, for `coordinator status`."""

    run: str | None = None
    round: int | None = None
    stage: str = "idle"


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
        self._complaints = Complaints(assumed_corrupt(run.plan))
        self._restored = Restored(assumed_corrupt(run.plan))
        self._records: list[RoundRecord] = []
        self._scores: list[Scored] = []
        for record in store.rounds(run.run_id):
            self._hear(record.extra)
            self._remember(record)

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
                self._scores, patience=judge.patience, least_gain=judge.least_gain
            ):
                return f"converged after round {number - 1}"
            self._complete(number)
        return ""

    def _complete(self, number: int) -> None:
        allowed = self.run.plan.rounds.attempts
        failures = 0
        while (abort := self._attempt(number)) is not None:
            failures += 1
            self._refuse_an_old_database()
            if failures == allowed:
                raise RunFailed(
                    f"round {number} aborted {allowed} times in a row, last with {abort.reason} "
                    f"({abort.detail}){self._reasons(number)}"
                )
            self._pause(min(2.0**failures, 30.0))

    def _refuse_an_old_database(self) -> None:
        """What agents know and this database does not cannot be caught up with by trying again."""
        if lost := self._restored.run_is_lost(self.run.run_id):
            raise RunLost(lost)
        if old := self._restored.roster_is_old():
            raise RunFailed(old)

    def _reasons(self, number: int) -> str:
        """Why agents left the last attempt, and what that means for going on."""
        last = [record for record in self._store.rounds(self.run.run_id) if record.round == number][
            -1
        ]
        counted = Counter(last.dropped_reasons.values())
        if not counted:
            return "; `coordinator run` with the same plan continues here"
        said = ", ".join(f"{count} × {reason}" for reason, count in counted.most_common())
        if any(code in reason for reason in counted for code in ("BUDGET_", "POLICY_")):
            return (
                f"; agents left with: {said}. Their owners' budget or policy does not allow this plan: "
                "it needs more noise or fewer rounds, see `agent budget` on the devices"
            )
        return f"; agents left with: {said}. `coordinator run` with the same plan continues here"

    def _attempt(self, number: int) -> Abort | None:
        """One attempt of one round: None when it was committed."""
        self._stand(number, "select")
        selected = self._select()
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
        common = self._facts(proposal, runner, started)
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

    def _remember(self, record: RoundRecord) -> None:
        self._restored.note(record)
        self._records.append(record)
        self._scores += judgement.scored([record], self.run.plan.evaluation.metric)
        del self._records[: -pacing.KEPT]

    def _propose(self, attempt: Attempt, selected: tuple[bytes, ...]) -> Proposal:
        return Proposal(
            attempt=attempt,
            task=self.run.task,
            plan=self._training,
            params=self._params,
            roster=self._roster(),
            shards=self._shards(attempt, selected),
            tensors=self.run.tensors,
            model=self.model,
            signer=self._signer,
            deadline_s=self.run.plan.rounds.deadline_s,
        )

    def _shards(
        self, attempt: Attempt, selected: tuple[bytes, ...]
    ) -> tuple[tuple[bytes, ...], ...]:
        """Mostly one; which agents share a shard follows from the attempt and their ids alone."""
        plan = self.run.plan
        if len(selected) <= plan.sum_max:
            return (selected,)
        return partition(selected, most=plan.sum_max, least=plan.shard_min, seed=attempt.encode())

    def _machine(self, proposal: Proposal) -> Machine:
        rounds = self.run.plan.rounds
        asked = len(proposal.selected)
        wait_for = pacing.rates(self._records).adverts(rounds.goal, self.run.plan.secagg.quorum)
        goal = min(wait_for, asked)
        alone = len(proposal.shards) == 1
        machines = [
            RoundMachine(
                setup=setup,
                selected=shard,
                goal=math.ceil(goal * len(shard) / asked),
                minimum=rounds.minimum if alone else self._params.n_min,
                deadlines=pacing.deadlines(self._records, rounds.deadline_s, asked),
            )
            for setup, shard in zip(proposal.setups, proposal.shards, strict=True)
        ]
        return machines[0] if alone else ShardedMachine(machines, rounds.minimum)

    def _select(self) -> tuple[bytes, ...]:
        """Wait for the minimum, a little longer for the goal, then draw the cohort."""
        rounds = self.run.plan.rounds
        settled: float | None = None
        announced = -1
        while True:
            connected = self._connected()
            now = self._around.clock.monotonic()
            if len(connected) >= rounds.minimum and settled is None:
                settled = now + SETTLE_S
            if len(connected) < rounds.minimum:
                settled = None
            if len(connected) >= rounds.goal or (settled is not None and now >= settled):
                return self._draw(connected)
            if len(connected) != announced:
                announced = len(connected)
                self._wait_for(announced)
            self._pause(POLL_S)

    def _draw(self, connected: list[bytes]) -> tuple[bytes, ...]:
        """Whoever keeps refusing this plan rests, unless the goal needs everybody."""
        goal = self.run.plan.rounds.goal
        names, resting = self._around.names, pacing.resting(self._records)
        willing = [agent for agent in connected if names[agent] not in resting]
        wanted = pacing.rates(self._records).asked(goal, self.run.plan.secagg.quorum)
        return cohort.select(
            willing if len(willing) >= goal else connected, min(wanted, self.run.plan.cohort_max)
        )

    def _connected(self) -> list[bytes]:
        """Members of the signed roster that hold their long poll open now and are not excluded."""
        signed = self._store.roster()
        members = {} if signed is None else signed.roster.members
        presence = self._around.transport.presence()
        excluded, names = self._complaints.excluded, self._around.names
        return [
            agent
            for agent in members
            if agent in presence and presence[agent].connected and names[agent] not in excluded
        ]

    def _hear(self, extra: Mapping[str, Any]) -> frozenset[str]:
        """Take in what a round record says about suspects; who is excluded because of it."""
        before = self._complaints.excluded
        self._complaints.note((who, whom) for who, whom in extra.get("complaints", ()))
        self._complaints.convict(extra.get("suspects", ()))
        return self._complaints.excluded - before

    def _facts(self, proposal: Proposal, runner: AttemptRunner, started: float) -> RoundRecord:
        """What is known of an attempt once its exchanges are over, whatever came of it."""
        names, machine, attempt = self._around.names, runner.machine, proposal.attempt
        left_at = {names[who]: stage.name.lower() for who, stage in runner.dropped_stages.items()}
        complaints = [[names[who], names[whom]] for who, whom in machine.complaints.items()]
        suspects = sorted(names[agent] for agent in machine.suspects)
        extra: dict[str, Any] = {"complaints": complaints, "suspects": suspects}
        for name in sorted(self._hear(extra)):
            self._emit(Event.AGENT_EXCLUDE, attempt, level="warning", agent=name)
        reasons = {names[agent]: reason for agent, reason in machine.dropped.items()}
        up, down = self._around.transport.take_traffic()
        return RoundRecord(
            run=self.run.run_id,
            round=attempt.round,
            attempt=attempt.attempt,
            outcome=Outcome.ABORTED,
            selected=self._names(proposal.selected),
            dropped=tuple(sorted(reasons)),
            dropped_reasons=reasons,
            stage_seconds=machine.stage_seconds,
            seconds=round(self._around.clock.monotonic() - started, 3),
            bytes_up=up,
            bytes_down=down,
            extra={key: value for key, value in extra.items() if value}
            | {
                "dropped_stages": left_at,
                "answer_seconds": machine.answer_seconds,
                "roster_epoch": proposal.roster.roster.epoch,
                "versions": installed(),
            },
        )

    def _commit(
        self, proposal: Proposal, machine: Machine, result: Result, facts: RoundRecord
    ) -> Abort | None:
        """Apply the mean update; nothing counts before the record is in the database.

        An Abort instead when the held-out data say that the round did harm: the model stays as it was.
        """
        number, folder = proposal.attempt.round, self.run.folder
        self._stand(number, "commit")
        failpoint(Failpoint.COORDINATOR_REVEALED)
        learned = self._learner.next(self.learned, self._means(machine, result), number)
        evaluated = self._evaluate(number, learned.published)
        if (harm := self._harm(evaluated)) is not None:
            return harm
        failpoint(Failpoint.COORDINATOR_CHECKPOINT_BEFORE)
        sha256, state = run_files.save(
            folder, number, learned, self.run.tensors, self._metadata(number, result)
        )
        failpoint(Failpoint.COORDINATOR_CHECKPOINT_AFTER)
        record = replace(
            facts,
            outcome=Outcome.COMMITTED,
            survived=self._names(result.u3),
            metrics=evaluated.metrics,
            model_sha256=sha256,
            result_hash=result.result_hash.hex(),
            extra={
                **facts.extra,
                **self._mechanism(proposal, result),
                **evaluated.matrix(),
                **state,
            },
        )
        failpoint(Failpoint.COORDINATOR_RECORD_BEFORE)
        self._remember(self._store.record_round(record))
        failpoint(Failpoint.COORDINATOR_RECORD_AFTER)
        self.learned = learned
        run_files.link(folder, number, judgement.best(self._scores))
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
        if judge.metric not in evaluated.metrics:
            return None
        value = evaluated.metrics[judge.metric]
        score = judgement.score(judge.metric, value)
        if not judgement.harmful(score, self._scores, tolerance=judge.reject_below):
            return None
        return Abort(
            CANARY,
            f"{judge.metric} {value:.4g} is more than {judge.reject_below:g} worse than the best "
            "round's; the round was undone",
        )

    def _abort(self, attempt: Attempt, abort: Abort, facts: RoundRecord) -> None:
        failpoint(Failpoint.COORDINATOR_ABORT_BEFORE)
        extra = {**facts.extra, "detail": abort.detail}
        self._remember(self._store.record_round(replace(facts, reason=abort.reason, extra=extra)))
        self._emit(Event.ROUND_ABORT, attempt, level="warning", reason=abort.reason, sync=True)

    def _evaluate(self, number: int, model: NDArray[np.float32]) -> Evaluation:
        every, last = self.run.plan.evaluation.every, self.run.plan.rounds.count
        if self.run.evaluate is None or (number % every and number != last):
            return Evaluation()
        return self.run.evaluate(model)

    def _mechanism(self, proposal: Proposal, result: Result) -> dict[str, object]:
        plan = proposal.plan
        liars = {"wrong_shares": self._names(result.liars)} if result.liars else {}
        return liars | {
            "noise_multiplier": plan.noise_multiplier,
            "steps": plan.steps,
            "sample_rate": plan.sample_rate,
            "modulus_bits": self._params.bits,
            "context": proposal.contexts[0].hex(),
            "shards": len(proposal.shards),
        }

    def _metadata(self, number: int, result: Result) -> Mapping[str, str]:
        task = self.run.task
        return {
            "run": self.run.run_id,
            "round": str(number),
            "task": f"{task.id} {task.version}",
            "task_hash": task.task_hash().hex(),
            "result_hash": result.result_hash.hex(),
        }

    def _roster(self) -> SignedRoster:
        signed = self._store.roster()
        if signed is None:
            raise EnrollmentError("no roster has been signed yet; run: coordinator roster sign")
        return signed

    def _names(self, agents: tuple[bytes, ...]) -> tuple[str, ...]:
        return tuple(sorted(self._around.names[agent] for agent in agents))

    def _wait_for(self, connected: int) -> None:
        """For the minimum, or, once that is there, a moment for the goal."""
        rounds = self.run.plan.rounds
        wanted = rounds.minimum if connected < rounds.minimum else rounds.goal
        self._around.events.emit(
            Event.ROUND_WAIT,
            run=self.run.run_id,
            round=self._progress.round or 0,
            reason=f"{connected}-of-{wanted}-agents",
        )

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
