"""Made-up windows by which statistics are brought to a common size: public, from a fixed seed, of nobody's data."""

import numpy as np
from numpy.typing import NDArray

SEED = 1_001
WINDOWS = 6_000  # of motion
PLAIN_WINDOWS = 1_500
WAVES = 3
RATE_HZ = 50.0
PACES_HZ = (0.15, 2.0)
GRAVITY = 1.0


def motion_windows(length: int) -> NDArray[np.float64]:
    """(N, length, 6): gravity from any side, slow waves and noise, in g and in units of 2 rad/s."""
    random = np.random.default_rng(SEED)
    gravity = random.normal(size=(WINDOWS, 1, 3))
    gravity /= np.linalg.norm(gravity, axis=2, keepdims=True)
    paces = random.uniform(*PACES_HZ, size=(WINDOWS, WAVES)) * length / RATE_HZ
    loud = random.exponential(0.4, size=(WINDOWS, WAVES, 6))
    waves = _waves(random, paces, loud, length)
    noise = random.normal(size=waves.shape) * random.exponential(0.05, size=(WINDOWS, 1, 1))
    waves[..., :3] += gravity
    return np.asarray(waves + noise)


def plain_windows(length: int, columns: int) -> NDArray[np.float64]:
    """(N, length, columns) in about -1..1: a level, waves of up to a twelfth of the window, noise."""
    random = np.random.default_rng(SEED)
    level = random.uniform(-0.6, 0.6, size=(PLAIN_WINDOWS, 1, columns))
    paces = np.exp(random.uniform(np.log(0.3), np.log(12), size=(PLAIN_WINDOWS, WAVES)))
    loud = random.exponential(0.15, size=(PLAIN_WINDOWS, WAVES, columns))
    waves = _waves(random, paces, loud, length)
    noise = random.normal(size=waves.shape) * random.exponential(0.05, size=(PLAIN_WINDOWS, 1, 1))
    return np.clip(level + waves + noise, -1, 1)


def _waves(
    random: np.random.Generator,
    paces: NDArray[np.float64],
    loud: NDArray[np.float64],
    length: int,
) -> NDArray[np.float64]:
    """Sums (N, length, C) of waves at `paces` (N, W) periods per window and `loud` (N, W, C)."""
    time = np.arange(length) / length
    phase = random.uniform(0, 2 * np.pi, size=loud.shape)
    made = np.zeros((len(paces), length, loud.shape[2]))
    for wave in range(paces.shape[1]):
        angle = 2 * np.pi * paces[:, wave, None, None] * time[None, :, None]
        made += loud[:, wave, None, :] * np.sin(angle + phase[:, wave, None, :])
    return made
