"""Fixed public image features: no parameters, no statistics of any data set, one record at a time.

Orientation histograms in the spirit of Dalal & Triggs (2005), "Histograms of Oriented Gradients",
without block normalisation, beside 2×2-pooled pixels. In colours the gradient of a pixel is that of the
channel where it is longest, as there, and each channel has pooled pixels of its own. Each record is centred and scaled to length 1
on its own, so that a small clipping norm cuts nobody short and no constant is learned from data.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 8  # orientations in half a turn: a line and its negative count alike
CELL = 4  # pixels; one histogram per CELL×CELL
POOL = 2
BIAS = 0.2  # the constant last feature; small, so that it takes little of the clipping norm
CHUNK = 4096  # records at a time; bounds memory, changes no result

Pixels = NDArray[np.float32]


def feature_count(height: int, width: int, channels: int = 1) -> int:
    """589 for grey 28×28, 981 in colours; `height` and `width` are multiples of CELL."""
    cells = (height // CELL) * (width // CELL)
    return BINS * cells + channels * (height // POOL) * (width // POOL) + 1


def fixed_features(pixels: Pixels) -> Pixels:
    """(N, H, W) or (N, H, W, C) in 0..1 → (N, feature_count): histograms, pooled pixels, bias."""
    planes = pixels[..., np.newaxis] if pixels.ndim == 3 else pixels
    result = np.empty((len(pixels), feature_count(*planes.shape[1:])), dtype=np.float32)
    for at in range(0, len(pixels), CHUNK):
        part = planes[at : at + CHUNK]
        pooled = [_pooled(part[..., channel]) for channel in range(part.shape[3])]
        joined = np.concatenate([_histograms(part), *pooled], axis=1)
        result[at : at + CHUNK] = with_bias(unit(joined))
    return result


def flat_pixels(pixels: Pixels) -> Pixels:
    """(N, H, W[, C]) in 0..1 → (N, H·W·C + 1): centred pixels of length 1, then the bias."""
    return with_bias(unit(pixels.reshape(len(pixels), math.prod(pixels.shape[1:]))))


def unit(rows: Pixels) -> Pixels:
    """Each row minus its own mean, divided by its own length; a constant row becomes zero."""
    centred = rows - rows.mean(axis=1, keepdims=True)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    scaled = np.where(length > 1e-6, centred / np.maximum(length, 1e-6), 0)
    return np.asarray(scaled, dtype=np.float32)


def with_bias(rows: Pixels, bias: float = BIAS) -> Pixels:
    return np.concatenate([rows, np.full((len(rows), 1), bias, dtype=np.float32)], axis=1)


def _pooled(pixels: Pixels) -> Pixels:
    count, height, width = pixels.shape
    blocks = pixels.reshape(count, height // POOL, POOL, width // POOL, POOL)
    return np.asarray(blocks.mean(axis=(2, 4)).reshape(count, -1), dtype=np.float32)


def _histograms(pixels: Pixels) -> Pixels:
    """(N, H, W, C) → square roots of gradient magnitude summed per cell and orientation, (N, cells·BINS).

    A gradient between two bin centres is shared between them, and the root keeps strong strokes
    from drowning weak ones; together worth about 2.5 points on MNIST at epsilon 8.
    """
    count, height, width = pixels.shape[:3]
    cells = np.empty((count, height // CELL, width // CELL, BINS), dtype=np.float32)
    for bin_, share in enumerate(orientations(pixels, BINS)):
        blocks = share.reshape(count, height // CELL, CELL, width // CELL, CELL)
        cells[..., bin_] = blocks.sum(axis=(2, 4))
    return np.sqrt(cells).reshape(count, -1)


def orientations(pixels: Pixels, bins: int) -> Iterator[NDArray[Any]]:
    """(N, H, W, C) → for each of `bins` orientations in half a turn, how much of a gradient has it, (N, H, W)."""
    padded = np.pad(pixels, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    right = padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]
    down = padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]
    longest = np.hypot(right, down).argmax(axis=3, keepdims=True)
    right, down = (np.take_along_axis(each, longest, axis=3)[..., 0] for each in (right, down))
    magnitude = np.hypot(right, down)
    # Some processors are several roundings off in float32, which the root makes 3e-4; in float64 all agree.
    angle = np.arctan2(down, right, dtype=np.float64).astype(pixels.dtype)
    turn = np.mod(angle, np.pi) / np.pi * bins  # 0..bins
    lower = np.floor(turn)
    share = turn - lower
    first = lower.astype(np.int64) % bins
    for bin_ in range(bins):
        weight = (first == bin_) * (1 - share) + ((first + 1) % bins == bin_) * share
        yield magnitude * weight
