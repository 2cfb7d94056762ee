"""The report of a run as stable JSON; `report.json` and `coordinator report --json`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgeveil.coordinator.plan.plan import Plan
from edgeveil.coordinator.records.records import RoundRecord, Run, Totals
from edgeveil.coordinator.reports.facts import RunFacts, initial_model
from edgeveil.shared.wire.plan import TrainingPlan

SCHEMA = 1


def build(
    run: Run, records: Sequence[RoundRecord], folder: Path, totals: Totals | None = None
) -> dict[str, Any]:
    """The run's report. `epsilon_planned` is what the plan asks for; only agents know what they spent.

    `totals`: needed when `records` are only the newest ones.
    """
    found = RunFacts(run, records)
    plan, proposal, committed = found.plan, found.proposal, found.committed
    last = committed[-1] if committed else None
    totals = totals or Totals.of(records)
    return {
        "schema": SCHEMA,
        "run": run.run_id,
        **({"simulated": True} if run.simulated else {}),
        "state": str(run.state),
        "reason": run.reason,
        "task": f"{plan.task.id} {plan.task.version}",
        "privacy": {
            "unit": proposal.unit,
            "limited": found.limited,
            "epsilon_planned": plan.training.epsilon,
            **_shares(plan, proposal),
            "delta": plan.training.delta,
            "noise_multiplier": proposal.noise_multiplier,
            "clip_norm": proposal.clip_norm,
            "sample_rate": proposal.sample_rate,
            "steps_per_round": proposal.steps,
            "spare_rounds": plan.rounds.spare,
            "spent": "in the agents' own ledgers: agent budget, coordinator privacy",
        },
        "secure_aggregation": {
            "protocol": "secagg-v1",
            "n_min": plan.secagg.n_min,
            "smallest_sum": totals.smallest,
        },
        "initial_model": initial_model(found),
        "rounds_committed": totals.committed,
        "rounds_planned": plan.rounds.count,
        "attempts_aborted": totals.aborted,
        "seconds": round(totals.seconds, 3),
        "bytes_up": totals.bytes_up,
        "bytes_down": totals.bytes_down,
        "metrics": dict(last.metrics) if last else {},
        **found.summary,
        "model": str(folder / f"round-{last.round:04d}.safetensors") if last else None,
        "model_sha256": last.model_sha256 if last else None,
        "rounds": [record.as_json() for record in records],
    }


def _shares(plan: Plan, proposal: TrainingPlan) -> dict[str, Any]:
    """The second limit, where each agent adds a share of the noise only."""
    if not proposal.shared_noise:
        return {}
    return {
        "noise": "shared",
        "honest": proposal.honest,
        "epsilon_sum_planned": plan.privacy.epsilon_sum,
    }
