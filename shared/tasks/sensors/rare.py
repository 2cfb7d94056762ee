"""rare-classes: which class a row belongs to, where some classes have few rows: counted privately, then adjusted for.

Every gradient carries one more number for each class, in which a record counts itself: clipped, noised, charged
and summed with all others, so the counts leave no device alone and cost no budget of their own
(docs/protocol.md, "Counts of classes"). What they add up to comes back as part of the model, and its logarithm
is added to the logits while the model learns (Menon et al. 2021, arXiv 2007.07314): the logits themselves then
say how well a row fits a class, however rare it is. The rest of a record's gradient is shortened beforehand,
so that both fit into the clipping norm and no record counts more than another.
"""

import math
from typing import Literal, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import nn
from torch.nn import functional

from edgeveil.shared.scores.tallies import Tallies
from edgeveil.shared.tasks import registry
from edgeveil.shared.tasks.modules import zero_linear
from edgeveil.shared.tasks.sensors import tables
from edgeveil.shared.tasks.sensors.classes import ClassTask
from edgeveil.shared.tasks.spec import RawOptions, Reduction, TaskSpec, parse

COUNTING, LEARNING = 0.6, 0.8  # of the clipping norm, at right angles
FLOOR = (
    0.002  # of all records, shared by the classes: what noise leaves of a class is never nothing
)
LONGEST = math.sqrt(1 + tables.BIAS**2)  # of an input


class RareOptions(tables.LabelOptions):
    """`clip`: the plan's clip_norm in thousandths, by which a record is shared between counting and learning.

    `knots`: hat functions of each column at equal places, for classes that lie within it; 0 for the column
    itself. `count_first`: learning_rate times the steps in which classes are only counted.
    """

    variant: Literal["logistic"] = "logistic"
    clip: int = Field(default=100, ge=1, le=10_000)
    knots: int = Field(default=17, ge=0, le=64)
    count_first: int = Field(default=0, ge=0, le=1_000_000)

    @model_validator(mode="after")
    def _knots_are_two_or_more(self) -> Self:
        if self.knots == 1:
            raise ValueError("knots: 0 for none, else 2 or more")
        tables.check_size(self.width * len(self.class_names))
        return self

    @property
    def width(self) -> int:
        """Numbers of a row."""
        return len(self.ranges) * max(1, self.knots) + 1


class Counted(nn.Module):
    """(N, F) → (N, 2·K + 2): logits, what was counted of each class, and two constants for the loss."""

    def __init__(self, options: RareOptions) -> None:
        super().__init__()
        classes = len(options.class_names)
        self.head = zero_linear(options.width, classes, bias=False)
        self.counts = zero_linear(1, classes, bias=False)
        self._clip, self._enough = options.clip / 1000, COUNTING * options.clip / 1000 * options.count_first  # fmt: skip

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        one = torch.ones_like(inputs[:, :1])
        said = [self.head(inputs), self.counts(one), self._clip * one, self._enough * one]
        return torch.cat(said, dim=1)


class CountedEntropy(nn.Module):
    """Cross-entropy of adjusted logits, and a term whose gradient is a count; each of its own record alone."""

    def __init__(self, reduction: Reduction) -> None:
        super().__init__()
        self.reduction = reduction

    def forward(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        classes = outputs.shape[1] // 2 - 1
        logits, counts = outputs[:, :classes], outputs[:, classes : 2 * classes]
        clip, enough = outputs[:, -2].detach(), outputs[:, -1].detach()
        known = counts.detach().clamp(min=0)
        total = known.sum(dim=1)
        shares = (1 - FLOOR) * known / total.clamp(min=1e-12)[:, None] + FLOOR / classes
        adjusted = logits + shares.log()
        # The gradient of a record in the head is |p - e| · |input| long: shortened to its part of the norm.
        wrong = adjusted.detach().softmax(dim=1) - functional.one_hot(targets, classes)
        length = wrong.norm(dim=1) * LONGEST
        weight = (LEARNING * clip / length.clamp(min=1e-12)).clamp(max=1)
        weight = torch.where((total > 0) & (total >= enough), weight, torch.zeros_like(weight))
        counted = COUNTING * clip * counts.gather(1, targets[:, None]).squeeze(1)
        each = weight * functional.cross_entropy(adjusted, targets, reduction="none") - counted
        if self.reduction == "none":
            return each
        return each.mean() if self.reduction == "mean" else each.sum()


class RareClasses(ClassTask):
    spec: TaskSpec = registry.find("rare-classes", "1.0.0")

    def parse_options(self, raw: RawOptions) -> RareOptions:
        return parse(RareOptions, raw, self.spec.id)

    def inputs(self, values: tables.Values, options: RareOptions) -> tables.Values:
        """(N, C) in -1..1 → (N, F), at most LONGEST long."""
        found = hats(values, options.knots) if options.knots else values
        return tables.with_bias(found / np.float32(math.sqrt(values.shape[1])))

    def build(self, options: RareOptions) -> nn.Module:
        return Counted(options)

    def criterion(self, reduction: Reduction) -> nn.Module:
        return CountedEntropy(reduction)

    def tallies(
        self, outputs: torch.Tensor, targets: torch.Tensor, options: RareOptions
    ) -> Tallies:
        return super().tallies(outputs[:, : len(options.class_names)], targets, options)

    def signature(self, options: RareOptions) -> dict[str, object]:
        return {
            "input": {"kind": "table", "columns": options.columns},
            "preprocessing": f"{tables.scaling(options)}, {options.knots} hats a column, bias 0.3",
            "output": "logits, counts, two constants",
            "classes": list(options.class_names),
        }


def hats(values: tables.Values, knots: int) -> tables.Values:
    """(N, C) in -1..1 → (N, C · knots): how near a value is to each of so many equal places, 0 from the next on."""
    places = np.linspace(-1, 1, knots, dtype=np.float32)
    away = np.abs(values[:, :, None] - places) * np.float32((knots - 1) / 2)
    return np.asarray(np.maximum(0, 1 - away).reshape(len(values), -1), np.float32)


TASK = RareClasses()
