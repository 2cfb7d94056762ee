"""A picture and its boxes as they might have been as well: mirrored, nearer, moved, brighter.

What happens to a record follows from its own draws alone. Pictures are never mixed with each other, as
mosaics do: then one record would stand in several, and its gradient would no longer be one record's.
"""

import torch
from torch import Tensor
from torch.nn import functional

from edgeveil.shared.tasks.detection.targets import IGNORED, NONE

GREY = 114 / 255  # beyond the picture, as in its margins
ZOOM, SHIFT, BRIGHTNESS, TINT = 0.25, 0.12, 0.35, 0.1  # logarithm, share of a side, logarithms
LEAST_LEFT = 0.35  # of a box, to be still one
DRAWS = 8  # numbers of a record


def augmented(images: Tensor, targets: Tensor, draws: Tensor) -> tuple[Tensor, Tensor]:
    """Pictures (B, 3, S, S) in 0..1 and their targets, another version of each; `draws` (B, DRAWS) in [0, 1)."""
    mirror = torch.where(draws[:, 0] < 0.5, -1.0, 1.0)
    zoom = (ZOOM * (2 * draws[:, 1] - 1)).exp()
    shift = SHIFT * 2 * (2 * draws[:, 2:4] - 1)  # of half a side
    light = (BRIGHTNESS * (2 * draws[:, 4:5] - 1) + TINT * (2 * draws[:, 5:8] - 1)).exp()
    seen = _moved(images, mirror, zoom, shift)
    return (seen * light[:, :, None, None]).clamp(0, 1), _moved_boxes(
        targets, images.shape[-1], mirror, zoom, shift
    )


def _moved(images: Tensor, mirror: Tensor, zoom: Tensor, shift: Tensor) -> Tensor:
    """Where each pixel comes from: (place - shift) / zoom, mirrored; in -1..1 of the sides."""
    theta = images.new_zeros(len(images), 2, 3)
    theta[:, 0, 0], theta[:, 1, 1] = mirror / zoom, 1 / zoom
    theta[:, 0, 2] = -shift[:, 0] * mirror / zoom
    theta[:, 1, 2] = -shift[:, 1] / zoom
    grid = functional.affine_grid(theta, list(images.shape), align_corners=False)
    return functional.grid_sample(images - GREY, grid, align_corners=False) + GREY


def _moved_boxes(targets: Tensor, side: int, mirror: Tensor, zoom: Tensor, shift: Tensor) -> Tensor:  # fmt: skip
    kinds = targets[..., 0]
    boxes = (kinds >= 0) | (kinds <= IGNORED)
    half = side / 2
    x, y = targets[..., [1, 3]] / half - 1, targets[..., [2, 4]] / half - 1
    x = (x * (mirror * zoom)[:, None, None] + shift[:, 0, None, None]).sort(dim=2).values
    y = y * zoom[:, None, None] + shift[:, 1, None, None]
    whole = (x[..., 1] - x[..., 0]) * (y[..., 1] - y[..., 0])
    x, y = x.clamp(-1, 1), y.clamp(-1, 1)
    left = (x[..., 1] - x[..., 0]) * (y[..., 1] - y[..., 0])
    gone = boxes & (left < LEAST_LEFT * whole)
    rows = torch.stack((kinds, x[..., 0], y[..., 0], x[..., 1], y[..., 1]), dim=2)
    rows[..., 1:] = (rows[..., 1:] + 1) * half
    rows[gone] = rows.new_tensor([NONE, 0.0, 0.0, 0.0, 0.0])
    return torch.where(boxes[..., None], rows, targets)
