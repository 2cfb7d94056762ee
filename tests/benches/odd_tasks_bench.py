"""Tasks that are nothing like the installed ones, to show that nothing but a task knows what it measures.

`Length` is complete: series of unequal length in, a number out, judged by its mean absolute error, where
lower is better. The others are models that must be trainable.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from opacus.layers import DPLSTM
from torch import nn

from edgeveil.shared.data.arrays import open_arrays
from edgeveil.shared.scores.metric import LOSS, MetricSpec, Scoring
from edgeveil.shared.scores.tallies import Tallies, TallyForm
from edgeveil.shared.scores.views import Curve, Matrix, Table
from edgeveil.shared.tasks import registry
from edgeveil.shared.tasks.modules import trainable, zero_linear
from edgeveil.shared.tasks.spec import Options, TaskSpec

LONGEST, UNIT, BINS, CLIP = 12, 1000, 8, 4.0


def bin_of(values):
    return np.minimum(values / CLIP * BINS, BINS - 1).astype(np.int64)


class LengthScoring(Scoring):
    def views(self, extra):
        found = extra.get("errors")
        if found is None:
            return ()
        ends = [CLIP * (k + 1) / BINS for k in range(BINS)]
        rows = [(f"up to {end:g} cm", count) for end, count in zip(ends, found, strict=True)]
        share = (np.cumsum(found) / max(1, sum(found))).tolist()
        return (
            Table(("Errors", "误差"), (("Error", "误差"), (">Records", ">记录数")), rows),
            Curve(("Share below", "累计"), "cm", [(("Share", "份额"), ends, share)], "%"),
            Matrix("Halves", "low", ("a", "b"), ((1, 2), (3, 4)), note="of nothing in particular"),
        )

    def summary(self, extra):
        return {"errors_known": sum(extra.get("errors", ()))}


SPEC = TaskSpec(
    id="length",
    version="0.3.0",
    module="odd_tasks_bench",
    files=("tasks/records.py",),
    scoring=LengthScoring(
        (
            MetricSpec("mae", ("Mean error", "平均误差"), False, "cm", (0.0, None)),
            MetricSpec(LOSS, ("Squared error", "平方误差"), False),
        )
    ),
)


@dataclass(frozen=True)
class Series:
    """Inputs as a list of (length, 1) tensors, targets (N,)."""

    inputs: list
    targets: torch.Tensor
    skipped: tuple = ()

    def __len__(self):
        return len(self.inputs)

    def take(self, rows):
        return [self.inputs[row] for row in rows], self.targets[rows]


class Summary(nn.Module):
    """Mean and length of a series, then a linear layer; in company, zeros at its end would count."""

    def __init__(self):
        super().__init__()
        self.head = zero_linear(2, 1, bias=True)

    def forward(self, inputs):
        means = nn.utils.rnn.pad_sequence(inputs, batch_first=True).mean(dim=1)  # (B, 1)
        lengths = torch.tensor([[len(x) / LONGEST] for x in inputs])
        return self.head(torch.cat([means, lengths], dim=1)).squeeze(1)


class LengthOptions(Options):
    variant: Literal["plain"] = "plain"


class Length:
    spec = SPEC

    def parse_options(self, raw):
        return LengthOptions.model_validate(dict(raw))

    def load(self, path, _options):
        """`X` (n, 1 + LONGEST): a length, then so many values; `y` (n,) numbers."""
        found = open_arrays(path, ("X", "y"), most=1 << 24)
        rows = torch.from_numpy(found["X"].astype(np.float32))
        return Series([row[1 : 1 + int(row[0]), None] for row in rows], torch.from_numpy(found["y"].astype(np.float32)))  # fmt: skip

    def build(self, _options):
        return Summary()

    def tensors(self, options):
        return trainable(self.build(options))

    def criterion(self, reduction):
        return nn.MSELoss(reduction=reduction)

    def probe(self, count, random, _options):
        lengths = torch.randint(1, LONGEST + 1, (count,), generator=random).tolist()
        inputs = [torch.randn((length, 1), generator=random) for length in lengths]
        return inputs, torch.randn(count, generator=random)

    def tally_form(self, _options):
        """Records by clipped error, then the sum of clipped errors in thousandths."""
        return TallyForm((("errors", (BINS,)), ("sum", ())), most=1 + int(CLIP * UNIT) ** 2)

    def tallies(self, outputs, targets, _options):
        errors = (outputs - targets).abs().nan_to_num(CLIP).clamp(max=CLIP).double().numpy()
        vectors = np.zeros((len(errors), BINS + 1), np.int64)
        vectors[np.arange(len(errors)), bin_of(errors)] = 1
        vectors[:, BINS] = np.rint(errors * UNIT)
        return Tallies.full(vectors)

    def metrics(self, tally, _options):
        return {"mae": float(tally[-1] / UNIT / tally[:-1].sum())}

    def keep(self, tally, _options):
        return {"errors": tally[:-1].tolist()}

    def signature(self, _options):
        return {"output": "number"}


TASK = Length()


def install(monkeypatch):
    """As if the product came with it."""
    monkeypatch.setattr(registry, "_CATALOGUE", (*registry.catalogue(), SPEC))


def write_series(path, count, salt):
    """The target is twice the mean plus the length: three numbers to learn."""
    random = np.random.default_rng(salt)
    lengths = random.integers(1, LONGEST + 1, count)
    values = random.normal(size=(count, LONGEST)).astype(np.float32)
    targets = [2 * row[:n].mean() + n / LONGEST for row, n in zip(values, lengths, strict=True)]
    np.savez(path, X=np.column_stack([lengths, values]).astype(np.float32), y=np.float32(targets))
    return path


class Sequences(nn.Module):
    """A recurrent model over (N, T, 3), beside (N, 2) facts about the whole: a tuple of two tensors."""

    def __init__(self):
        super().__init__()
        self.cell = DPLSTM(3, 5, batch_first=True)
        self.head = nn.Linear(7, 1)

    def forward(self, inputs):
        series, facts = inputs
        return self.head(torch.cat([self.cell(series)[0][:, -1], facts], dim=1)).squeeze(1)


class Boxes(nn.Module):
    """A sketch of a detector: pictures of unequal size, each with its own list of boxes."""

    def __init__(self):
        super().__init__()
        self.body = nn.Conv2d(1, 4, 3, padding=1)
        self.head = nn.Linear(4, 4)

    def forward(self, inputs):
        return [self.head(self.body(x[None]).mean(dim=(0, 2, 3))) for x in inputs]


class BoxLoss(nn.Module):
    reduction = "none"

    def forward(self, outputs, targets):
        boxes, classes = targets
        pairs = zip(outputs, boxes, classes, strict=True)
        return torch.stack([((o - b).square().sum(dim=1) * (1 + c)).sum() for o, b, c in pairs])


def _sequences(count, random):
    def normal(*shape):
        return torch.randn((count, *shape), generator=random)

    return (normal(6, 3), normal(2)), normal()


def _boxes(count, random):
    def normal(*shape):
        return torch.randn(shape, generator=random)

    sizes = torch.randint(4, 9, (count, 3), generator=random).tolist()
    pictures = [normal(1, height, width) for height, width, _ in sizes]
    boxes = [normal(many - 3, 4) for _, _, many in sizes]
    classes = [torch.zeros(many - 3) for _, _, many in sizes]
    return pictures, (boxes, classes)


@dataclass(frozen=True)
class Drawn:
    """Records that are a drawn batch."""

    inputs: object
    targets: object
    count: int

    def __len__(self):
        return self.count

    def take(self, rows):
        from edgeveil.shared.tasks.batches import taken

        return taken(self.inputs, rows.tolist()), taken(self.targets, rows.tolist())


@dataclass(frozen=True)
class NoOptions:
    def model_dump_json(self):
        return ""


class Sketch:
    """What training asks of a task, around a module, a loss and a way to draw records."""

    def __init__(self, name, module, criterion, draw):
        self.spec = TaskSpec(name, "0.1.0", "odd_tasks_bench", ())
        self._module, self._criterion, self._draw = module, criterion, draw

    def build(self, _options):
        torch.manual_seed(3)
        return self._module()

    def tensors(self, options):
        return trainable(self.build(options))

    def criterion(self, _reduction):
        return self._criterion

    def probe(self, count, random, _options):
        return self._draw(count, random)

    def records(self, count):
        return Drawn(*self._draw(count, torch.Generator().manual_seed(50)), count)


SEQUENCES = Sketch("sequences", Sequences, nn.MSELoss(reduction="none"), _sequences)
BOXES = Sketch("boxes", Boxes, BoxLoss(), _boxes)
