"""Block-normalised orientation histograms on two scales: as many numbers for a large picture as for a small one.

Dalal & Triggs (2005), "Histograms of Oriented Gradients": unsigned orientations, cells, overlapping blocks
of 2×2 cells that are brought to length 1 together, so that contrast counts alike everywhere in a picture.
The grids have the same number of cells whatever the size of the picture: 7×7 and 4×4, which are cells of 4
and of 7 pixels at 28×28; a pixel belongs to the cell in which its upper left corner lies. Beside them stand
the means of a grid of 14×14, or of 2×2 pixels where a picture has fewer. So the noise of private training
does not grow with the picture. No parameters, no statistics of any data set, one record at a time.
"""

import math

import numpy as np
from numpy.typing import NDArray

from edgeveil.shared.tasks.features import CHUNK, Pixels, orientations, unit, with_bias

BINS = 9  # orientations in half a turn
GRIDS = (7, 4)  # cells along a side, the finer scale first
BLOCK = 2  # cells along the side of a block; blocks overlap by one
POOLED = 14  # means along a side, at most
SHARE = (
    0.5  # length of the means beside that of the blocks; chosen on Fashion-MNIST's training part
)
FLOOR = 0.1  # beside a block's own length, so that the noise of an even background stays small


def block_feature_count(height: int, width: int, channels: int = 1) -> int:
    """1,817 for grey 28×28, 2,209 in colours, and the same for anything larger."""
    blocks = sum((cells - BLOCK + 1) ** 2 for cells in GRIDS)
    return BINS * BLOCK**2 * blocks + channels * means(height) * means(width) + 1


def block_features(pixels: Pixels) -> Pixels:
    """(N, H, W) or (N, H, W, C) in 0..1 → (N, block_feature_count): blocks, means, bias."""
    planes = pixels[..., np.newaxis] if pixels.ndim == 3 else pixels
    result = np.empty((len(pixels), block_feature_count(*planes.shape[1:])), dtype=np.float32)
    each = max(1, CHUNK * 28 * 28 // (planes.shape[1] * planes.shape[2]))
    for at in range(0, len(pixels), each):
        part = planes[at : at + each]
        shapes = unit(np.concatenate(_blocks(part), axis=1))
        joined = np.concatenate([shapes, SHARE * unit(_pooled(part))], axis=1)
        result[at : at + each] = with_bias((joined / math.hypot(1, SHARE)).astype(np.float32))
    return result


def means(side: int) -> int:
    return min(POOLED, side // 2)


def _blocks(pixels: Pixels) -> list[Pixels]:
    """Of each grid (N, blocks · 4 · BINS)."""
    shares = [share.astype(np.float32) for share in orientations(pixels, BINS)]
    found = []
    for cells in GRIDS:
        histograms = np.stack([_summed(share, cells, cells) for share in shares], axis=3)
        parts = [
            histograms[:, down : cells - 1 + down, right : cells - 1 + right]
            for down in range(BLOCK)
            for right in range(BLOCK)
        ]
        blocks = np.concatenate(parts, axis=3)  # (N, cells - 1, cells - 1, 4 · BINS)
        length = np.linalg.norm(blocks, axis=3, keepdims=True)
        found.append((blocks / (length + FLOOR)).reshape(len(pixels), -1))
    return found


def _pooled(pixels: Pixels) -> Pixels:
    """(N, H, W, C) → (N, means · C), channel by channel."""
    count, height, width, channels = pixels.shape
    rows, columns = means(height), means(width)
    here = np.ones((1, height, width), dtype=np.float32)
    area = _summed(here, rows, columns)
    planes = [_summed(pixels[..., c], rows, columns) / area for c in range(channels)]
    return np.asarray(np.stack(planes, axis=1).reshape(count, -1), dtype=np.float32)


def _summed(values: Pixels, rows: int, columns: int) -> Pixels:
    """(N, H, W) → sums over a grid of so many cells, (N, rows, columns)."""
    down = np.add.reduceat(values, starts(values.shape[1], rows), axis=1)
    return np.asarray(np.add.reduceat(down, starts(values.shape[2], columns), axis=2))


def starts(side: int, cells: int) -> NDArray[np.intp]:
    """The first pixel of each cell; `side` is not below `cells`."""
    return -(-np.arange(cells) * side // cells)
