"""Fixed public features of a recording: no parameters, no statistics of any data set, one record at a time.

A spectrum of 40 mel bands every 16 ms (Davis & Mermelstein 1980; the mel scale as O'Shaughnessy 1987 and HTK
have it, 2595 · log10(1 + f / 700)) relative to the record's own mean power, as logarithms that are 0 in silence. The linear model
gets of it what a word sounds like from its beginning to its end, whenever, however fast and loud it was
said: the recording is divided into PARTS of equal loudness, the mean spectrum of each is told by the first
CEPSTRA terms of a cosine transform, less the mean of the parts: that takes away what microphone and room add
(Furui 1981). It is divided twice: a moment's loudness is the square root of its power, which follows vowels,
and the mean logarithm of its bands, by which soft consonants have their share.
"""

import math
from functools import cache

import numpy as np
from numpy.typing import NDArray

FRAME_MS, HOP_MS = 32, 16
BANDS, LOWEST_HZ = 40, 60.0
HIGHEST = 0.95  # of half the rate
PARTS, CEPSTRA = 8, 14
FLOOR = 0.003  # of a record's mean power; quieter moments count alike
GAIN = 1024.0  # on samples, so that no sum below is of numbers that an exporter takes for nothing
SILENCE = 0.1  # power after that; below it is what rounding to 16 bits leaves
LEAST = 1e-6  # of weights below a fraction bar
SHORTEST = 0.5  # length of what is told, usually 5 to 15; a steady tone is not blown up
LOG_CENTER, LOG_SCALE = 2.5, 2.5  # bring logarithms of relative power to about -1..1
CHUNK = 256  # records at a time; bounds memory, changes no result

Values = NDArray[np.float32]
Numbers = NDArray[np.float64]


def frame(rate: int) -> int:
    """Samples of one spectrum, an even number."""
    return rate * FRAME_MS // 2000 * 2


def hop(rate: int) -> int:
    return frame(rate) * HOP_MS // FRAME_MS


def frames(rate: int, length: int) -> int:
    """Spectra of a record of `length` samples: 61 for one second."""
    return (length - frame(rate)) // hop(rate) + 1


def statistics_count() -> int:
    """Numbers of one record, without the bias."""
    return 2 * PARTS * CEPSTRA


@cache
def fade(size: int) -> Numbers:
    """A periodic Hann window (size,)."""
    return np.asarray(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size))


@cache
def mel_bands(rate: int) -> Numbers:
    """(BANDS, frame/2 + 1): triangles over the bins of a spectrum, each from its neighbour's peak to the next."""
    edges = _hertz(np.linspace(_mel(LOWEST_HZ), _mel(HIGHEST * rate / 2), BANDS + 2))
    bins = np.arange(frame(rate) // 2 + 1) * rate / frame(rate)
    rise = (bins - edges[:-2, None]) / np.diff(edges)[:-1, None]
    fall = (edges[2:, None] - bins) / np.diff(edges)[1:, None]
    return np.maximum(0, np.minimum(rise, fall))


def powers(samples: Values, rate: int) -> Numbers:
    """(N, length) → (N, T, BANDS): power of each band in each frame, relative to the record's mean."""
    size = frame(rate)
    wide = np.lib.stride_tricks.sliding_window_view(samples.astype(np.float64), size, axis=1)
    spectra = np.abs(np.fft.rfft(wide[:, :: hop(rate)] * fade(size), axis=2)) ** 2 * GAIN**2 / size
    found = spectra @ mel_bands(rate).T
    return np.asarray(found / (found.mean(axis=(1, 2), keepdims=True) + SILENCE))


def picture(samples: Values, rate: int) -> Values:
    """(N, length) → (N, T, BANDS): logarithms of relative power, about -1..1, as the network takes them."""
    made = np.empty((len(samples), frames(rate, samples.shape[1]), BANDS), np.float32)
    for at in range(0, len(samples), CHUNK):
        found = np.log1p(powers(samples[at : at + CHUNK], rate) / FLOOR)
        made[at : at + CHUNK] = (found - LOG_CENTER) / LOG_SCALE
    return made


def statistics(samples: Values, rate: int) -> Values:
    """(N, length) → (N, statistics_count()), of length 1 each; shorter if hardly anything changes, zeros for silence."""
    made = np.empty((len(samples), statistics_count()), np.float32)
    for at in range(0, len(samples), CHUNK):
        made[at : at + CHUNK] = _statistics(powers(samples[at : at + CHUNK], rate))
    return made


def _statistics(power: Numbers) -> Numbers:
    shown, told = np.log1p(power / FLOOR), []
    for loud in (np.sqrt(power.sum(axis=2)), np.log1p(power).mean(axis=2)):
        spectra = _parts(loud) @ shown  # (N, PARTS, BANDS)
        centred = spectra - spectra.mean(axis=1, keepdims=True)
        told.append((centred @ cosines().T).reshape(len(power), -1))
    flat = np.concatenate(told, axis=1)
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    return np.asarray(flat / np.maximum(length, SHORTEST))


def _parts(loud: Numbers) -> Numbers:
    """(N, T) → (N, PARTS, T): how much of each part a frame is; triangles over the share of loudness so far."""
    share = loud / (loud.sum(axis=1, keepdims=True) + LEAST)
    passed = np.cumsum(share, axis=1) - share / 2
    near = np.maximum(0, 1 - np.abs(passed[:, None] - centers()[:, None]) * PARTS)
    weights = near * share[:, None]
    return np.asarray(weights / (weights.sum(axis=2, keepdims=True) + LEAST))


@cache
def centers() -> Numbers:
    """Of the parts, (PARTS,), in 0..1."""
    return (np.arange(PARTS) + 0.5) / PARTS


@cache
def cosines() -> Numbers:
    """(CEPSTRA, BANDS): orthogonal cosines, the first of them constant."""
    angle = np.pi * np.arange(CEPSTRA)[:, None] * (np.arange(BANDS) + 0.5) / BANDS
    return np.cos(angle) * math.sqrt(2 / BANDS)


def _mel(hertz: float) -> float:
    return 2595 * math.log10(1 + hertz / 700)


def _hertz(mel: Numbers) -> Numbers:
    return np.asarray(700 * (10 ** (mel / 2595) - 1))
