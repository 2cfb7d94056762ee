"""One run, round by round: select, attempt, apply, evaluate, save, record.

Order of durability: attempt number in the database → offers on the wire → checkpoint on disk →
round record in the database → event in the log. A crash anywhere repeats at most the open round,
as a new attempt with fresh keys.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from coordinator import checkpoint, cohort
from coordinator.aggregation import mean_update
from coordinator.attempt import AttemptRunner, Stopped, Surroundings
from coordinator.config import Plan
from coordinator.offers import Proposal, secagg_params, training_plan
from coordinator.rounds import Abort, Deadlines, RoundMachine
from coordinator.store import RoundRecord, Store
from coordinator.strategies import create
from shared.errors import ProtocolError, RunFailed
from shared.identity import Signer
from shared.messages import Attempt, Tensor
from shared.secagg.server import Result
from shared.tasks.spec import TaskSpec

SETTLE_S = 3.0  # once the minimum is there, how long to wait for the rest of the goal
POLL_S = 0.25


class Evaluate(Protocol):
    def __call__(self, vector: NDArray[np.float32]) -> dict[str, float]:
        """Metrics of a model on the coordinator's held-out data."""


@dataclass(frozen=True)
class Run:
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
        run: Run,
        model: NDArray[np.float32],
        *,
        store: Store,
        signer: Signer,
        around: Surroundings,
        progress: Progress,
    ) -> None:
        self.run = run
        self.model = model
        self._store = store
        self._signer = signer
        self._around = around
        self._progress = progress
        self._training = training_plan(run.plan)
        self._params = secagg_params(run.plan, self._training, model.size)
        self._strategy = create(run.plan.server.strategy, run.plan.server.learning_rate)

    def drive(self, first_round: int) -> None:
        """Complete every round from `first_round` to the plan's last.

        Raises:
            Stopped: the operator asked for it; the run continues at the next start.
            RunFailed: a round aborted as often as the plan allows.
            TransportError: the transport is gone.
        """
        for number in range(first_round, self.run.plan.rounds.count + 1):
            self._complete(number)

    def _complete(self, number: int) -> None:
        allowed = self.run.plan.rounds.attempts
        for failures in range(1, allowed + 1):
            abort = self._attempt(number)
            if abort is None:
                return
            if failures < allowed:
                self._pause(min(2.0**failures, 30.0))
        raise RunFailed(
            f"run {self.run.run_id}: round {number} aborted {allowed} times in a row, last with "
            f"{abort.reason} ({abort.detail}); `coordinator run` with the same plan continues here"
        )

    def _attempt(self, number: int) -> Abort | None:
        """One attempt of one round: None when it was committed."""
        self._stand(number, "select")
        selected = self._select()
        attempt = Attempt(self.run.run_id, number, self._store.open_attempt(self.run.run_id, number))
        proposal = self._propose(attempt)
        machine = self._machine(proposal, selected)
        where = {"round": number, "attempt": attempt.attempt}
        self._around.events.write("round.opened", agents=self._names(selected), **where)
        started = self._around.clock.monotonic()
        self._around.transport.take_traffic()
        runner = AttemptRunner(proposal, machine, self._store.ledger_heads(), self._around)
        outcome = runner.execute()
        record = self._record(proposal, machine, selected, started)
        if isinstance(outcome, Result):
            try:
                self._commit(proposal, outcome, record)
            except ProtocolError as error:
                outcome = Abort(error.code, error.message)
        if isinstance(outcome, Abort):
            self._abort(record, outcome)
            return outcome
        return None

    def _propose(self, attempt: Attempt) -> Proposal:
        return Proposal(
            attempt=attempt,
            task=self.run.task,
            plan=self._training,
            params=self._params,
            roster=self._store.roster(),
            tensors=self.run.tensors,
            model=self.model,
            signer=self._signer,
            deadline_s=self.run.plan.rounds.deadline_s,
        )

    def _machine(self, proposal: Proposal, selected: tuple[bytes, ...]) -> RoundMachine:
        rounds = self.run.plan.rounds
        return RoundMachine(
            setup=proposal.setup,
            selected=selected,
            goal=min(rounds.goal, len(selected)),
            minimum=rounds.minimum,
            deadlines=Deadlines(rounds.deadline_s),
        )

    def _select(self) -> tuple[bytes, ...]:
        """Wait for the minimum, a little longer for the goal, then draw the cohort."""
        rounds, secagg = self.run.plan.rounds, self.run.plan.secagg
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
                return cohort.select(connected, rounds.goal, secagg.n_max)
            if len(connected) != announced:
                announced = len(connected)
                self._around.events.write(
                    "agents.awaited", round=self._progress.round, connected=announced, minimum=rounds.minimum
                )
            self._pause(POLL_S)

    def _connected(self) -> list[bytes]:
        """Members of the signed roster that hold their long poll open now."""
        members = self._store.roster().roster.members
        presence = self._around.transport.presence()
        return [agent for agent in members if agent in presence and presence[agent].connected]

    def _record(
        self, proposal: Proposal, machine: RoundMachine, selected: tuple[bytes, ...], started: float
    ) -> Callable[..., RoundRecord]:
        """Everything of the record that is known when the exchanges are over; the rest is added later."""
        names = self._around.names
        reasons = {names[agent]: reason for agent, reason in machine.dropped.items()}
        up, down = self._around.transport.take_traffic()

        def make(outcome: str, reason: str, survived: tuple[bytes, ...], **more: object) -> RoundRecord:
            return RoundRecord(
                run=self.run.run_id,
                round=proposal.attempt.round,
                attempt=proposal.attempt.attempt,
                outcome=outcome,
                reason=reason,
                selected=self._names(selected),
                survived=self._names(survived),
                dropped=sorted(reasons),
                dropped_reasons=reasons,
                stage_seconds=machine.stage_seconds,
                seconds=round(self._around.clock.monotonic() - started, 3),
                bytes_up=up,
                bytes_down=down,
                **more,  # type: ignore[arg-type] # metrics, hashes and extra of the two callers below
            )

        return make

    def _commit(self, proposal: Proposal, result: Result, record: Callable[..., RoundRecord]) -> None:
        """Apply the mean update; nothing counts before the record is in the database."""
        number = proposal.attempt.round
        self._stand(number, "commit")
        model = self._strategy.apply(self.model, mean_update(result, self._params))
        metrics = self._evaluate(number, model)
        path = self.run.folder / f"round-{number:04d}.safetensors"
        sha256 = checkpoint.save(path, model, self.run.tensors, self._metadata(number, result))
        row = record(
            "committed",
            "",
            result.u3,
            metrics=metrics,
            model_sha256=sha256,
            result_hash=result.result_hash.hex(),
            extra=self._mechanism(proposal),
        )
        self._store.record_round(row)
        self.model = model
        self._around.events.write("round.committed", durable=True, record=row.as_json(), **_where(proposal))

    def _abort(self, record: Callable[..., RoundRecord], abort: Abort) -> None:
        row = record("aborted", abort.reason, (), metrics={}, model_sha256="", result_hash="", extra={"detail": abort.detail})
        self._store.record_round(row)
        self._around.events.write(
            "round.aborted", level="warning", durable=True, reason=abort.reason, record=row.as_json(),
            round=row.round, attempt=row.attempt,
        )  # fmt: skip

    def _evaluate(self, number: int, model: NDArray[np.float32]) -> dict[str, float]:
        every, last = self.run.plan.evaluation.every, self.run.plan.rounds.count
        if self.run.evaluate is None or (number % every and number != last):
            return {}
        return self.run.evaluate(model)

    def _mechanism(self, proposal: Proposal) -> dict[str, object]:
        plan = proposal.plan
        return {
            "noise_multiplier": plan.noise_multiplier,
            "steps": plan.steps,
            "sample_rate": plan.sample_rate,
            "modulus_bits": self._params.bits,
            "context": proposal.context.hex(),
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

    def _names(self, agents: tuple[bytes, ...]) -> list[str]:
        return sorted(self._around.names[agent] for agent in agents)

    def _stand(self, number: int, stage: str) -> None:
        self._progress.round = number
        self._progress.stage = stage

    def _pause(self, seconds: float) -> None:
        self._around.housekeeping()
        if self._around.stop.wait(seconds):
            raise Stopped


def _where(proposal: Proposal) -> dict[str, int]:
    return {"round": proposal.attempt.round, "attempt": proposal.attempt.attempt}
