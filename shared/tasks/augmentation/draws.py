"""Random numbers of one step, for each record its own: a function of the step's seed and the record's row.

What a record gets does not depend on which others were drawn, in which chunk it goes or how many values
another one takes. A counter-based generator (SplitMix64: Steele, Lea and Flood 2014), so that a batch costs
a few array operations. Nothing here protects anybody: noise comes from agent/training/noise.py.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

# What a number is for; two uses never share one.
FLIP, SHIFT, BRIGHTNESS, CONTRAST, NOISE, DROPOUT = range(1, 7)
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_PLACES = np.uint64(1 << 32)  # numbers of one use


class Draws:
    """`rows`: the records of a batch, in its order."""

    def __init__(self, seed: int, rows: NDArray[np.int64]) -> None:
        with np.errstate(over="ignore"):
            start = np.uint64(seed) + (rows.astype(np.uint64) + np.uint64(1)) * _GOLDEN
            self._keys = _mixed(start)

    def __len__(self) -> int:
        return len(self._keys)

    def part(self, at: int, count: int) -> "Draws":
        """Of so many records from that place on."""
        made = object.__new__(Draws)
        made._keys = self._keys[at : at + count]
        return made

    def uniform(self, use: int, count: int = 1) -> Tensor:
        """(N, count) float32 in [0, 1)."""
        with np.errstate(over="ignore"):
            places = np.uint64(use) * _PLACES + np.arange(count, dtype=np.uint64)
            words = _mixed(self._keys[:, np.newaxis] + (places + np.uint64(1)) * _GOLDEN)
        return torch.from_numpy((words >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24))

    def around(self, use: int, reach: float) -> Tensor:
        """(N,) float32 in [-reach, reach)."""
        return (2 * self.uniform(use)[:, 0] - 1) * reach

    def whole(self, use: int, reach: int, count: int = 1) -> Tensor:
        """(N, count) int64, each of -reach … reach alike."""
        return (self.uniform(use, count) * (2 * reach + 1)).long() - reach

    def normal(self, use: int, count: int) -> Tensor:
        """(N, count) float32, standard normal (Box and Muller 1958)."""
        pairs = -(-count // 2)
        radius = torch.sqrt(-2 * torch.log1p(-self.uniform(use, 2 * pairs)[:, :pairs]))
        angle = 2 * torch.pi * self.uniform(use, 2 * pairs)[:, pairs:]
        return torch.cat([radius * angle.cos(), radius * angle.sin()], dim=1)[:, :count]


class RecordDropout(nn.Module):
    """Drops `percent` of each record's values and raises the others, where it was told the draws; else nothing.

    Told the draws of a chunk, it takes them in the chunk's order, be it at once or record by record.
    """

    def __init__(self, percent: int) -> None:
        super().__init__()
        self._share = percent / 100
        self._draws: Draws | None = None
        self._at = 0

    def use(self, draws: Draws) -> None:
        self._draws, self._at = draws, 0

    def forward(self, values: Tensor) -> Tensor:
        if self._draws is None or not self.training or not self._share:
            return values
        here = self._draws.part(self._at, len(values))
        self._at += len(values)
        kept = here.uniform(DROPOUT, values[0].numel()).view_as(values) >= self._share
        return values * kept.to(values) / (1 - self._share)


def dropouts(module: nn.Module) -> list[RecordDropout]:
    return [part for part in module.modules() if isinstance(part, RecordDropout)]


def _mixed(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    with np.errstate(over="ignore"):
        words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))
