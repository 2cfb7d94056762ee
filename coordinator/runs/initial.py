"""The model a run begins with where its plan names one: found, held against the plan, and kept as round 0.

A plan that trains a part of the model takes the rest from there and leaves it as it is (`Frozen`).
Looked at in full when the plan is submitted, before any device is asked, and copied into the run's
folder then. Every start of the run reads that copy by its hash, whatever has become of the source.
Devices learn of it as of any model: by the hash that the offer of round 1 binds (docs/protocol.md,
"Context"); nothing is ever unpickled.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import ValidationError

from edgeveil.coordinator.learning import judgement
from edgeveil.coordinator.plan.evaluation import judged_by
from edgeveil.coordinator.plan.plan import Plan
from edgeveil.coordinator.records.records import (
    NOT_COUNTED,
    InitialModel,
    Outcome,
    RoundRecord,
    Run,
)
from edgeveil.coordinator.runs import checkpoint, run_files
from edgeveil.coordinator.store.store import Store
from edgeveil.shared.base.errors import ConfigError, StateDamaged
from edgeveil.shared.base.files import private_directory
from edgeveil.shared.base.names import NAME
from edgeveil.shared.privacy.unlimited import NOT_LIMITED
from edgeveil.shared.tasks import registry
from edgeveil.shared.tasks.spec import TaskSpec
from edgeveil.shared.vector.model_vector import Frozen, Vector, flatten, part, unflatten
from edgeveil.shared.wire.messages import Tensor

MARK = {
    "epsilon": NOT_LIMITED
}  # in the metadata of a model that was trained without noise, or from one
FIRST = 0  # the round whose model a run begins with


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """An earlier model that fits its plan; `round`, `run` and `unlimited` as in InitialModel."""

    path: Path
    model: checkpoint.Checkpoint
    run: str
    round: int | None
    unlimited: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Wanted:
    """What a plan's model consists of: the trained part, with the task's `own` first values, and the frozen."""

    tensors: tuple[Tensor, ...]
    own: Vector
    frozen: tuple[Tensor, ...] = ()


@dataclass(frozen=True, slots=True)
class _Source:
    """Where to read. `sha256`: what the file must hash to, "" where no record says.

    `head`: whether the plan's options let the trained part go on too.
    """

    path: Path
    sha256: str = ""
    run: str = ""
    round: int | None = None
    head: bool = True
    unlimited: bool = False


def find(store: Store | None, plan: Plan, spec: TaskSpec, wanted: Wanted) -> Found | None:
    """The model that `plan` begins with; None where that is the task's own.

    Where a part is frozen, that part must fit; a trained head that does not fit begins anew, as the task's own, and of
    a plan that trains all the rest each tensor that does not.

    Raises:
        ConfigError: there is none, or it does not fit; the sentence names the file and the first misfit.
    """
    if plan.model.initial is None:
        return None
    source = _source(store, plan)
    try:
        model = checkpoint.parse(_bytes(source))
        _check_task(model.metadata, spec)
        whole = plan.task.options.get("train", "all") == "all"
        model = _fitted(model, wanted, head=source.head, whole=whole)
        run, number = _told(model.metadata)
        if source.run and (run, number) != (source.run, source.round):
            raise ValueError(f"it is not the model of round {source.round} of {source.run}")
    except ValueError as error:
        raise _refused(f"{source.path}: {error}") from error
    unlimited = source.unlimited or MARK.items() <= model.metadata.items()
    return Found(source.path, model, run, number, unlimited)


def keep(store: Store, run_id: str, plan: Plan, spec: TaskSpec, found: Found) -> InitialModel:
    """Copy it into the folder of a run that is about to be created; on the disk when this returns."""
    told = InitialModel(
        str(plan.model.initial), found.model.sha256, "", found.run, found.round, found.unlimited
    )
    path = run_files.model_path(private_directory(store.home / "runs" / run_id), FIRST)
    metadata = {"run": run_id, "round": str(FIRST), "task": f"{spec.id} {spec.version}"}
    sha256 = checkpoint.save(
        path, found.model.vector, found.model.tensors, metadata | metadata_of(told)
    )
    return replace(told, sha256=sha256)


def load(
    folder: Path,
    run: Run,
    plan: Plan,
    tensors: tuple[Tensor, ...],
    frozen: tuple[Tensor, ...] = (),
) -> tuple[Vector, Frozen | None] | None:
    """What keep() has copied, the trained part and the frozen; None where the task's own model is meant.

    Raises:
        StateDamaged: the copy is gone, changed or of another shape, or nothing is recorded of it.
    """
    if plan.model.initial is None:
        return None
    if run.initial is None:
        raise StateDamaged(
            f"{run.run_id}: its plan begins with {plan.model.initial}, and the database does not know "
            "that model; restore a backup, or run the plan anew under another name of the file"
        )
    path = run_files.model_path(folder, FIRST)
    saved = checkpoint.load(path, sha256=run.initial.sha256)
    if set(saved.tensors) != {*tensors, *frozen}:
        raise StateDamaged(f"{path}: the model this run begins with belongs to another task")
    stays = Frozen(frozen, part(saved.vector, saved.tensors, frozen)) if frozen else None
    return part(saved.vector, saved.tensors, tensors), stays


def metadata_of(initial: InitialModel | None) -> dict[str, str]:
    """What every checkpoint of the run says of it."""
    if initial is None:
        return {}
    told = {"initial_sha256": initial.source_sha256}
    if initial.run:
        told |= {"initial_run": initial.run, "initial_round": str(initial.round)}
    return told | (MARK if initial.unlimited else {})


def notices(store: Store, run: Run) -> list[str]:
    """What the operator should know of the model that this run begins with."""
    initial = run.initial
    if initial is None:
        return []
    which = f"the model of {initial.whose} (SHA-256 {initial.source_sha256})"
    plan = Plan.model_validate_json(run.plan)
    trained = plan.task.options.get("train", "all")
    stays = "" if trained == "all" else f" and trains only its {trained}"
    begun = f"{run.run_id} begins with {which}{stays}; {NOT_COUNTED}"
    if initial.unlimited:
        begun += (
            "; that model was trained without noise, so that ε of this run's is not limited either"
        )
    try:
        now = hashlib.sha256(checkpoint.read(_source(store, plan).path)).hexdigest()
    except (ConfigError, ValueError):
        return [begun]  # the run has its own copy
    if now == initial.source_sha256:
        return [begun]
    changed = (
        f"{initial.named} is another model now (SHA-256 {now}); {run.run_id} keeps the one it was given "
        f"({initial.source_sha256}). To begin with the new one, name it by a round or under another file name"
    )
    return [begun, changed]


def _source(store: Store | None, plan: Plan) -> _Source:
    of_run = plan.model.of_run
    if of_run is None or store is None:
        return _Source(Path(str(plan.model.initial)))
    try:
        run = store.run(of_run.run)
    except ConfigError as error:
        raise _refused(error.message) from error
    head = _check_options(run, plan)
    record = _record(store, run, of_run.which)
    inherited = run.initial is not None and run.initial.unlimited
    unlimited = inherited or not _plan_of(run).training.noised
    folder = store.home / "runs" / run.run_id
    average = run_files.average_path(folder, record.round)
    if average.exists():
        return _Source(average, "", run.run_id, record.round, head, unlimited)
    path = run_files.model_path(folder, record.round)
    return _Source(path, record.model_sha256, run.run_id, record.round, head, unlimited)


def _record(store: Store, run: Run, which: str | int) -> RoundRecord:
    """Of the round whose model is meant: the last one also stands for the best where none was evaluated."""
    last = store.last_committed(run.run_id)
    if last is None:
        raise _refused(f"{run.run_id} has no committed round, so it has no model yet")
    if which == "last":
        return last
    if which == "best":
        metric = judged_by(_plan_of(run))
        top = judgement.best(judgement.scored(store.rounds(run.run_id), metric))
        if top is None:
            return last
        number = top.number
    else:
        number = int(which)
    for record in store.rounds(run.run_id, number=number):
        if record.outcome is Outcome.COMMITTED:
            return record
    raise _refused(f"{run.run_id} has no committed round {number}; its last is {last.round}")


def _check_options(run: Run, plan: Plan) -> bool:
    """The same task with the same options: outputs are classes by their place alone.

    Only how it is trained may differ, and, for a plan that trains the head alone, what a head depends on:
    then this is False, and its head begins anew.
    """
    before = _plan_of(run).task
    if before.id != plan.task.id:
        raise _refused(f"{run.run_id} is a run of {before.id}, this plan is one of {plan.task.id}")
    spec = registry.newest(plan.task.id)
    if spec is None:
        return True  # the task's own check says so
    task = registry.load(spec)
    try:
        there = task.parse_options(before.options).model_dump()
    except ConfigError as error:
        raise _refused(f"{run.run_id}: {error.message}") from error
    options = task.parse_options(plan.task.options)
    here = options.model_dump()
    other = {name for name in here if here[name] != there.get(name)} - options.TRAINING
    if options.train != "all" and other <= options.HEAD:
        return not other
    for name in sorted(other):
        raise _refused(
            f"{run.run_id} has task.options.{name} = {there.get(name)!r}, this plan has {here[name]!r}"
        )
    return True


def _plan_of(run: Run) -> Plan:
    try:
        return Plan.model_validate_json(run.plan)
    except ValidationError as error:
        raise _refused(
            f"the plan of {run.run_id} is of a release that is not known here"
        ) from error


def _bytes(source: _Source) -> bytes:
    data = checkpoint.read(source.path)
    found = hashlib.sha256(data).hexdigest()
    if source.sha256 and found != source.sha256:
        raise ValueError(f"it has SHA-256 {found}, the record of its round says {source.sha256}")
    return data


def _check_task(metadata: Mapping[str, str], spec: TaskSpec) -> None:
    """A file that does not name its task is judged by its tensors alone."""
    name = metadata.get("task", spec.id).partition(" ")[0]
    if name != spec.id:
        raise ValueError(f"it is a model of the task {name[:40]!r}, the plan's is {spec.id}")


def _fitted(
    model: checkpoint.Checkpoint, wanted: Wanted, *, head: bool, whole: bool
) -> checkpoint.Checkpoint:
    """The model as the plan's; raises ValueError with the first misfit."""
    every = tuple(sorted((*wanted.tensors, *wanted.frozen), key=lambda each: each.name))
    if not wanted.frozen or (head and model.tensors == every):
        _check_tensors(model.tensors, every)
        return model
    stays = {tensor.name for tensor in wanted.frozen}
    _check_tensors(tuple(each for each in model.tensors if each.name in stays), wanted.frozen)
    body = Frozen(wanted.frozen, part(model.vector, model.tensors, wanted.frozen))
    vector, tensors = body.whole(_begun(model, wanted) if whole else wanted.own, wanted.tensors)
    return replace(model, vector=vector, tensors=tensors)


def _begun(model: checkpoint.Checkpoint, wanted: Wanted) -> Vector:
    """The trained part: what the file has of it in the same shape, and the task's own for the rest."""
    own = unflatten(wanted.own, wanted.tensors)
    there = unflatten(model.vector, model.tensors)
    fits = {each.name: there[each.name] for each in wanted.tensors if each in model.tensors}
    return flatten(own | fits, wanted.tensors)


def _check_tensors(found: tuple[Tensor, ...], wanted: tuple[Tensor, ...]) -> None:
    shapes = {tensor.name: tensor.shape for tensor in found}
    for tensor in wanted:
        shape = shapes.pop(tensor.name, None)
        if shape is None:
            raise ValueError(f"it has no tensor {tensor.name}, which the plan's model has")
        if shape != tensor.shape:
            raise ValueError(f"tensor {tensor.name} is {shape}, in the plan's model {tensor.shape}")
    for name in shapes:
        raise ValueError(f"tensor {name[:80]!r} is no part of the plan's model")


def _told(metadata: Mapping[str, str]) -> tuple[str, int | None]:
    """(run, round) as a checkpoint names them, ("", None) unless it does so properly."""
    run, number = metadata.get("run", ""), metadata.get("round", "")
    if not NAME.fullmatch(run) or not (number.isdecimal() and len(number) <= 7):
        return "", None
    return run, int(number)


def _refused(what: str) -> ConfigError:
    return ConfigError(
        f"plan: model.initial: {what}; name a run of the same task and options, a round of it (RUN@12), or "
        "a checkpoint in safetensors, or leave the key out to begin with the task's own model"
    )
