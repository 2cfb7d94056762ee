"""The own tasks of one home: copies in its folder `tasks`, and what they are, known without loading one.

A home is `use`d once its command has it; from then on the registry knows its tasks. Each is hashed again
whenever it is loaded, and one that is not what was installed is not loaded.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edgeveil.shared.base.errors import ConfigError, StateDamaged
from edgeveil.shared.base.files import private_directory, write_atomic
from edgeveil.shared.base.names import NAME
from edgeveil.shared.scores.class_scores import CLASSES
from edgeveil.shared.scores.metric import MetricSpec, Scoring
from edgeveil.shared.scores.outliers import OUTLIERS
from edgeveil.shared.scores.regression import REGRESSION
from edgeveil.shared.secagg.agreement import context
from edgeveil.shared.tasks import registry
from edgeveil.shared.tasks.own import packages
from edgeveil.shared.tasks.own.source import Source, read_source
from edgeveil.shared.tasks.spec import TaskSpec

FOLDER, INDEX = "tasks", "installed.json"
MOST_TASKS, MOST_INDEX = 100, 1 << 20
VERSION = re.compile(r"\d{1,6}\.\d{1,6}\.\d{1,6}")
SCORINGS: dict[str, Scoring] = {"classes": CLASSES, "regression": REGRESSION, "outliers": OUTLIERS}
_Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_FILE = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class KeptMetric(BaseModel):
    model_config = _FILE

    name: str
    title: str | tuple[str, str]
    higher_is_better: bool
    unit: str = ""
    range: tuple[float | None, float | None] = (None, None)
    chart: str | tuple[str, str] = ""


class Installed(BaseModel):
    """`code` is the hash of its code in hex; `package` the entry point's name, "" for a file."""

    model_config = _FILE

    id: str = Field(pattern=rf"^{NAME.pattern}$")
    version: str = Field(pattern=rf"^{VERSION.pattern}$")
    code: _Hash
    package: str = ""
    scoring: Literal["classes", "regression", "outliers"] | tuple[KeptMetric, ...] = ()

    @property
    def hash(self) -> str:
        """Of the task, in hex: what owners compare, and policies allow."""
        return context.task_hash(self.id, self.version, bytes.fromhex(self.code)).hex()

    def found_scoring(self) -> Scoring:
        if isinstance(self.scoring, str):
            return SCORINGS[self.scoring]
        return Scoring(tuple(MetricSpec(**metric.model_dump()) for metric in self.scoring))


class _Index(BaseModel):
    model_config = _FILE

    tasks: tuple[Installed, ...] = Field(max_length=MOST_TASKS)


@dataclass(frozen=True, slots=True)
class OwnSpec(TaskSpec):
    """The catalogue's entry of an own task. Its code counts as what it was when it was installed."""

    code: bytes = b""
    copy: Path = Path()
    package: str = ""

    @property
    def own(self) -> bool:
        return True

    def code_hash(self) -> bytes:
        return self.code

    def exposed(self) -> Any:
        """Its TASK, loaded from the copy; raises ConfigError if that is not what was installed."""
        found = self.looked_at()
        key = (self.code, str(self.copy))
        if key not in _loaded:
            _loaded[key] = found.load()
        return declared(_loaded[key], self)

    def looked_at(self) -> Source | packages.Packaged:
        """Its files as they are; raises ConfigError if they are not what was installed."""
        found = packages.find(self.package) if self.package else read_source(self.copy)
        if found.code_hash() == self.code:
            return found
        what = f"the package of {self.package}" if self.package else str(self.copy)
        raise ConfigError(
            f"task {self.id} {self.version}: {what}, or edgeveil, has changed since it was installed; "
            f"look at it, then install it again, or: task remove {self.id}"
        )


_loaded: dict[tuple[bytes, str], Any] = {}


def declared(task: Any, spec: OwnSpec) -> Any:
    """The task, with its entry of the catalogue as its `spec`; raises ConfigError where it cannot take it."""
    said = (task.spec.id, task.spec.version)
    if said != (spec.id, spec.version):
        raise ConfigError(f"{spec.copy}: TASK is {' '.join(said)}, not {spec.id} {spec.version}")
    try:
        task.spec = spec
    except (AttributeError, TypeError) as error:
        raise ConfigError(f"task {spec.id}: let TASK.spec be a plain attribute, which can be set") from error  # fmt: skip
    return task


class Shelf:
    """`home / tasks`; only what changes it creates the folder."""

    def __init__(self, home: Path) -> None:
        self.folder = home / FOLDER

    def installed(self) -> tuple[Installed, ...]:
        """Ascending by id; raises StateDamaged."""
        path = self.folder / INDEX
        try:
            with path.open("rb") as file:
                return _Index.model_validate_json(file.read(MOST_INDEX + 1)).tasks
        except FileNotFoundError:
            return ()
        except (OSError, ValidationError) as error:
            raise StateDamaged(f"{path}: is no list of own tasks; remove it, and install them again") from error  # fmt: skip

    def specs(self) -> tuple[OwnSpec, ...]:
        return tuple(self.spec(each) for each in self.installed())

    def spec(self, each: Installed) -> OwnSpec:
        return OwnSpec(
            id=each.id,
            version=each.version,
            module="",
            files=(),
            scoring=each.found_scoring(),
            code=bytes.fromhex(each.code),
            copy=self.folder / f"{each.id}.py",
            package=each.package,
        )

    def put(self, task: Installed, source: bytes | None) -> None:
        """Keep a task, in place of one of the same id."""
        private_directory(self.folder)
        if source is not None:
            write_atomic(self.folder / f"{task.id}.py", source)
        kept = [each for each in self.installed() if each.id != task.id]
        if len(kept) >= MOST_TASKS:
            raise ConfigError(f"{self.folder}: holds {MOST_TASKS} tasks, which is the most; remove one first")  # fmt: skip
        self._write([*kept, task])

    def remove(self, task_id: str) -> None:
        """Raise ConfigError where there is none of that id."""
        known = self.installed()
        if task_id not in {each.id for each in known}:
            raise ConfigError(f"no own task {task_id!r} is installed; there are {', '.join(each.id for each in known) or 'none'}")  # fmt: skip
        self._write([each for each in known if each.id != task_id])
        (self.folder / f"{task_id}.py").unlink(missing_ok=True)

    def _write(self, tasks: list[Installed]) -> None:
        index = _Index(tasks=tuple(sorted(tasks, key=lambda each: each.id)))
        write_atomic(self.folder / INDEX, index.model_dump_json(indent=2).encode())


def use(home: Path) -> None:
    """Let the registry of this process know the own tasks of that home, and no others.

    Raises:
        StateDamaged: their list cannot be read.
    """
    registry.take_own(Shelf(home).specs())
