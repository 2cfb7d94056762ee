"""plan.toml as an operator wrote it: read, and held against what is installed, all mistakes at once."""

import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from edgeveil.coordinator.plan.derived import secagg_params, training_plan
from edgeveil.coordinator.plan.evaluation import evaluation_noise
from edgeveil.coordinator.plan.plan import Plan
from edgeveil.shared.base.config import Settings, describe, mistakes, read_toml
from edgeveil.shared.base.errors import ConfigError
from edgeveil.shared.base.names import meant
from edgeveil.shared.tasks import registry
from edgeveil.shared.tasks.spec import TaskSpec


def load_plan(path: Path) -> Plan:
    """A plan file with the files that it names resolved against its own folder.

    Whether its initial model can be used is looked at when it is submitted (runs.initial): a run that
    has begun needs that file no more.

    Imports torch where the plan has options of a task, which alone knows them.

    Raises:
        ConfigError: with a line for each mistake, also those that only the task or the budget shows.
    """
    values, source = read_toml(path), str(path)
    plan: Plan | None = None
    lines: list[str] = []
    try:
        plan = Plan.model_validate(values)
    except ValidationError as error:
        lines = mistakes(error, Plan, source)
    lines += [f"{source}: {fault}" for fault in _of_task(values)]
    data = _data(path, values)
    if data is not None and not data.exists():
        lines.append(f"{source}: evaluation.data: {data} does not exist")
    if plan is not None and (unaffordable := budget_fault(plan)):
        lines.append(f"{source}: {unaffordable}")
    if plan is None or lines:
        raise ConfigError("\n".join(lines))
    sections: dict[str, Settings] = {}
    if data is not None:
        sections["evaluation"] = plan.evaluation.model_copy(update={"data": data})
    if plan.model.initial is not None and plan.model.of_run is None:
        file = (path.parent / plan.model.initial).resolve()
        sections["model"] = plan.model.model_copy(update={"initial": str(file)})
    return plan.model_copy(update=sections)


def budget_fault(plan: Plan) -> str:
    """Why no device could pay for this plan, or ""."""
    try:
        secagg_params(plan, training_plan(plan), parameters=1)
        if plan.evaluation.on_devices:
            evaluation_noise(plan)
    except (ValueError, ConfigError) as error:
        return f"training: {error}"
    return ""


def _data(path: Path, values: dict[str, Any]) -> Path | None:
    evaluation = values.get("evaluation")
    named = evaluation.get("data") if isinstance(evaluation, dict) else None
    return (path.parent / named).resolve() if isinstance(named, str) else None


def _of_task(values: dict[str, Any]) -> list[str]:
    """What the installed tasks say about a plan, however wrong the rest of it is."""
    task = values.get("task")
    name = task.get("id") if isinstance(task, dict) else None
    if not isinstance(task, dict) or not isinstance(name, str):
        return []
    spec = registry.newest(name)
    if spec is None:
        known = [each.id for each in registry.catalogue()]
        near = meant(name, known) or f"; installed here: {', '.join(known)}"
        return [f"task.id: no task {name!r} is installed{near}"]
    lines = []
    if task.get("version", spec.version) != spec.version:
        lines.append(f"task.version: {spec.id} is installed as {spec.version} only")
    if isinstance(options := task.get("options"), dict) and options:
        lines += option_faults(spec, options)
    return lines + _metric_faults(spec, values.get("evaluation"))


def option_faults(spec: TaskSpec, options: dict[str, Any]) -> list[str]:
    """One line per option that the task does not take as it is."""
    task = registry.load(spec)
    try:
        task.parse_options(options)
    except ConfigError as error:
        cause = error.__cause__
        if not isinstance(cause, ValidationError):
            return [error.message]
        known = list(type(task.parse_options({})).model_fields)
        hint = _without_spaces(options.get("labels"))
        items = [{**item, "loc": ("options", *item["loc"])} for item in cause.errors()]
        lines = [describe(item, "task", known).replace(": ", ".", 1) for item in items]
        return [line + hint * line.startswith("task.options.labels") for line in lines]
    return []


def _without_spaces(labels: Any) -> str:
    """Names are folder names, so a space beside a comma is one of a name's."""
    names = labels.split(",") if isinstance(labels, str) else []
    tidy = ",".join(name.strip() for name in names)
    return "" if tidy == labels or not names else f"; write {json.dumps(tidy, ensure_ascii=False)}"


def _metric_faults(spec: TaskSpec, evaluation: Any) -> list[str]:
    wanted = evaluation.get("metric") if isinstance(evaluation, dict) else None
    known = [metric.name for metric in spec.scoring.metrics]
    if not isinstance(wanted, str) or wanted in known:
        return []
    near = meant(wanted, known) or f"; choose one of {', '.join(known) or 'none'}"
    return [f"evaluation.metric: {wanted!r} is not measured by {spec.id} {spec.version}{near}"]
