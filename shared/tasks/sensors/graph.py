"""What the tasks on columns do before and after their networks, as torch modules of operators that a package may hold.

Each computes what the task of that name computes in numpy, to rounding; what comes out is what a person asked
for: logits, a number in its unit, a score. Nothing of it is part of any task.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from edgeveil.shared.data.tabular.columns import Ranged, SetPoint
from edgeveil.shared.tasks.sensors import forecasting, tables
from edgeveil.shared.tasks.sensors.anomaly import NARROWEST, SPREAD, WIDEST, AnomalyOptions
from edgeveil.shared.tasks.sensors.forecasting import ForecastOptions
from edgeveil.shared.tasks.sensors.rare import RareOptions


class Scaled(nn.Module):
    """Values in their units, cut to their ranges and brought to -1..1, as scaled() of sensors.tables."""

    ends: torch.Tensor

    def __init__(self, ranges: Sequence[Ranged], points: Sequence[SetPoint] = ()) -> None:
        super().__init__()
        ends = [[each.low for each in ranges], [each.high for each in ranges]]
        self.register_buffer("ends", torch.tensor(ends, dtype=torch.float32))
        self._bent = bool(points)
        if points:
            self._keep(ranges, {point.column: point for point in points})

    def _keep(self, ranges: Sequence[Ranged], points: dict[str, SetPoint]) -> None:
        """Middle, 1 / scale, 1 / the largest value, and whether it is bent at all, of each column."""
        rows = []
        for each in ranges:
            point = points.get(each.column.name)
            if point is None:
                rows.append((0.0, 1.0, 1.0, 0.0))
                continue
            away = max(abs(end - point.middle) for end in (each.low, each.high)) / point.scale
            rows.append((point.middle, point.scale, math.log1p(away), 1.0))
        self.register_buffer("bends", torch.tensor(rows, dtype=torch.float64).T.contiguous())

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        low, high = self.ends[0], self.ends[1]
        inside = torch.minimum(torch.maximum(values, low), high)
        straight: torch.Tensor = (inside - low) / (high - low) * 2 - 1
        if not self._bent:
            return straight
        middle, scale, most, bent = self.get_buffer("bends")
        away = (inside.double() - middle) / scale
        curve = (away.sign() * (1 + away.abs()).log() / most).float()
        found: torch.Tensor = straight * (1 - bent.float()) + curve * bent.float()
        return found


class Logistic(nn.Module):
    """As the variants `logistic` and `linear` of tables: a row of length one at most, and a constant."""

    def __init__(self, columns: int) -> None:
        super().__init__()
        self._root = math.sqrt(columns)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return torch.cat([rows / self._root, _constant(rows)], dim=1)


class Hats(nn.Module):
    """As RareClasses.inputs()."""

    places: torch.Tensor

    def __init__(self, options: RareOptions) -> None:
        super().__init__()
        self._knots, self._root = options.knots, math.sqrt(len(options.ranges))
        self._width = options.width - 1
        places = np.linspace(-1, 1, max(2, options.knots), dtype=np.float32)
        self.register_buffer("places", torch.from_numpy(places))

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        found = rows
        if self._knots:
            away = (rows.unsqueeze(2) - self.places).abs() * ((self._knots - 1) / 2)
            found = (1 - away).clamp(min=0).reshape(-1, self._width)
        return torch.cat([found / self._root, _constant(rows)], dim=1)


class Oddness(nn.Module):
    """As Autoencoder.forward() of anomaly, (n, …) → (n, 1), without a matrix for each record."""

    corners: torch.Tensor

    def __init__(self, coder: Any, options: AnomalyOptions) -> None:
        super().__init__()
        self.into, self.back = coder.into, coder.back
        self._inputs, self._latent = options.inputs, options.latent
        signs = torch.cat([torch.eye(options.latent), -torch.eye(options.latent)])
        self.register_buffer("corners", signs * math.sqrt(options.latent))

    def forward(self, records: torch.Tensor) -> torch.Tensor:
        values = records.reshape(-1, self._inputs)
        told = self.into(values)
        mean = told.narrow(1, 0, self._latent)
        log_variance = told.narrow(1, self._latent, self._latent).clamp(NARROWEST, WIDEST)
        spread = (0.5 * log_variance).exp()
        points = mean.unsqueeze(1) + spread.unsqueeze(1) * self.corners  # (n, 2L, L)
        missed = (self.back(points) - values.unsqueeze(1)) ** 2
        guessed = missed.mean(dim=1).sum(dim=1, keepdim=True) / (2 * SPREAD**2)
        apart = log_variance.exp() + mean * mean - 1 - log_variance
        score: torch.Tensor = (guessed + 0.5 * apart.sum(dim=1, keepdim=True)) / self._inputs
        return score


class Started(nn.Module):
    """(n, T, C) → (n, T, hidden) of a recurrent layer; left alone it makes its first state by an operator that no package holds."""

    start: torch.Tensor

    def __init__(self, cell: nn.LSTM | nn.GRU) -> None:
        super().__init__()
        self.cell = cell
        self.register_buffer("start", torch.zeros(cell.hidden_size))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        zeros = inputs.narrow(1, 0, 1).narrow(2, 0, 1).transpose(0, 1) * 0 + self.start
        found: torch.Tensor = self.cell(inputs, (zeros, zeros) if isinstance(self.cell, nn.LSTM) else zeros)[0]  # fmt: skip
        return found


class OverTime(nn.Module):
    """As Recurrent.forward() of sensor-sequence."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.cell, self.head = Started(network.cell), network.head

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.head(self.cell(inputs).mean(dim=1))
        return found


class Changes(nn.Module):
    """As the variant `changes` of forecasting prepares its records, (n, T, C) → (n, 1 + F)."""

    def __init__(self, options: ForecastOptions) -> None:
        super().__init__()
        self._at, self._place = options.seen - 1, options.place

    def forward(self, seen: torch.Tensor) -> torch.Tensor:
        count, last = forecasting.STEPS, seen.narrow(1, self._at, 1)
        near = seen.narrow(1, self._at - count, count + 1)
        steps = (near.narrow(1, 1, count) - near.narrow(1, 0, count)) * forecasting.STEEP
        rows = torch.cat([steps, last * forecasting.LEVEL], dim=1).flatten(1)
        cut = rows.clamp(-forecasting.LIMIT, forecasting.LIMIT)
        found = torch.cat([cut, _constant(cut)], dim=1)
        length = (found * found).sum(dim=1, keepdim=True).sqrt().clamp(min=1)
        known = last.narrow(2, self._place, 1).flatten(1)
        return torch.cat([known, found / length], dim=1)


class Change(nn.Module):
    """As the two networks of forecasting, (n, …) → (n, 1)."""

    def __init__(self, network: Any, options: ForecastOptions) -> None:
        super().__init__()
        self.head, self._inputs = network.head, network.head.in_features
        self.cell = Started(network.cell) if options.variant == "gru" else None
        self._last, self._place = options.seen - 1, options.place

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        if self.cell is None:
            rest: torch.Tensor = self.head(inputs.narrow(1, 1, self._inputs))
            return inputs.narrow(1, 0, 1) + rest
        states = self.cell(inputs).narrow(1, self._last, 1).flatten(1)
        known = inputs.narrow(1, self._last, 1).narrow(2, self._place, 1).flatten(1)
        change: torch.Tensor = self.head(states)
        return known + change


class Column(nn.Module):
    """(n,) or (n, 1) → (n, 1)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.network(inputs)
        return found.reshape(-1, 1)


class InUnits(nn.Module):
    """-1..1 → the range of a target, and beyond it, in its unit."""

    def __init__(self, target: Ranged) -> None:
        super().__init__()
        self._low, self._half = target.low, (target.high - target.low) / 2

    def forward(self, shares: torch.Tensor) -> torch.Tensor:
        return (shares + 1) * self._half + self._low


def _constant(rows: torch.Tensor) -> torch.Tensor:
    return rows.narrow(1, 0, 1) * 0 + tables.BIAS
