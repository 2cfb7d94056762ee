"""anomaly: how odd a row or a window is, by a variational autoencoder that learns what is normal.

The output is the negative evidence lower bound of each record (Kingma & Welling 2014, arXiv 1312.6114), its
expectation over the latent normal distribution taken at 2·L fixed points (the unscented transform, Julier &
Uhlmann 1997) instead of at a random one: the same record has the same score and the same gradient in every
batch. A record with a label that is not among `normal` is not learned from, and counts as odd in figures;
where records have no labels, all count as normal.
"""

import math
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator
from torch import nn

from edgeveil.shared.data.tabular.reading import Table
from edgeveil.shared.data.tabular.schema import TableSchema
from edgeveil.shared.scores import outliers
from edgeveil.shared.scores.tallies import Tallies, TallyForm
from edgeveil.shared.tasks import registry
from edgeveil.shared.tasks.modules import trainable
from edgeveil.shared.tasks.records import ArrayRecords, Batch
from edgeveil.shared.tasks.sensors import networks, tables
from edgeveil.shared.tasks.spec import RawOptions, Reduction, TaskSpec, parse
from edgeveil.shared.wire.messages import Tensor

SPREAD = 0.1  # of a value around what the decoder says, in -1..1
NARROWEST, WIDEST = -6.0, 3.0  # of the logarithm of a latent variance


class AnomalyOptions(tables.WindowOptions):
    """`normal`: labels that are learned from, comma-separated; `false_alarms`: wanted, in a thousand."""

    variant: Literal["vae"] = "vae"
    normal: str = Field(default="", max_length=8192)
    hidden: int = Field(default=32, ge=2, le=1024)
    latent: int = Field(default=2, ge=1, le=32)
    false_alarms: int = Field(default=10, ge=1, le=500)

    @field_validator("normal")
    @classmethod
    def _usable_labels(cls, value: str) -> str:
        return tables.usable_labels(value, least=0)

    @model_validator(mode="after")
    def _model_is_small(self) -> Self:
        inputs = self.inputs
        tables.check_size(
            networks.perceptron_size(inputs, self.hidden, 2 * self.latent)
            + networks.perceptron_size(self.latent, self.hidden, inputs)
        )
        return self

    @property
    def inputs(self) -> int:
        """Values of a record."""
        return len(self.ranges) * max(1, self.window)


class Autoencoder(nn.Module):
    """(N, D) in -1..1 → (N,): nats per value by which a record is less likely than a perfect guess."""

    def __init__(self, inputs: int, hidden: int, latent: int) -> None:
        super().__init__()
        random = networks.starting()
        self.into = nn.Sequential(
            networks.linear(inputs, hidden, random), nn.Tanh(),
            networks.linear(hidden, 2 * latent, random),
        )  # fmt: skip
        self.back = nn.Sequential(
            networks.linear(latent, hidden, random), nn.Tanh(),
            networks.linear(hidden, inputs, random),
        )  # fmt: skip
        self._latent = latent

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        mean, log_variance = self.into(values).chunk(2, dim=1)  # (N, L) each
        log_variance = log_variance.clamp(NARROWEST, WIDEST)
        reach = (0.5 * log_variance).exp() * math.sqrt(self._latent)
        offsets = torch.diag_embed(reach)  # (N, L, L)
        points = torch.cat([mean[:, None] + offsets, mean[:, None] - offsets], dim=1)  # (N, 2L, L)
        missed = (self.back(points) - values[:, None]) ** 2  # (N, 2L, D)
        guessed = missed.mean(dim=1).sum(dim=1) / (2 * SPREAD**2)
        divergence = 0.5 * (log_variance.exp() + mean**2 - 1 - log_variance).sum(dim=1)
        score: torch.Tensor = (guessed + divergence) / values.shape[1]
        return score


class NormalOnly(nn.Module):
    """The score where a record is normal, 0 where it is odd: an odd one has no gradient."""

    def __init__(self, reduction: Reduction) -> None:
        super().__init__()
        self.reduction = reduction

    def forward(self, scores: torch.Tensor, odd: torch.Tensor) -> torch.Tensor:
        each = torch.where(odd == 0, scores, torch.zeros_like(scores))
        if self.reduction == "none":
            return each
        return each.mean() if self.reduction == "mean" else each.sum()


class Anomaly:
    spec: TaskSpec = registry.find("anomaly", "1.0.0")

    def parse_options(self, raw: RawOptions) -> AnomalyOptions:
        return parse(AnomalyOptions, raw, self.spec.id)

    def schema(self, options: AnomalyOptions) -> TableSchema:
        return tables.asked(options)

    def load(self, path: Path, options: AnomalyOptions) -> ArrayRecords:
        found, labels = tables.read(path, self.schema(options))
        return self.prepare(found, labels, options)

    def prepare(
        self, found: Table, labels: tuple[str, ...], options: AnomalyOptions
    ) -> ArrayRecords:
        normal = options.normal.split(",")
        odd = np.array([name not in normal for name in labels] or [False], np.int64)
        values = tables.scaled(found, options).reshape(-1, options.inputs)
        return tables.records(values, odd[found.targets], found)

    def build(self, options: AnomalyOptions) -> nn.Module:
        return Autoencoder(options.inputs, options.hidden, options.latent)

    def tensors(self, options: AnomalyOptions) -> tuple[Tensor, ...]:
        return trainable(self.build(options))

    def criterion(self, reduction: Reduction) -> nn.Module:
        return NormalOnly(reduction)

    def probe(
        self, count: int, random: torch.Generator, options: AnomalyOptions
    ) -> tuple[Batch, Batch]:
        """All of them normal: odd ones would hide what the model does behind zeros."""
        inputs = tables.normal((count, options.inputs), random)
        return inputs, torch.zeros(count, dtype=torch.int64)

    def tally_form(self, _options: AnomalyOptions) -> TallyForm:
        return outliers.FORM

    def tallies(
        self, outputs: torch.Tensor, targets: torch.Tensor, _options: AnomalyOptions
    ) -> Tallies:
        """Records by score: normal ones, then odd ones."""
        return outliers.binned(outputs.double().numpy(), targets.numpy() != 0)

    def metrics(self, tally: NDArray[np.int64], options: AnomalyOptions) -> dict[str, float]:
        return outliers.figures(tally.reshape(2, -1), options.false_alarms / 1000)

    def keep(self, tally: NDArray[np.int64], _options: AnomalyOptions) -> dict[str, Any]:
        return {outliers.KEPT: {"counts": tally.reshape(2, -1).tolist()}}

    def signature(self, options: AnomalyOptions) -> dict[str, object]:
        kind = "windows" if options.window else "table"
        return {
            "input": {"kind": kind, "columns": options.columns, "window": options.window},
            "preprocessing": tables.scaling(options),
            "output": "score: nats per value, higher is odder",
        }


TASK = Anomaly()
