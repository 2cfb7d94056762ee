"""What a task is, without torch: its identity, its hash, and what both sides ask of it.

A task is model + loss + data adapter + metrics + input schema, installed with the product and named
by id, version and hash, so that the coordinator can choose one but never send code. Nothing here
imports torch at run time: a proposal is judged before anything heavy is loaded.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, Self, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from edgeveil.shared.base.errors import ConfigError
from edgeveil.shared.data.kinds import RecordSchema
from edgeveil.shared.scores.metric import Scoring
from edgeveil.shared.scores.tallies import Tallies, TallyForm, summed
from edgeveil.shared.secagg.agreement import context
from edgeveil.shared.tasks.records import Batch, Records
from edgeveil.shared.wire.messages import Tensor

if TYPE_CHECKING:
    import torch

    from edgeveil.shared.data.boxes.sights import Sight
    from edgeveil.shared.tasks.augmentation.draws import Draws

PACKAGE = Path(__file__).resolve().parent.parent  # the folder `shared`

Reduction = Literal["none", "mean", "sum"]
RawOptions = Mapping[str, str | int | bool]


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """One catalogue entry. `files` are all files that decide what the task computes, as paths
    relative to the package `shared` with `/`; a change in any of them makes another task. `scoring` says
    what its figures mean, `from_scratch` what to expect where everything is trained with noise, if little.
    """

    id: str
    version: str
    module: str
    files: tuple[str, ...]
    scoring: Scoring = field(default_factory=Scoring)
    from_scratch: str = ""

    def code_hash(self) -> bytes:
        """SHA-256 over the declared files, read once per process (protocol.md, "Encodings")."""
        return _code_hash(self.files)

    @property
    def own(self) -> bool:
        """Whether its owner has installed it by hand, and the product did not come with it."""
        return False

    def exposed(self) -> Any:
        """The TASK of its module; this imports torch."""
        return importlib.import_module(self.module).TASK

    def task_hash(self) -> bytes:
        return context.task_hash(self.id, self.version, self.code_hash())


@cache
def _code_hash(files: tuple[str, ...]) -> bytes:
    return context.code_hash((name, (PACKAGE / name).read_bytes()) for name in files)


class Options(BaseModel):
    """Base of every task's own options; `variant` picks the model, `train` which part of it is trained.

    What is not trained stays as the plan's initial model has it: it costs no noise and does not travel back.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    # Options that say how a model is trained, and those that only its head depends on.
    TRAINING: ClassVar[frozenset[str]] = frozenset({"train"})
    HEAD: ClassVar[frozenset[str]] = frozenset({"classes", "labels"})

    variant: str
    train: str = "all"

    @property
    def parts(self) -> tuple[str, ...]:
        """What `train` may be: "all", and the parts that can be trained alone."""
        return ("all",)

    @model_validator(mode="after")
    def _has_such_a_part(self) -> Self:
        if self.train in self.parts:
            return self
        if self.parts == ("all",):
            raise ValueError(
                f"train = {self.train!r}: variant {self.variant!r} has no body that could stay as it is; "
                'leave the key out, or write "all"'
            )
        raise ValueError(f"train = {self.train!r}: one of {', '.join(self.parts)}")


OptionsT = TypeVar("OptionsT", bound=Options)


def parse(kind: type[OptionsT], raw: RawOptions, task: str) -> OptionsT:
    """Read `raw` as the task's options; raises ConfigError with every fault at once."""
    try:
        return kind.model_validate(dict(raw))
    except ValidationError as error:
        faults = "; ".join(
            f"{_where(fault['loc'])}{fault['msg'].removeprefix('Value error, ')}"
            for fault in error.errors(include_url=False)
        )
        raise ConfigError(f"task {task}: {faults}") from error


def _where(loc: tuple[int | str, ...]) -> str:
    """The option at fault; nothing where several do not go together, which the sentence names itself."""
    return f"options.{'.'.join(str(part) for part in loc)}: " if loc else ""


class Trainable(Protocol):
    """What private training asks of a task. `options` is always what its own parse_options returned."""

    @property
    def spec(self) -> TaskSpec: ...

    def build(self, options: Any) -> torch.nn.Module:
        """A module with deterministic initial weights; its parameters that require a gradient are
        what travels. It takes inputs as Records.take() gives them.
        """

    def tensors(self, options: Any) -> tuple[Tensor, ...]:
        """The travelling parameters, ascending by name."""

    def criterion(self, reduction: Reduction) -> torch.nn.Module:
        """A loss with a `reduction` attribute; "none" gives one value per record, each a function
        of that record alone.
        """

    def probe(self, count: int, random: torch.Generator, options: Any) -> tuple[Batch, Batch]:
        """So many made-up records, in the form in which take() gives real ones.

        On them a model is judged, so that no choice depends on anybody's data.
        """


@runtime_checkable
class Augmenting(Protocol):
    """A task whose records may be varied in training, as its options say."""

    def augment(
        self, inputs: Batch, targets: Batch, draws: Draws, options: Any
    ) -> tuple[Batch, Batch]:
        """Both varied for one step of training, in the same form, each record by its own draws alone.

        Never for evaluation.
        """


@runtime_checkable
class Showing(Protocol):
    """A task whose evaluations can be looked at, on a few pictures of the coordinator's own."""

    def show(self, inputs: Batch, outputs: Any, targets: Batch, options: Any) -> list[Sight]:
        """One for each record: its picture, what is in it, and what the model found."""


class Task(Trainable, Protocol):
    """Every module of the catalogue exposes one as `TASK`.

    Nothing outside it knows what a target, a tally or a figure means: all else reads `spec.scoring`.
    """

    def parse_options(self, raw: RawOptions) -> Options:
        """Raise ConfigError naming every wrong or unknown option."""

    def schema(self, options: Any) -> RecordSchema:
        """What kind of records it takes; public, from its options alone."""

    def prepare(self, found: Any, labels: tuple[str, ...], options: Any) -> Records:
        """Records as `RecordSchema.read` gave them under a schema that fits, with their classes named by
        `labels`. The form depends on no record.
        """

    def load(self, path: Path, options: Any) -> Records:
        """Read the owner's folder or file and preprocess it with public constants only.

        What a single record holds decides about that record alone, never about an error: the
        coordinator chooses the options, and would learn from a refusal.

        Raises:
            DataError: absent, ambiguous, or of another shape.
        """

    def tally_form(self, options: Any) -> TallyForm:
        """The cells of a tally, and how much one record may add to it."""

    def tallies(self, outputs: Any, targets: Batch, options: Any) -> Tallies:
        """What each record of a batch adds to the tally; longer than tally_form() says, it is cut.

        The sum over batches, agents and rounds is all metrics() needs.
        """

    def metrics(self, tally: NDArray[np.int64], options: Any) -> dict[str, float]:
        """Every metric of `spec.scoring`, by name, but for the mean loss."""

    def keep(self, tally: NDArray[np.int64], options: Any) -> dict[str, Any]:
        """What a round's record holds for `spec.scoring.views`: JSON values under keys of the task's own."""

    def signature(self, options: Any) -> dict[str, object]:
        """Input schema, output and public preprocessing, for whoever runs the model."""


def tallied(task: Task, outputs: Any, targets: Batch, options: Any) -> NDArray[np.int64]:
    """(S,): what a batch adds to the tally, no record more than the task has declared."""
    return summed(task.tallies(outputs, targets, options), task.tally_form(options))
