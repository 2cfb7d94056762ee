"""`coordinator evaluate`: a model of a run, or a package, on labelled records of this machine, by its own task."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeveil.coordinator.models import choice
from edgeveil.coordinator.models.verify import verify
from edgeveil.coordinator.records.records import Evaluation
from edgeveil.coordinator.reports.reading import run_facts
from edgeveil.coordinator.runs import checkpoint
from edgeveil.shared.base.errors import ConfigError, ModelError
from edgeveil.shared.models.manifest import Manifest
from edgeveil.shared.models.package import read_package
from edgeveil.shared.scores.metric import Scoring
from edgeveil.shared.scores.views import View
from edgeveil.shared.tasks import registry

SUFFIX = ".evm"


@dataclass(frozen=True, slots=True)
class Evaluated:
    """`about`: what was evaluated on what; `left_out`: a sentence, "" if every record was used."""

    about: dict[str, Any]
    found: Evaluation
    scoring: Scoring
    left_out: str

    @property
    def views(self) -> tuple[View, ...]:
        return self.scoring.views(self.found.kept)

    @property
    def figures(self) -> list[tuple[str, str]]:
        """Name and value of each metric, as people read them."""
        known = {metric.name: metric for metric in self.scoring.metrics}
        return [
            (known[name].title[0], known[name].shown(value))
            if name in known
            else (name, f"{value:g}")
            for name, value in self.found.metrics.items()
        ]

    def as_json(self) -> dict[str, Any]:
        return {**self.about, "left_out": self.left_out, "metrics": dict(self.found.metrics), "kept": dict(self.found.kept)}  # fmt: skip


def evaluate(
    home: Path, what: str, which: str | None, data: Path, trust: str | None, *, quiet: bool
) -> Evaluated:
    """`what` is a package, or a run of which `which` names the round, as for export().

    Raises:
        ConfigError: no such run or round, or its task is not the one that is installed here.
        DataError: the records cannot be used.
        ModelError, ModelUntrusted, StateDamaged: the package or the checkpoint.
    """
    from edgeveil.coordinator.runs.evaluation import Evaluator  # noqa: PLC0415 - torch

    if what.endswith(SUFFIX):
        file = Path(what)
        verify(file, home, trust)
        package = read_package(file)
        about, told = _about_package(package.digest, package.manifest), package.manifest.task
        spec = registry.find(told.id, told.version)
        if spec.task_hash().hex() != told.hash:
            raise ConfigError(f"{file}: trained by another build of {told.id} {told.version}; evaluate it with that one")  # fmt: skip
        raw: dict[str, Any] = dict(told.options)
        weights = package.weights
    else:
        found = run_facts(home, what)
        record = choice.chosen(found, which)
        spec = registry.find(found.plan.task.id, found.plan.task.version)
        path = choice.weights_path(home / "runs" / found.run.run_id, record.round)
        about = {"run": found.run.run_id, "round": record.round, "model": record.model_sha256}
        raw, weights = dict(found.plan.task.options), checkpoint.read(path)
    task = registry.load(spec)
    options = task.parse_options(raw)
    try:
        saved = checkpoint.parse(weights)
    except ValueError as error:
        raise ModelError(f"{what}: its weights cannot be used: {error}") from error
    if saved.tensors != task.tensors(options):
        raise ModelError(f"{what}: its weights belong to another model than its task and options")
    judge = Evaluator(task, options, data, quiet=quiet)
    about |= {"task": f"{spec.id} {spec.version}", "data": str(data), "records": judge.size}
    return Evaluated(about, judge.examine(saved.vector), registry.scoring(spec.id), judge.left_out)


def _about_package(digest: str, manifest: Manifest) -> dict[str, Any]:
    return {"run": manifest.origin.run, "round": manifest.origin.round, "model": digest}
