"""Boxes against boxes: overlap, and how far a predicted one is from where it belongs."""

import math

import torch
from torch import Tensor

FLOOR = 1e-7


def corners(rows: Tensor) -> Tensor:
    """(…, 4) centre and sides → (…, 4) x1, y1, x2, y2."""
    half = rows[..., 2:4] / 2
    return torch.cat((rows[..., :2] - half, rows[..., :2] + half), dim=-1)


def iou(rows: Tensor, boxes: Tensor) -> Tensor:
    """(B, N, M): overlap of rows (B, N, 4), centre and sides, with boxes (B, M, 4), corners."""
    mine = corners(rows)[:, :, None]
    low = torch.maximum(mine[..., :2], boxes[:, None, :, :2])
    high = torch.minimum(mine[..., 2:], boxes[:, None, :, 2:])
    both = (high - low).clamp(min=0).prod(dim=3)
    own = (rows[..., 2] * rows[..., 3])[:, :, None]
    other = (boxes[..., 2:] - boxes[..., :2]).prod(dim=2)[:, None]
    return both / (own + other - both + FLOOR)


def shape_iou(size: Tensor, anchors: Tensor) -> Tensor:
    """(B, M, A): overlap of sides (B, M, 2) and anchors (A, 2) that are laid on one corner."""
    both = torch.minimum(size[..., None, :], anchors).prod(dim=3)
    return both / (size.prod(dim=2)[..., None] + anchors.prod(dim=1) - both + FLOOR)


def ciou_loss(rows: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """1 - CIoU of rows (B, K, 4), centre and sides, with corners (B, K, 4), and their IoU without gradient.

    Zheng et al. 2020, arXiv 1911.08287, equations 7 to 11.
    """
    mine = corners(rows)
    side = wanted[..., 2:] - wanted[..., :2]
    middle = (wanted[..., 2:] + wanted[..., :2]) / 2
    low, high = torch.maximum(mine[..., :2], wanted[..., :2]), torch.minimum(mine[..., 2:], wanted[..., 2:])  # fmt: skip
    both = (high - low).clamp(min=0).prod(dim=2)
    overlap = both / (rows[..., 2:4].prod(dim=2) + side.prod(dim=2) - both + FLOOR)
    hull = torch.maximum(mine[..., 2:], wanted[..., 2:]) - torch.minimum(mine[..., :2], wanted[..., :2])  # fmt: skip
    away = (rows[..., :2] - middle).square().sum(dim=2) / (hull.square().sum(dim=2) + FLOOR)
    angle = _angle(side) - _angle(rows[..., 2:4])
    shape = 4 / math.pi**2 * angle.square()
    with torch.no_grad():
        weight = shape / (1 - overlap + shape + FLOOR)
    return 1 - (overlap - away - weight * shape), overlap.detach().clamp(0, 1)


def _angle(side: Tensor) -> Tensor:
    return torch.atan(side[..., 0] / (side[..., 1] + FLOOR))


def classic_loss(rows: Tensor, wanted: Tensor, stride: Tensor) -> Tensor:
    """Squared errors of the centre in cells and of the sides' logarithms, (B, K); `stride` (K,)."""
    middle = (wanted[..., 2:] + wanted[..., :2]) / 2
    side = (wanted[..., 2:] - wanted[..., :2]).clamp(min=FLOOR)
    place = ((rows[..., :2] - middle) / stride[:, None]).square()
    size = (rows[..., 2:4].clamp(min=1e-3) / side).log().square()
    return (place + size).sum(dim=2)
