"""What happened in a run, as tables people read and as stable JSON. Reads records, draws no conclusions."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from coordinator.config import Plan
from coordinator.offers import training_plan
from coordinator.records import Outcome, RoundRecord, Run
from shared.console import table

SCHEMA = 1


def human_bytes(count: int) -> str:
    """A size in powers of 1000 with its unit."""
    value = float(count)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"


def rounds_tables(records: Sequence[RoundRecord]) -> list[Table]:
    """One table per run, oldest first, with one row per attempt."""
    runs = dict.fromkeys(record.run for record in records)
    return [_rounds_table(run, [record for record in records if record.run == run]) for run in runs]


def _rounds_table(run: str, records: Sequence[RoundRecord]) -> Table:
    made = table(
        run, ">round", ">try", "outcome", ">agents", "dropped", ">accuracy", ">s", ">bytes"
    )
    for record in records:
        accuracy = record.metrics.get("accuracy")
        committed = record.outcome is Outcome.COMMITTED
        dropped = (f"{name} ({record.dropped_reasons.get(name, '?')})" for name in record.dropped)
        made.add_row(
            str(record.round),
            str(record.attempt),
            "[green]committed[/]" if committed else f"[red]{record.reason}[/]",
            f"{len(record.survived)}/{len(record.selected)}",
            ", ".join(dropped) or "–",
            "–" if accuracy is None else f"{accuracy:.1%}",
            f"{record.seconds:.1f}",
            human_bytes(record.bytes_up + record.bytes_down),
        )
    return made


def build(run: Run, records: Sequence[RoundRecord], folder: Path) -> dict[str, Any]:
    """The run's report. `epsilon_planned` is what the plan asks for; only agents know what they spent."""
    plan = Plan.model_validate_json(run.plan)
    proposal = training_plan(plan)
    committed = [record for record in records if record.outcome is Outcome.COMMITTED]
    last = committed[-1] if committed else None
    return {
        "schema": SCHEMA,
        "run": run.run_id,
        "state": str(run.state),
        "reason": run.reason,
        "task": f"{plan.task.id} {plan.task.version}",
        "privacy": {
            "unit": "record",
            "epsilon_planned": plan.training.epsilon,
            "delta": plan.training.delta,
            "noise_multiplier": proposal.noise_multiplier,
            "clip_norm": proposal.clip_norm,
            "sample_rate": proposal.sample_rate,
            "steps_per_round": proposal.steps,
            "spare_rounds": plan.rounds.spare,
            "spent": "known to the agents only: agent budget",
        },
        "secure_aggregation": {
            "protocol": "secagg-v1",
            "n_min": plan.secagg.n_min,
            "smallest_sum": min((len(record.survived) for record in committed), default=None),
        },
        "rounds_committed": len(committed),
        "rounds_planned": plan.rounds.count,
        "attempts_aborted": len(records) - len(committed),
        "seconds": round(sum(record.seconds for record in records), 3),
        "bytes_up": sum(record.bytes_up for record in records),
        "bytes_down": sum(record.bytes_down for record in records),
        "metrics": dict(last.metrics) if last else {},
        "model": str(folder / f"round-{last.round:04d}.safetensors") if last else None,
        "model_sha256": last.model_sha256 if last else None,
        "rounds": [record.as_json() for record in records],
    }


def summary_table(report: dict[str, Any]) -> Table:
    made = table(f"Run {report['run']}", "what", "value")
    privacy, metrics = report["privacy"], report["metrics"]
    rows = {
        "state": report["state"] + (f" ({report['reason']})" if report["reason"] else ""),
        "task": report["task"],
        "rounds": f"{report['rounds_committed']} of {report['rounds_planned']} committed, {report['attempts_aborted']} attempts aborted",
        "test accuracy": f"{metrics['accuracy']:.1%}" if "accuracy" in metrics else "not evaluated",
        "macro F1": f"{metrics['macro_f1']:.3f}" if "macro_f1" in metrics else "not evaluated",
        "planned budget": f"ε {privacy['epsilon_planned']:g} at δ {privacy['delta']:g} per agent and record",
        "noise multiplier": f"{privacy['noise_multiplier']:g} (clip norm {privacy['clip_norm']:g}, q {privacy['sample_rate']:g}, {privacy['steps_per_round']} steps a round)",
        "smallest sum": f"{report['secure_aggregation']['smallest_sum'] or 0} agents (never fewer than {report['secure_aggregation']['n_min']})",
        "traffic": f"{human_bytes(report['bytes_up'])} up, {human_bytes(report['bytes_down'])} down",
        "seconds": f"{report['seconds']:.1f}",
        "model": report["model"] or "none yet",
        "model SHA-256": report["model_sha256"] or "–",
    }
    for key, value in rows.items():
        made.add_row(key, value)
    return made
