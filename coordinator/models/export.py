"""`coordinator model export`: one file of a run's model, checked before it is written, and signed."""

from pathlib import Path
from typing import Any

from edgeveil.coordinator.models import choice, contents, exported
from edgeveil.coordinator.plan.config import identity_path
from edgeveil.coordinator.reports.reading import run_facts
from edgeveil.coordinator.runs import checkpoint
from edgeveil.coordinator.runs.runs import find_task
from edgeveil.shared.base.errors import ConfigError, StateDamaged
from edgeveil.shared.base.files import write_file
from edgeveil.shared.models import graph as graph_check
from edgeveil.shared.models.package import assemble, piece, read_package
from edgeveil.shared.tasks import registry
from edgeveil.shared.wire.identity import Identity

SUFFIX = ".evm"
UNSTATED = "not stated"


def export(
    home: Path, run_id: str | None, which: str | None, target: Path, *, licence: str = UNSTATED
) -> dict[str, Any]:
    """Write the package; what it holds, for whoever asked. Nothing is written unless all of it is right.

    Raises:
        ConfigError: no such run or round, or its task is not the one that is installed here.
        StateDamaged: the checkpoint is not the recorded one, or the graph computes something else.
    """
    if target.suffix != SUFFIX:
        raise ConfigError(f"-o {target}: the name of a model package ends with {SUFFIX}")
    found = run_facts(home, run_id)
    record = choice.chosen(found, which)
    spec = find_task(found.plan)
    contents.check_code(found, record, spec)
    signer = Identity.load(identity_path(home))
    path = choice.weights_path(home / "runs" / found.run.run_id, record.round)
    published = path.name.endswith(".average.safetensors")
    saved = checkpoint.load(path, sha256=None if published else record.model_sha256)
    weights = path.read_bytes()
    task = registry.load(spec)  # torch, from here on
    options = task.parse_options(found.plan.task.options)
    from edgeveil.coordinator.models import graph  # noqa: PLC0415 - torch and ONNX
    from edgeveil.shared.tasks.modules import all_tensors  # noqa: PLC0415

    if saved.tensors != all_tensors(task, options) or piece(weights).sha256 != saved.sha256:
        raise StateDamaged(f"{path}: this checkpoint belongs to another model")
    model, form = graph.graph_of(task, options, saved.vector)
    pieces = {"model": piece(model), "weights": piece(weights)}
    manifest = contents.manifest(
        found,
        record,
        (spec, options),
        form,
        pieces,
        answers=graph.answers(model, form),
        licence=licence,
        tools=graph.tools(),
    )
    graph_check.check(model, graph_check.Wanted.of(manifest))
    write_file(target, assemble(manifest, weights, model, signer))
    written = read_package(target)
    exported.note(home / "runs" / found.run.run_id, record.round, written.digest)
    return {
        "file": str(target),
        "bytes": target.stat().st_size,
        "run": found.run.run_id,
        "round": record.round,
        "model": written.digest,
        "signer": written.signer.hex(),
    }
