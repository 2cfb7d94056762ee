"""What a running coordinator answers its operator's commands and its members' doctors."""

from pathlib import Path
from typing import Any

from edgeveil.coordinator.federation.membership import tokens_of
from edgeveil.coordinator.plan.config import CoordinatorConfig
from edgeveil.coordinator.plan.plan import Plan
from edgeveil.coordinator.records.records import Run
from edgeveil.coordinator.runs.runs import submit
from edgeveil.coordinator.store.store import Store
from edgeveil.shared.base.config import validate
from edgeveil.shared.events.log import Event, EventLog
from edgeveil.shared.events.tail import size
from edgeveil.shared.tasks.registry import installed_tasks


def take_plan(home: Path, store: Store, events: EventLog, asked: dict[str, Any]) -> dict[str, Any]:
    """Queue a plan; `log_size` is where the caller begins to follow the run's events."""
    plan = validate(asked["plan"], Plan, source="plan")
    run, new = submit(store, plan)
    seen = size(home / "runs" / run.run_id / "events.jsonl")
    events.emit(Event.RUN_CREATE if new else Event.RUN_RESUME, run=run.run_id)
    return {
        "run": run.run_id,
        "new": new,
        "rounds": plan.rounds.count,
        "log_size": seen,
        "warnings": list(plan.notices),
    }


def make_invites(
    home: Path, store: Store, config: CoordinatorConfig, events: EventLog, asked: dict[str, Any]
) -> dict[str, Any]:
    """One token per name."""
    hold = bool(asked["hold"])
    tokens = tokens_of(store, home, config, asked["names"], asked["ttl_s"], hold=hold)
    for name in tokens:
        events.emit(Event.INVITE_CREATE, agent=name)
    return dict(tokens)


def about(store: Store, run: Run | None) -> dict[str, object]:
    """What any member may ask, for its doctor; `run` is the one under way or next."""
    signed = store.roster()
    plan = None if run is None else Plan.model_validate_json(run.plan).task
    return {
        "epoch": 0 if signed is None else signed.roster.epoch,
        "tasks": [task.model_dump() for task in installed_tasks()],
        "plan": None if plan is None else plan.model_dump(),
    }
