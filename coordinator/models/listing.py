"""What models a home holds, one line a run. No torch."""

from pathlib import Path
from typing import Any

from edgeveil.coordinator.models import exported
from edgeveil.coordinator.models.choice import best, last, weights_path
from edgeveil.coordinator.plan.config import load_config
from edgeveil.coordinator.plan.evaluation import judged_by
from edgeveil.coordinator.records.records import RoundRecord
from edgeveil.coordinator.reports.facts import RunFacts
from edgeveil.coordinator.store.store import Store
from edgeveil.shared.privacy.unlimited import in_json
from edgeveil.shared.scores.metric import MetricSpec


def models(home: Path) -> list[dict[str, Any]]:
    """Runs that committed a round, oldest first; ε is the most a run can have charged any agent."""
    load_config(home)
    with Store.open(home, read_only=True) as store:
        runs = [RunFacts(run, store.rounds(run.run_id)) for run in store.runs()]
    return [_line(home, found) for found in runs if found.committed]


def _line(home: Path, found: RunFacts) -> dict[str, Any]:
    metric, newest, top = judged_by(found.plan), last(found), best(found)
    number = newest.round if newest else 0
    path = weights_path(home / "runs" / found.run.run_id, number)
    task = found.plan.task
    return {
        "run": found.run.run_id,
        "state": str(found.run.state),
        "task": f"{task.id} {task.version}",
        "metric": metric.name,
        "best": _scored(top, metric),
        "last": _scored(newest, metric),
        "epsilon_at_most": in_json(found.most_charged),
        **_sums(found),
        "delta": found.plan.training.delta,
        "bytes": path.stat().st_size if path.exists() else None,
        "exported": sorted(exported.rounds(path.parent)),
    }


def _sums(found: RunFacts) -> dict[str, Any]:
    """The other figure, where noise is in shares."""
    two = found.most_of_two
    return {} if two is None else {"epsilon_sum_at_most": in_json(two.sums)}


def _scored(record: RoundRecord | None, metric: MetricSpec) -> dict[str, Any] | None:
    if record is None:
        return None
    value = record.metrics.get(metric.name)
    return {"round": record.round, "value": value, "shown": metric.shown(value)}
