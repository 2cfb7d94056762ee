"""Boxes in pictures as plain numbers: overlap, and what is left of a network's many candidates.

A detection is a row (class, score, x1, y1, x2, y2), corners in pixels of the picture that the network saw.
"""

import numpy as np
from numpy.typing import NDArray

LEAST_SCORE = 0.01
OVERLAP = 0.45  # of two boxes of one class, above which the one with the lower score goes
MOST = 100  # detections of a picture
MOST_CANDIDATES = 1000  # that are compared with each other; bounds time
COLUMNS = 6

Rows = NDArray[np.float64]


def iou(first: Rows, second: Rows) -> Rows:
    """(n, m): intersection over union of corners (n, 4) and (m, 4); 0 where a box has no area."""
    both = _intersection(first, second)
    whole = _area(first)[:, None] + _area(second)[None] - both
    return np.where(whole > 0, both / np.where(whole > 0, whole, 1), 0)


def covered(first: Rows, second: Rows) -> Rows:
    """(n, m): which share of each of `first` lies in each of `second`."""
    area = _area(first)[:, None]
    return np.where(area > 0, _intersection(first, second) / np.where(area > 0, area, 1), 0)


def detections(output: NDArray[np.float32], side: int) -> Rows:
    """What a network of the YOLO family found in one picture of that side: (D, 6), the surest first.

    `output` (N, 5 + C): centre, width and height in pixels, then logits of an object and of each class.
    What is not finite is no detection. Of boxes that overlap, the best of each class stays (greedy
    non-maximum suppression).
    """
    rows = np.asarray(output, np.float64)
    rows = rows[np.isfinite(rows).all(axis=1)]
    score = _sigmoid(rows[:, 4:5]) * _sigmoid(rows[:, 5:])
    at, kinds = np.nonzero(score > LEAST_SCORE)
    order = np.argsort(-score[at, kinds], kind="stable")[:MOST_CANDIDATES]
    at, kinds = at[order], kinds[order]
    half = rows[at, 2:4] / 2
    corners = np.concatenate([rows[at, :2] - half, rows[at, :2] + half], axis=1).clip(0, side)
    found = np.concatenate([kinds[:, None], score[at, kinds][:, None], corners], axis=1)
    return found[_best(corners, kinds)]


def _best(corners: Rows, kinds: NDArray[np.intp]) -> NDArray[np.int64]:
    """Places of those that stay, of boxes in falling order of their scores."""
    rivals = (iou(corners, corners) > OVERLAP) & (kinds[:, None] == kinds[None])
    left = np.ones(len(corners), np.bool_)
    kept: list[int] = []
    for at in range(len(corners)):
        if left[at]:
            kept.append(at)
            left &= ~rivals[at]
        if len(kept) == MOST:
            break
    return np.array(kept, np.int64)


def _intersection(first: Rows, second: Rows) -> Rows:
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    sides = (high - low).clip(min=0)
    return np.asarray(sides[..., 0] * sides[..., 1])


def _area(corners: Rows) -> Rows:
    sides = (corners[:, 2:] - corners[:, :2]).clip(min=0)
    return np.asarray(sides[:, 0] * sides[:, 1])


def _sigmoid(logits: Rows) -> Rows:
    return np.asarray(1 / (1 + np.exp(-logits.clip(-500, 500))))
