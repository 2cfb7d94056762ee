"""The features of shared/tasks/sounds/features.py as torch modules, with the operators that a package may hold.

The spectrum is a product with cosines and sines, and a sum so far one with a triangle of ones. float32 keeps
it to about 1e-5 of what numpy finds in float64.
"""

import numpy as np
import torch
from torch import nn

from edgeveil.shared.tasks.sounds import features


class Powers(nn.Module):
    """(n, length) → (n, T, BANDS), as features.powers()."""

    def __init__(self, rate: int, length: int) -> None:
        super().__init__()
        self._size, self._hop = features.frame(rate), features.hop(rate)
        self._count = features.frames(rate, length)
        # Bins that no band hears are left out.
        bands = features.mel_bands(rate)
        heard = np.flatnonzero(bands.sum(axis=0))
        angle = 2 * np.pi * np.arange(self._size)[:, None] * heard / self._size
        fade = features.fade(self._size)[:, None] * features.GAIN / np.sqrt(self._size)
        self._keep("cosines", np.cos(angle) * fade)
        self._keep("sines", np.sin(angle) * fade)
        self._keep("bands", bands[:, heard].T)

    def _keep(self, name: str, values: features.Numbers) -> None:
        self.register_buffer(name, torch.from_numpy(values.astype(np.float32)))

    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        wide = self._frames(samples)
        real, imaginary = wide @ self.get_buffer("cosines"), wide @ self.get_buffer("sines")
        found = (real * real + imaginary * imaginary) @ self.get_buffer("bands")
        mean = found.mean(dim=2).mean(dim=1)
        relative: torch.Tensor = found / (mean + features.SILENCE)[:, None, None]
        return relative

    def _frames(self, samples: torch.Tensor) -> torch.Tensor:
        """(n, T, size): each frame is two hops, one after the other."""
        hops = samples.narrow(1, 0, (self._count + 1) * self._hop).reshape(-1, self._count + 1, self._hop)  # fmt: skip
        return torch.cat([hops.narrow(1, 0, self._count), hops.narrow(1, 1, self._count)], dim=2)


class Picture(nn.Module):
    """(n, length) → (n, T, BANDS), as features.picture()."""

    def __init__(self, rate: int, length: int) -> None:
        super().__init__()
        self._powers = Powers(rate, length)

    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        found = (self._powers(samples) / features.FLOOR + 1).log()
        scaled: torch.Tensor = (found - features.LOG_CENTER) / features.LOG_SCALE
        return scaled


class Statistics(nn.Module):
    """(n, length) → (n, statistics_count()), as features.statistics()."""

    def __init__(self, rate: int, length: int) -> None:
        super().__init__()
        self._powers = Powers(rate, length)
        count = features.frames(rate, length)
        until = (
            np.triu(np.ones((count, count))) - np.eye(count) / 2
        )  # all before, and half of itself
        for name, values in (("until", until), ("centers", features.centers()[:, None]), ("told", features.cosines().T)):  # fmt: skip
            self.register_buffer(name, torch.from_numpy(np.asarray(values, np.float32)))

    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        power = self._powers(samples)
        shown, told = (power / features.FLOOR + 1).log(), []
        for loud in (power.sum(dim=2).sqrt(), (power + 1).log().mean(dim=2)):
            spectra = self._parts(loud) @ shown
            centred = spectra - spectra.mean(dim=1, keepdim=True)
            told.append((centred @ self.get_buffer("told")).flatten(1))
        flat = torch.cat(told, dim=1)
        length = (flat * flat).sum(dim=1, keepdim=True).sqrt()
        unit: torch.Tensor = flat / length.clamp(min=features.SHORTEST)
        return unit

    def _parts(self, loud: torch.Tensor) -> torch.Tensor:
        share = loud / (loud.sum(dim=1, keepdim=True) + features.LEAST)
        passed = share @ self.get_buffer("until")
        away = (passed[:, None] - self.get_buffer("centers")).abs()
        weights = (1 - away * features.PARTS).clamp(min=0) * share[:, None]
        shares: torch.Tensor = weights / (weights.sum(dim=2, keepdim=True) + features.LEAST)
        return shares
