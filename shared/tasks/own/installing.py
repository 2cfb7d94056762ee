"""From what an owner names, a file or an entry point, to a task that can be checked and installed."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeveil.shared.base.errors import ConfigError
from edgeveil.shared.base.names import NAME
from edgeveil.shared.scores.metric import MetricSpec, Scoring
from edgeveil.shared.tasks import registry
from edgeveil.shared.tasks.conformance.made_data import writer_of
from edgeveil.shared.tasks.conformance.subject import Subject
from edgeveil.shared.tasks.own import packages
from edgeveil.shared.tasks.own.shelf import (
    SCORINGS,
    VERSION,
    Installed,
    KeptMetric,
    Shelf,
    declared,
)
from edgeveil.shared.tasks.own.source import Source, read_source
from edgeveil.shared.tasks.spec import TaskSpec


@dataclass(frozen=True)
class Candidate:
    """A task that its owner has named; it was loaded by that command, and is not installed yet."""

    found: Source | packages.Packaged
    task: Any
    entry: Installed

    def subject(self, options: dict[str, Any] | None = None) -> Subject:
        """What the checks look at, under its default options unless told."""
        try:
            settled = self.task.parse_options(options or {})
        except ConfigError as error:
            raise ConfigError(f"{error.message}; give every option of an own task a default") from error  # fmt: skip
        return Subject(self.task, settled, writer_of(self.task.schema(settled)))

    def install(self, shelf: Shelf) -> None:
        shelf.put(self.entry, self.found.data if isinstance(self.found, Source) else None)


def candidate(named: str, shelf: Shelf | None = None) -> Candidate:
    """Load what was named: a path, or the name of an entry point.

    Raises:
        ConfigError: with one sentence on what is wrong, and the fix.
    """
    path = Path(named)
    file = path.suffix == ".py" or path.exists()
    found = read_source(path) if file else packages.find(named)
    task = found.load()
    spec = task.spec
    entry = Installed(
        id=_checked_id(spec, named),
        version=spec.version,
        code=found.code_hash().hex(),
        package="" if file else named,
        scoring=_kept_scoring(spec, named),
    )
    return Candidate(found, declared(task, (shelf or Shelf(Path())).spec(entry)), entry)


def _checked_id(spec: Any, named: str) -> str:
    if not isinstance(spec, TaskSpec) or not isinstance(spec.id, str) or not isinstance(spec.version, str):  # fmt: skip
        raise ConfigError(f'{named}: TASK.spec must be TaskSpec("name", "1.0.0", "", ())')
    if NAME.fullmatch(spec.id) is None:
        raise ConfigError(f"{named}: id {spec.id!r} is no name: use 1 to 40 of a-z, 0-9 and '-'")
    if VERSION.fullmatch(spec.version) is None:
        raise ConfigError(f"{named}: version {spec.version!r} must be three numbers, such as 1.0.0")
    if any(spec.id == each.id for each in registry.product()):
        raise ConfigError(f"{named}: edgeveil itself has a task {spec.id}; give yours another id")
    return spec.id


def _kept_scoring(spec: TaskSpec, named: str) -> Any:
    """By name or as plain metrics: a report has to be made without loading the task."""
    for name, scoring in SCORINGS.items():
        if spec.scoring is scoring:
            return name
    if type(spec.scoring) is not Scoring:
        raise ConfigError(f"{named}: the scoring has to be one of edgeveil's, or Scoring((MetricSpec(…), …))")  # fmt: skip
    fields = MetricSpec.__dataclass_fields__
    return tuple(KeptMetric(**{name: getattr(metric, name) for name in fields}) for metric in spec.scoring.metrics)  # fmt: skip
