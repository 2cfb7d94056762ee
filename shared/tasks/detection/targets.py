"""What a record's target holds: its boxes, and the public grid on which the network looks for them.

A target is (boxes_max + anchors, 5): rows (class, x1, y1, x2, y2) in pixels of the picture, NONE in place of a
class where there is no box; IGNORED - class for a box that is neither to be found nor wrong if found. Then
comes one row (GRID, stride, side, width, height) for each anchor, the same in every record: so the loss of
a record is a function of that record's output and target alone, and needs to know no options.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from edgeveil.shared.tasks.detection.options import BoxOptions, DetectionOptions, Scale
from edgeveil.shared.tasks.records import Batch, Rows

NONE = -1
CIOU, CLASSIC = -2, -3  # a row of the grid, and which loss is asked for
IGNORED = -4  # and below
COLUMNS = 5

Boxes = NDArray[np.float32]


def grid(scales: tuple[Scale, ...], loss: str) -> Boxes:
    """(anchors, 5), in the order of the network's rows."""
    code = CLASSIC if loss == "classic" else CIOU
    rows = [
        (code, scale.stride, scale.side, *anchor) for scale in scales for anchor in scale.anchors
    ]
    return np.array(rows, np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Squares:
    """`images` (N, 3, S, S) of 8 bits; `boxes` (N, boxes_max, 5) padded; `grid` (anchors, 5)."""

    images: NDArray[np.uint8]
    boxes: Boxes
    grid: Boxes
    skipped: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.images)

    def take(self, rows: Rows) -> tuple[Batch, Batch]:
        """Pictures (B, 3, S, S) in 0..1 and targets."""
        images = torch.from_numpy(self.images[rows]).float() / 255
        boxes = torch.from_numpy(self.boxes[rows])
        return images, with_grid(boxes, torch.from_numpy(self.grid))


def with_grid(boxes: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
    """Targets of boxes (B, M, 5)."""
    return torch.cat((boxes, grid.expand(len(boxes), *grid.shape)), dim=1)


def probe(
    count: int, random: torch.Generator, options: DetectionOptions
) -> tuple[torch.Tensor, torch.Tensor]:
    """Made-up pictures, each with up to three boxes, and the grid."""
    images, boxes = made_up(count, random, options)
    return images, with_grid(boxes, torch.from_numpy(grid(options.scales, options.loss)))


def made_up(
    count: int, random: torch.Generator, options: BoxOptions
) -> tuple[torch.Tensor, torch.Tensor]:
    """The same pictures (count, 3, S, S), and their boxes (count, boxes_max, 5)."""
    side, classes = options.size, len(options.class_names)
    images = torch.rand((count, 3, side, side), generator=random)
    boxes = torch.zeros(count, options.boxes_max, COLUMNS)
    boxes[..., 0] = NONE
    for at in range(min(3, options.boxes_max)):
        there = torch.rand((count,), generator=random) < (1.0 if at == 0 else 0.6)
        kind = torch.randint(classes, (count,), generator=random).float()
        corner = torch.rand((count, 2), generator=random) * side * 0.6
        size = side * (0.08 + 0.3 * torch.rand((count, 2), generator=random))
        made = torch.cat((kind[:, None], corner, corner + size), dim=1)
        boxes[there, at] = made[there]
    return images, boxes
