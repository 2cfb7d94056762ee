"""What a round record says beside its outcome: participation, timing, mechanism, and why it failed."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from edgeveil.coordinator.records.records import Outcome, RoundRecord
from edgeveil.coordinator.rounds.attempt_runner import AttemptRunner
from edgeveil.coordinator.rounds.proposal import Proposal
from edgeveil.coordinator.runs.initial import MARK, metadata_of
from edgeveil.coordinator.runs.open_run import OpenRun
from edgeveil.shared.base.errors import RefusalCode
from edgeveil.shared.base.installed import installed
from edgeveil.shared.secagg.agreement.result import Result

Names = Mapping[bytes, str]


def named(names: Names, agents: Iterable[bytes]) -> tuple[str, ...]:
    return tuple(sorted(names[agent] for agent in agents))


def accusations(runner: AttemptRunner, names: Names) -> dict[str, Any]:
    """The part of a record's `extra` that coordinator.rounds.run_memory hears."""
    machine = runner.machine
    complaints = [[names[who], names[whom]] for who, whom in machine.complaints.items()]
    suspects = sorted(names[agent] for agent in machine.suspects)
    return {"complaints": complaints, "suspects": suspects}


def of_attempt(
    runner: AttemptRunner,
    names: Names,
    *,
    seconds: float,
    traffic: tuple[int, int],
    accused: Mapping[str, Any],
    not_asked: Mapping[str, str],
) -> RoundRecord:
    """What is known of an attempt once its exchanges are over, whatever came of it."""
    machine, proposal = runner.machine, runner.proposal
    attempt = proposal.attempt
    left_at = {names[who]: stage.name.lower() for who, stage in runner.dropped_stages.items()}
    reasons = {names[agent]: reason for agent, reason in machine.dropped.items()}
    return RoundRecord(
        run=attempt.run_id,
        round=attempt.round,
        attempt=attempt.attempt,
        outcome=Outcome.ABORTED,
        selected=named(names, proposal.selected),
        dropped=tuple(sorted(reasons)),
        dropped_reasons=reasons,
        stage_seconds=machine.stage_seconds,
        seconds=round(seconds, 3),
        bytes_up=traffic[0],
        bytes_down=traffic[1],
        extra={
            key: value for key, value in {**accused, "not_asked": dict(not_asked)}.items() if value
        }
        | {
            "dropped_stages": left_at,
            "answer_seconds": machine.answer_seconds,
            "roster_epoch": proposal.roster.roster.epoch,
            "versions": installed(),
        },
    )


def of_mechanism(proposal: Proposal, result: Result, names: Names) -> dict[str, object]:
    """What privacy and secure aggregation ran with, of a round that came to a sum."""
    plan = proposal.plan
    told: dict[str, object] = {}
    if result.liars:
        told["wrong_shares"] = named(names, result.liars)
    if proposal.params.weight_max > 1:
        told["sizes"] = {names[agent]: weight for agent, weight in result.weights.items()}
    return told | {
        "noise_multiplier": plan.noise_multiplier,
        "steps": plan.steps,
        "sample_rate": plan.sample_rate,
        "modulus_bits": proposal.params.bits,
        "context": proposal.contexts[0].hex(),
        "shards": len(proposal.shards),
    }


def of_checkpoint(run: OpenRun, number: int, result: Result) -> Mapping[str, str]:
    """The metadata inside a checkpoint file."""
    task = run.task
    return {
        "run": run.run_id,
        "round": str(number),
        "task": f"{task.id} {task.version}",
        "task_hash": task.task_hash().hex(),
        "result_hash": result.result_hash.hex(),
        **metadata_of(run.initial),
        **({} if run.plan.training.noised else MARK),
    }


def why_agents_left(record: RoundRecord) -> str:
    """The end of the sentence for a round that failed: the drop reasons, and what they mean."""
    counted = Counter(record.dropped_reasons.values())
    if not counted:
        return "; `coordinator run` with the same plan continues here"
    said = ", ".join(f"{count} × {reason}" for reason, count in counted.most_common())
    lasting = [reason for reason in counted if RefusalCode.POLICY_WHEN not in reason]
    if any(code in reason for reason in lasting for code in ("BUDGET_", "POLICY_")):
        return (
            f"; agents left with: {said}. Their owners' budget or policy does not allow this plan: "
            "it needs more noise or fewer rounds, see `agent budget` on the devices"
        )
    return f"; agents left with: {said}. `coordinator run` with the same plan continues here"
