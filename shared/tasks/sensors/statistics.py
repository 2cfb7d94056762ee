"""Fixed public statistics of a window: no parameters, no statistics of any data set, one record at a time.

Per channel mean, spread, quantiles, roughness, crossings, seven bands of its spectrum and five
autocorrelations; between channels correlations and covariances, and a lagged cross-correlation of the
columns. Each number is brought to a common size by constants from made-up windows (edgeveil.shared.tasks.
sensors.synthetic), then the record to length 1, so that a small clipping norm cuts nobody short.
"""

from functools import cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from edgeveil.shared.tasks.sensors.synthetic import motion_windows, plain_windows

Values = NDArray[np.float32]
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
BANDS = (1, 2, 3, 4, 6, 9, 14, 25)  # edges, in periods per window
LAGS = (0.1, 0.2, 0.3, 0.4, 0.5)  # of a window
CROSS_LAG = 0.1
REGULAR = 0.01  # added to variances below a fraction bar: a still sensor has correlations of 0, not of noise
LIMIT = 4.0  # of a number once it is scaled: a single odd one does not take the whole length
SOFT = 0.05  # added to the made-up spread: what hardly varies there is not blown up
PER_CHANNEL = len(QUANTILES) + 18
CHUNK = 512  # records at a time; bounds memory, changes no result
LEAST_WINDOW = 16
MOTION = ("g",) * 3 + ("rad/s",) * 3  # units of the columns that are known to be motion


def count(columns: int, *, motion: bool) -> int:
    """Numbers of one window; 255 for motion."""
    channels = columns + 2 * motion
    pairs = channels * (channels - 1) // 2
    return PER_CHANNEL * channels + 2 * pairs + columns * (columns - 1) // 2


def described(values: Values, *, motion: bool) -> Values:
    """(N, T, C) scaled windows → (N, count), of length 1 each.

    `motion`: three columns of acceleration in g, then three of rotation in units of 2 rad/s.
    """
    length, columns = values.shape[1:]
    center, spread = constants(length, columns, motion=motion)
    made = np.empty((len(values), len(center)), np.float32)
    for at in range(0, len(values), CHUNK):
        raw = _statistics(values[at : at + CHUNK].astype(np.float64), motion=motion)
        common = np.clip((raw - center) / (spread + SOFT), -LIMIT, LIMIT)
        norm = np.linalg.norm(common, axis=1, keepdims=True)
        made[at : at + CHUNK] = common / np.maximum(norm, 1e-6)
    return made


@cache
def constants(
    length: int, columns: int, *, motion: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and spread (count,) of each number over made-up windows; public, the same everywhere."""
    made = motion_windows(length) if motion else plain_windows(length, columns)
    found = np.concatenate([_statistics(made[at : at + CHUNK], motion=motion) for at in range(0, len(made), CHUNK)])  # fmt: skip
    return found.mean(axis=0), found.std(axis=0)


def _statistics(values: NDArray[np.float64], *, motion: bool) -> NDArray[np.float64]:
    """(N, T, C) → (N, count)."""
    channels = _with_magnitudes(values) if motion else values
    centred = channels - channels.mean(axis=1, keepdims=True)
    parts = [*_levels(channels, centred), *_rhythm(centred), *_between(centred), _lagged(values)]
    return np.concatenate(parts, axis=1)


def _with_magnitudes(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """|a| − 1 and |w| as channels of their own: they do not change when the sensor is turned."""
    length = np.sqrt((values[..., :3] ** 2).sum(axis=2, keepdims=True)) - 1
    rotation = np.sqrt((values[..., 3:] ** 2).sum(axis=2, keepdims=True))
    return np.concatenate([values, length, rotation], axis=2)


def _levels(
    channels: NDArray[np.float64], centred: NDArray[np.float64]
) -> list[NDArray[np.float64]]:
    """Nine of each channel, then two of how it moves, each (N, C')."""
    quantiles = np.quantile(channels, QUANTILES, axis=1)  # (5, N, C')
    steps = np.abs(np.diff(channels, axis=1))
    crossings = (np.diff(np.signbit(centred), axis=1) != 0).mean(axis=1)
    return [
        channels.mean(axis=1),
        centred.std(axis=1),
        *quantiles,
        quantiles[-1] - quantiles[0],
        np.abs(centred).mean(axis=1),
        2 * np.sqrt(steps.mean(axis=1)),
        5 * crossings,
    ]


def _rhythm(centred: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Seven bands of the spectrum and five autocorrelations, each (N, C')."""
    length = centred.shape[1]
    power = np.abs(np.fft.rfft(centred, axis=1) / length) ** 2  # (N, T/2 + 1, C')
    bands = [0.5 * np.log(1 + 30 * power[:, low:high].sum(axis=1)) for low, high in pairwise(BANDS)]
    variance = (centred**2).mean(axis=1) + REGULAR
    shifts = [max(1, round(lag * length)) for lag in LAGS]
    again = [(centred[:, lag:] * centred[:, :-lag]).mean(axis=1) / variance for lag in shifts]
    return [*bands, *again]


def _between(centred: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Correlations, and signed roots of covariances, of each pair of channels: (N, pairs) twice."""
    length, channels = centred.shape[1:]
    covariance = np.einsum("ntc,ntd->ncd", centred, centred) / length
    first, second = np.triu_indices(channels, 1)
    variance = np.diagonal(covariance, axis1=1, axis2=2) + REGULAR
    each = covariance[:, first, second]
    correlation = each / np.sqrt(variance[:, first] * variance[:, second])
    return [correlation, np.sign(each) * np.sqrt(np.abs(each))]


def _lagged(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Which of two columns goes before the other: (N, pairs) of cross-correlations, forth minus back."""
    centred = values - values.mean(axis=1, keepdims=True)
    length, columns = values.shape[1:]
    lag = max(1, round(CROSS_LAG * length))
    ahead = np.einsum("ntc,ntd->ncd", centred[:, :-lag], centred[:, lag:]) / (length - lag)
    first, second = np.triu_indices(columns, 1)
    variance = (centred**2).mean(axis=1) + REGULAR
    difference = ahead[:, first, second] - ahead[:, second, first]
    return np.asarray(difference / np.sqrt(variance[:, first] * variance[:, second]))
