"""A run's life outside its rounds: submitted, opened (fresh or from its last committed round), closed.

Importing this module costs nothing heavy; opening a run imports torch for the model and the
held-out evaluation.
"""

import hashlib
import json
from enum import StrEnum
from pathlib import Path

from pydantic import ValidationError

from edgeveil.coordinator.learning import judgement
from edgeveil.coordinator.plan.derived import check_worth, training_plan
from edgeveil.coordinator.plan.evaluation import judged_by
from edgeveil.coordinator.plan.plan import Plan
from edgeveil.coordinator.plan.plan_file import budget_fault
from edgeveil.coordinator.records.records import Run, RunState
from edgeveil.coordinator.runs import checkpoint, galleries, initial, learner, run_files
from edgeveil.coordinator.runs.open_run import Evaluate, OpenRun
from edgeveil.coordinator.store.store import Store
from edgeveil.shared.base.errors import ConfigError, ProtocolError
from edgeveil.shared.base.files import private_directory
from edgeveil.shared.tasks import registry
from edgeveil.shared.tasks.spec import Task, TaskSpec
from edgeveil.shared.vector.model_vector import count

UNFINISHED = (RunState.QUEUED, RunState.RUNNING, RunState.STOPPED, RunState.FAILED)


def find_task(plan: Plan) -> TaskSpec:
    """The installed task a plan names; raises ConfigError otherwise."""
    try:
        return registry.find(plan.task.id, plan.task.version)
    except ProtocolError as error:
        raise ConfigError(f"plan: task.id: {error.message}") from error


class Taken(StrEnum):
    """What became of a plan that was handed in."""

    NEW = "new"
    CONTINUES = "continues"
    FINISHED = "finished"  # it was carried out before, and is not again unless told
    QUARANTINED = "quarantined"  # it failed for good, and is not continued unless told


def submit(
    store: Store, plan: Plan, *, again: bool = False, simulated: bool = False
) -> tuple[Run, Taken]:
    """Queue a plan. The same plan continues its unfinished run; one that has finished stays so unless `again`.

    So whoever hands a plan in at every start has it carried out once. A quarantined run goes on with `again`.
    """
    task = registry.load(find_task(plan))  # imports torch once; a wrong option is told at once
    judged_by(plan)
    _check_budget(plan, task)
    text = plan.model_dump_json()
    plan_hash = hashlib.sha256(text.encode()).hexdigest()
    run = next((run for run in reversed(store.runs()) if _same(run, plan, plan_hash)), None)
    if run is not None and run.state is RunState.FINISHED and not again:
        return run, Taken.FINISHED
    if run is not None and run.state is RunState.QUARANTINED:
        if not again:
            return run, Taken.QUARANTINED
        store.forgive(run.run_id)
    if run is not None and run.state in {*UNFINISHED, RunState.QUARANTINED}:
        store.set_run_state(run.run_id, RunState.QUEUED)
        return store.run(run.run_id), Taken.CONTINUES
    run_id = store.new_run_id(simulated=simulated)
    return _create(store, plan, text, plan_hash, run_id), Taken.NEW


def _create(store: Store, plan: Plan, text: str, plan_hash: str, run_id: str) -> Run:
    """A new run, with the model that it begins with where the plan names one."""
    spec = find_task(plan)
    found = _initial_model(store, plan, spec)
    if found is None:
        return store.create_run(text, plan_hash, run_id=run_id)
    kept = initial.keep(store, run_id, plan, spec, found)
    return store.create_run(text, plan_hash, run_id=run_id, initial=kept)


def _initial_model(store: Store | None, plan: Plan, spec: TaskSpec) -> initial.Found | None:
    from edgeveil.coordinator.runs.evaluation import initial_model  # noqa: PLC0415 - torch
    from edgeveil.shared.tasks.modules import frozen_tensors  # noqa: PLC0415

    if plan.model.initial is None:
        return None
    task = registry.load(spec)
    options = task.parse_options(plan.task.options)
    own, tensors = initial_model(task, options)
    wanted = initial.Wanted(tensors, own, frozen_tensors(task, options))
    return initial.find(store, plan, spec, wanted)


def _same(run: Run, plan: Plan, plan_hash: str) -> bool:
    """Also when an older release, whose plans had fewer keys, stored the run."""
    if run.plan_hash == plan_hash:
        return True
    try:
        return Plan.model_validate_json(run.plan) == plan
    except ValidationError:
        return False


def _check_budget(plan: Plan, task: Task) -> None:
    """Refuse a plan no budget can pay for, or whose noise leaves nothing, before anybody is asked."""
    options = task.parse_options(plan.task.options)
    if fault := budget_fault(plan):
        raise ConfigError(f"plan: {fault}")
    if plan.training.whole:
        check_worth(plan, training_plan(plan), count(task.tensors(options)))


def rehearse(plan: Plan, home: Path | None = None) -> tuple[int, str]:
    """Do what a run does before its first round, and leave no trace.

    How many held-out records there are, and a sentence about those that cannot be used, or "".

    The model it begins with is looked for in `home`; without one, submit() alone looks at it.

    Raises:
        ConfigError: the task, its options or the metric are unknown here, no budget pays for it, or it
            cannot begin with the model it names.
        DataError: the evaluation data cannot be used.
        NotInstalled: the task needs a file that is not here.
    """
    from edgeveil.coordinator.runs.evaluation import Evaluator  # noqa: PLC0415 - torch

    task = registry.load(find_task(plan))
    options = task.parse_options(plan.task.options)
    task.tensors(options)
    judged_by(plan)
    _check_budget(plan, task)
    if home is not None and plan.model.initial is not None:
        with Store.open(home, read_only=True) as store:
            _initial_model(store, plan, task.spec)
    if plan.evaluation.data is None:
        return 0, ""
    found = Evaluator(task, options, plan.evaluation.data, quiet=True)
    return found.size, found.left_out


def rehearse_new(plan: Plan) -> None:
    """rehearse() where no home is known: of the models a run may begin with, only a file is looked at."""
    rehearse(plan)
    if plan.model.initial is not None and plan.model.of_run is None:
        _initial_model(None, plan, find_task(plan))


def open_run(
    store: Store, home: Path, run: Run, *, quiet: bool = False
) -> tuple[OpenRun, learner.Learned, int]:
    """The run, its newest committed model, and the number of the round that comes next.

    Unless `quiet`, a terminal shows how far an evaluation got.

    Raises:
        ConfigError: the task or its options are unknown here.
        DataError: the evaluation data cannot be used.
        StateDamaged: the last checkpoint, or the model it begins with, is not the one that was recorded.
    """
    from edgeveil.coordinator.runs.evaluation import Evaluator, initial_model  # noqa: PLC0415 - torch
    from edgeveil.shared.tasks.modules import frozen_tensors, with_frozen  # noqa: PLC0415

    plan = Plan.model_validate(json.loads(run.plan))
    spec = find_task(plan)
    task = registry.load(spec)
    options = task.parse_options(plan.task.options)
    folder = private_directory(home / "runs" / run.run_id)
    vector, tensors = initial_model(task, options)
    stays = frozen_tensors(task, options)
    last = store.last_committed(run.run_id)
    begun = initial.load(folder, run, plan, tensors, stays) if stays or last is None else None
    frozen = None if begun is None else begun[1]
    if last is not None:
        learned = run_files.load(folder, last, tensors, frozen)
        scores = judgement.scored(store.rounds(run.run_id), judged_by(plan))
        run_files.link(folder, last.round, judgement.best(scores))
    elif begun is not None:
        learned = learner.Learned(begun[0])
    else:
        learned = learner.Learned(vector)
        metadata = {"run": run.run_id, "round": "0", "task": f"{spec.id} {spec.version}"}
        checkpoint.save(run_files.model_path(folder, 0), vector, tensors, metadata)
    evaluate: Evaluate | None = None
    if plan.evaluation.data is not None:
        whole = with_frozen(task, frozen)
        judge = Evaluator(whole, options, plan.evaluation.data, quiet=quiet)
        evaluate = judge.examine
        if last is None:
            galleries.keep(folder, "truth", 0, judge.truth())
            galleries.keep(folder, "before", 0, judge.look(learned.model))
    opened = OpenRun(run.run_id, plan, spec, tensors, folder, evaluate, run.initial, frozen)
    return opened, learned, 1 if last is None else last.round + 1
