"""A task of a model and a loss: what most own tasks need, and all that a first one has to know.

    TASK = SimpleTask(
        id="valve", version="1.0.0", records=Columns("flow 0..10, load [%] 0..100"),
        model=Valve, classes=("closed", "open"),
    )

`model` is called without arguments and gives a torch.nn.Module; its first weights are drawn from one public
seed, the same on every machine. `loss` is a class or object of torch.nn, or a function of outputs and
targets; whatever it gives has to be a value per record.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import nn

from edgeveil.shared.base.errors import ConfigError
from edgeveil.shared.data.kinds import RecordSchema
from edgeveil.shared.scores.class_scores import CLASSES
from edgeveil.shared.scores.regression import REGRESSION
from edgeveil.shared.scores.tallies import Tallies, TallyForm
from edgeveil.shared.tasks import images
from edgeveil.shared.tasks.modules import trainable
from edgeveil.shared.tasks.records import ArrayRecords, Batch
from edgeveil.shared.tasks.sensors import tables
from edgeveil.shared.tasks.sensors.classes import ClassTask
from edgeveil.shared.tasks.sensors.regression import RegressionOptions, TabularRegression
from edgeveil.shared.tasks.spec import Options, RawOptions, Reduction, TaskSpec, parse
from edgeveil.shared.wire.messages import Tensor

SEED = 20_261_130  # public: every machine starts from the same weights
Loss = Callable[[Any, Any], torch.Tensor]


@dataclass(frozen=True)
class Pictures:
    """The model takes (N, channels, height, width) in 0..1; both sides are multiples of 4."""

    height: int = 28
    width: int = 28
    channels: int = 1


@dataclass(frozen=True)
class Columns:
    """The model takes (N, columns), or (N, window, columns), in -1..1.

    `columns`: `name [unit] low..high`, comma-separated, as in plans (docs/tasks/tabular.md).
    """

    columns: str
    window: int = 0


class SimpleOptions(Options):
    """A simple task is its file; a plan has nothing to choose."""

    variant: Literal["own"] = "own"


class PerRecord(nn.Module):
    """One value per record of any loss, the mean of those that belong to one record, then `reduction`."""

    def __init__(self, loss: Loss, reduction: Reduction) -> None:
        super().__init__()
        self.reduction = reduction
        self._loss = loss

    def forward(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        each = self._loss(_level(outputs, targets), targets)
        if each.dim() > 1:
            each = each.flatten(1).mean(dim=1)
        if self.reduction == "none":
            return each
        return each.mean() if self.reduction == "mean" else each.sum()


class SimpleTask:
    """Give `classes` for a class per record, `number` (`name [unit] low..high`) for a number from columns.

    A model of classes puts out (N, classes); one of a number (N,) or (N, 1), where -1..1 is its range.
    """

    def __init__(
        self,
        *,
        id: str,  # noqa: A002  what a plan calls it
        version: str,
        records: Pictures | Columns,
        model: Callable[[], nn.Module],
        classes: Sequence[str] = (),
        number: str = "",
        loss: type[nn.Module] | nn.Module | Loss | None = None,
    ) -> None:
        if bool(classes) == bool(number):
            raise ConfigError(f'task {id}: give either classes=(…) or number="name low..high"')
        self.spec = TaskSpec(id, version, "", (), REGRESSION if number else CLASSES)
        self._model = model
        self._inner, self._fixed = _settled(id, records, tuple(classes), number)
        self._loss = _per_record(loss or (nn.HuberLoss if number else nn.CrossEntropyLoss))

    @property
    def inner(self) -> "Inner":
        """Who reads its records; under `fixed`, as all that is asked of it."""
        return self._inner

    @property
    def fixed(self) -> Any:
        return self._fixed

    def parse_options(self, raw: RawOptions) -> SimpleOptions:
        return parse(SimpleOptions, raw, self.spec.id)

    def schema(self, _options: SimpleOptions) -> RecordSchema:
        return self._inner.schema(self._fixed)

    def prepare(self, found: Any, labels: tuple[str, ...], _options: SimpleOptions) -> ArrayRecords:
        return self._inner.prepare(found, labels, self._fixed)

    def load(self, path: Path, _options: SimpleOptions) -> ArrayRecords:
        return self._inner.load(path, self._fixed)

    def build(self, _options: SimpleOptions) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            return self._model()

    def tensors(self, options: SimpleOptions) -> tuple[Tensor, ...]:
        return trainable(self.build(options))

    def criterion(self, reduction: Reduction) -> nn.Module:
        return PerRecord(self._loss, reduction)

    def probe(self, count: int, random: torch.Generator, _options: SimpleOptions) -> tuple[Batch, Batch]:  # fmt: skip
        return self._inner.probe(count, random, self._fixed)

    def tally_form(self, _options: SimpleOptions) -> TallyForm:
        return self._inner.tally_form(self._fixed)

    def tallies(self, outputs: torch.Tensor, targets: torch.Tensor, _options: SimpleOptions) -> Tallies:  # fmt: skip
        return self._inner.tallies(_level(outputs, targets), targets, self._fixed)

    def metrics(self, tally: NDArray[np.int64], _options: SimpleOptions) -> dict[str, float]:
        return self._inner.metrics(tally, self._fixed)

    def keep(self, tally: NDArray[np.int64], _options: SimpleOptions) -> dict[str, Any]:
        return self._inner.keep(tally, self._fixed)

    def signature(self, _options: SimpleOptions) -> dict[str, object]:
        return self._inner.signature(self._fixed)


class _PictureOptions(images.ImageOptions):
    variant: Literal["own"] = "own"


class _ColumnOptions(tables.LabelOptions, tables.WindowOptions):
    variant: Literal["own"] = "own"


class _Pictures(images.ImageTask):
    def inputs(self, pixels: NDArray[np.float32], options: Any) -> NDArray[np.float32]:
        return pixels[:, np.newaxis] if options.channels == 1 else np.moveaxis(pixels, 3, 1)

    def probe(self, count: int, random: torch.Generator, options: Any) -> tuple[Batch, Batch]:
        shape = (options.channels, options.height, options.width)
        return images.probe(count, shape, random, options)

    def signature(self, options: Any) -> dict[str, object]:
        return images.schema(options, "0..1")


class _Classes(ClassTask):
    def build(self, _options: Any) -> nn.Module:
        return nn.Identity()  # SimpleTask has the model

    def inputs(self, values: tables.Values, _options: Any) -> tables.Values:
        return values

    def signature(self, options: Any) -> dict[str, object]:
        kind = "windows" if options.window else "table"
        return {
            "input": {"kind": kind, "columns": options.columns, "window": options.window},
            "preprocessing": "-1..1 by range",
            "output": "logits",
            "classes": list(options.class_names),
        }


Inner = _Pictures | _Classes | TabularRegression


def _settled(task: str, records: Pictures | Columns, classes: tuple[str, ...], number: str) -> tuple[Inner, Any]:  # fmt: skip
    """Who reads and counts such records, and the options that say what they are; raises ConfigError."""
    labels = ",".join(classes)
    try:
        if isinstance(records, Pictures):
            if number:
                raise ConfigError(f"task {task}: number= needs records=Columns(…)")
            raw = {"classes": len(classes), "labels": labels, **vars(records)}
            return _Pictures(), _PictureOptions.model_validate(raw)
        if number and records.window:
            raise ConfigError(f"task {task}: number= takes single rows, without window=")
        if number:
            raw = {"variant": "mlp", "columns": records.columns, "target": number}
            return TabularRegression(), RegressionOptions.model_validate(raw)
        raw = {"columns": records.columns, "window": records.window, "labels": labels}
        return _Classes(), _ColumnOptions.model_validate(raw)
    except ValidationError as error:
        faults = "; ".join(f"{fault['loc'][0] if fault['loc'] else 'records'}: {fault['msg']}" for fault in error.errors())  # fmt: skip
        raise ConfigError(f"task {task}: {faults}") from error


def _per_record(loss: type[nn.Module] | nn.Module | Loss) -> Loss:
    """The loss with a value per record, where it is one of torch's, which tell what they reduce to."""
    if isinstance(loss, type):
        made: Loss = loss(reduction="none")
        return made
    if isinstance(loss, nn.Module) and hasattr(loss, "reduction"):
        loss = copy.deepcopy(loss)
        loss.reduction = "none"  # type: ignore[assignment]  # a plain attribute of torch's losses
    return loss


def _level(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """(N, 1) → (N,) where a number is wanted: torch would subtract each from each."""
    number = targets.dim() == 1 and targets.is_floating_point()
    return outputs.squeeze(1) if number and outputs.dim() == 2 else outputs
