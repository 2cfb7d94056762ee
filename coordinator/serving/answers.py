"""What a running coordinator answers its operator's commands and its members' doctors."""

from pathlib import Path
from typing import Any

from edgeveil.coordinator.federation.membership import tokens_of
from edgeveil.coordinator.plan.config import CoordinatorConfig
from edgeveil.coordinator.plan.plan import Plan
from edgeveil.coordinator.records.records import Run
from edgeveil.coordinator.runs.initial import notices
from edgeveil.coordinator.runs.runs import Taken, submit
from edgeveil.coordinator.store.store import Store
from edgeveil.shared.base.config import validate
from edgeveil.shared.events.log import Event, EventLog
from edgeveil.shared.events.tail import size
from edgeveil.shared.tasks import registry


def take_plan(home: Path, store: Store, events: EventLog, asked: dict[str, Any]) -> dict[str, Any]:
    """Queue a plan; `log_size` is where the caller begins to follow the run's events."""
    plan = validate(asked["plan"], Plan, source="plan")
    run, taken = submit(store, plan, again=bool(asked.get("again")))
    seen = size(home / "runs" / run.run_id / "events.jsonl")
    if taken in {Taken.NEW, Taken.CONTINUES}:
        events.emit(Event.RUN_CREATE if taken is Taken.NEW else Event.RUN_RESUME, run=run.run_id)
    return {
        "run": run.run_id,
        "new": taken is Taken.NEW,
        "taken": taken,
        "rounds": plan.rounds.count,
        "log_size": seen,
        "ended": how_it_ended(store, home, run) if taken is Taken.FINISHED else run.reason,
        "code": code_of(store, run),
        "warnings": [*plan.notices, *own_task(plan), *too_few(store, plan), *notices(store, run)],
    }


def own_task(plan: Plan) -> list[str]:
    """The hash that every device must have installed too, of a task that did not come with the product."""
    spec = registry.find(plan.task.id, plan.task.version)
    if not spec.own:
        return []
    said = (
        f"own task {spec.id} {spec.version} has the hash {spec.task_hash().hex()}; a device with other code "
        "refuses, uncharged (agent task list shows its own)"
    )
    return [said]


def code_of(store: Store, run: Run) -> int:
    """The exit code of its last failure; 0 when it never failed."""
    failure = store.failure(run.run_id)
    return 0 if failure is None else failure.code


def too_few(store: Store, plan: Plan) -> list[str]:
    """What to say before round 1 where a plan wants more agents than there are."""
    joined, rounds = len(store.agents()), plan.rounds
    if joined >= rounds.goal:
        return []
    then = (
        f"no round begins before {rounds.minimum} are connected (rounds.minimum)"
        if joined < rounds.minimum
        else "every round waits a moment for more and then goes on without"
    )
    said = (
        f"the plan wants {rounds.goal} agents in a round (rounds.goal), {joined} have joined: {then}; "
        "coordinator invite NAME… adds agents, coordinator plan new --agents N fits the plan to them"
    )
    return [said]


def how_it_ended(store: Store, home: Path, run: Run) -> str:
    """The sentence for a plan that was carried out before: which run, what came out, where it lies."""
    last = store.last_committed(run.run_id)
    if last is None:
        return f"this plan was carried out before, as {run.run_id}"
    model = home / "runs" / run.run_id / f"round-{last.round:04d}.safetensors"
    shown = ", ".join(f"{name} {value:.4g}" for name, value in last.metrics.items())
    result = f" ({shown})" if shown else ""
    return (
        f"this plan was carried out before, as {run.run_id}, which ended with round {last.round}"
        f"{result}: {model}"
    )


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
        "tasks": [task.model_dump() for task in registry.installed_tasks()],
        "plan": None if plan is None else plan.model_dump(),
    }
