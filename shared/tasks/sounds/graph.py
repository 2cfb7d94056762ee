"""The features of shared/tasks/sounds/features.py as torch modules, with the operators that a package may hold.

The spectrum is a product with cosines and sines, and a sum so far one with a triangle of ones. float32 keeps
it to about 1e-5 of what numpy finds in float64.
"""

import math

import numpy as np
import torch
from torch import nn

from edgeveil.shared.models.taken import ColumnsInput, ImageInput, MomentInput, SoundInput
from edgeveil.shared.tasks.sensors import statistics, tables
from edgeveil.shared.tasks.sounds import features
from edgeveil.shared.tasks.sounds.multimodal import PairOptions


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


class Heard(nn.Module):
    """As AudioCommand.inputs() for `statistics`: with the bias."""

    def __init__(self, rate: int, length: int) -> None:
        super().__init__()
        self._statistics = Statistics(rate, length)

    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        return _with_bias(self._statistics(samples))


class Moments(nn.Module):
    """As Multimodal.inputs(), of records as moment_input() has them; `picture` prepares pictures, its bias last."""

    def __init__(self, options: PairOptions, picture: nn.Module | None) -> None:
        super().__init__()
        taken = moment_input("", options)
        self._parts, self._share = tuple(taken.parts.items()), options.share
        self._seen = picture
        self._heard = None if taken.sound is None else Statistics(options.rate, *taken.sound.shape)

    def forward(self, record: torch.Tensor) -> torch.Tensor:
        at, told = 0, []
        for sense, part in self._parts:
            size = math.prod(part.shape)
            told.append(self._described(sense, record.narrow(1, at, size), part.shape))
            at += size
        return _with_bias(torch.cat(told, dim=1) * self._share)

    def _described(self, sense: str, values: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
        if sense == "sound" and self._heard is not None:
            heard: torch.Tensor = self._heard(values)
            return heard
        if sense == "image" and self._seen is not None:
            values = self._seen(values.reshape(-1, *shape))
        return values.narrow(1, 0, values.shape[1] - 1)  # without its bias


def moment_input(name: str, options: PairOptions) -> MomentInput:
    """What goes into a packaged model."""
    named, picture = options.named, (options.height, options.width)
    seen = ImageInput(name="image", height=picture[0], width=picture[1], channels=options.channels)
    heard = SoundInput(name="sound", rate=options.rate, length_ms=options.length_ms)
    return MomentInput(
        name=name,
        image=seen if "image" in named else None,
        sound=heard if "sound" in named else None,
        window=_felt(options) if "window" in named else None,
    )


def _felt(options: PairOptions) -> ColumnsInput:
    return ColumnsInput(
        name="window",
        columns=tuple(str(each) for each in options.ranges),
        window=options.window,
        features=statistics.count(len(options.ranges), motion=options.motion) + 1,
        statistics="fixed-v1 motion" if options.motion else "fixed-v1 plain",
    )


def _with_bias(rows: torch.Tensor) -> torch.Tensor:
    return torch.cat([rows, rows.narrow(1, 0, 1) * 0 + tables.BIAS], dim=1)
