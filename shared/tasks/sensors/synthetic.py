"""Made-up windows by which statistics are brought to a common size: public, from a fixed seed, of nobody's data.

Drawn from the raw stream of PCG64, which numpy keeps as it is; how numpy itself makes numbers of a
distribution from it may change with a version, and then no two devices would scale alike.
"""

import numpy as np
from numpy.typing import NDArray

SEED = 1_001
WINDOWS = 6_000  # of motion
PLAIN_WINDOWS = 1_500
WAVES = 3
RATE_HZ = 50.0
PACES_HZ = (0.15, 2.0)

Numbers = NDArray[np.float64]


class Draws:
    """Numbers of a distribution from the raw stream alone."""

    def __init__(self) -> None:
        self._bits = np.random.PCG64(SEED)

    def uniform(self, low: float, high: float, shape: tuple[int, ...]) -> Numbers:
        return low + (high - low) * self._shares(shape)

    def exponential(self, mean: float, shape: tuple[int, ...]) -> Numbers:
        return -mean * np.log1p(-self._shares(shape))

    def normal(self, shape: tuple[int, ...]) -> Numbers:
        """Box & Muller 1958."""
        length = np.sqrt(-2 * np.log1p(-self._shares(shape)))
        return np.asarray(length * np.cos(2 * np.pi * self._shares(shape)))

    def _shares(self, shape: tuple[int, ...]) -> Numbers:
        """In 0..1, the end left out, with 53 bits."""
        raw = np.asarray(self._bits.random_raw(int(np.prod(shape))), np.uint64)
        return ((raw >> np.uint64(11)).astype(np.float64) * 2.0**-53).reshape(shape)


def motion_windows(length: int) -> Numbers:
    """(N, length, 6): gravity from any side, slow waves and noise, in g and in units of 2 rad/s."""
    draws = Draws()
    gravity = draws.normal((WINDOWS, 1, 3))
    gravity /= np.linalg.norm(gravity, axis=2, keepdims=True)
    paces = draws.uniform(*PACES_HZ, (WINDOWS, WAVES)) * length / RATE_HZ
    waves = _waves(draws, paces, draws.exponential(0.4, (WINDOWS, WAVES, 6)), length)
    waves[..., :3] += gravity
    return waves + draws.normal(waves.shape) * draws.exponential(0.05, (WINDOWS, 1, 1))


def plain_windows(length: int, columns: int) -> Numbers:
    """(N, length, columns) in -1..1: a level, waves of up to a twelfth of the window, noise."""
    draws = Draws()
    level = draws.uniform(-0.6, 0.6, (PLAIN_WINDOWS, 1, columns))
    paces = np.exp(draws.uniform(np.log(0.3), np.log(12), (PLAIN_WINDOWS, WAVES)))
    loud = draws.exponential(0.15, (PLAIN_WINDOWS, WAVES, columns))
    waves = level + _waves(draws, paces, loud, length)
    noise = draws.normal(waves.shape) * draws.exponential(0.05, (PLAIN_WINDOWS, 1, 1))
    return np.clip(waves + noise, -1, 1)


def _waves(draws: Draws, paces: Numbers, loud: Numbers, length: int) -> Numbers:
    """Sums (N, length, C) of waves at `paces` (N, W) periods per window and `loud` (N, W, C)."""
    time = np.arange(length) / length
    phase = draws.uniform(0, 2 * np.pi, loud.shape)
    made = np.zeros((len(paces), length, loud.shape[2]))
    for wave in range(paces.shape[1]):
        angle = 2 * np.pi * paces[:, wave, None, None] * time[None, :, None]
        made += loud[:, wave, None, :] * np.sin(angle + phase[:, wave, None, :])
    return made
