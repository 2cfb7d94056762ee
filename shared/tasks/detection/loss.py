"""One loss per picture: where boxes are, whether there is an object, of which class.

Which rows of the output answer for a box depends on that box and the public grid alone: the anchor most
like it in the cell of its centre, and in that cell and the two nearest every anchor whose sides differ by less
than RATIO. Sums are over a picture's own boxes and divided by a constant: a mean over the boxes of a batch
would make records depend on each other.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgeveil.shared.tasks.detection.geometry import ciou_loss, classic_loss, iou, shape_iou
from edgeveil.shared.tasks.detection.targets import CIOU, CLASSIC, IGNORED
from edgeveil.shared.tasks.spec import Reduction

RATIO = 2.0  # between an anchor's side and a box's
ALIKE = 0.6  # a row whose box overlaps an object by more is not told that there is none
BOX_WEIGHT, NOTHING_WEIGHT = 2.0, 0.5
SCALE = 3.0  # the sum is divided by it
CELLS = 3  # a box's own cell and the nearest beside it, across and down


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """`stride`, `side` and `offset` (A,) of each anchor's plane of rows; `anchors` (A, 2)."""

    stride: Tensor
    side: Tensor
    offset: Tensor
    anchors: Tensor
    classic: bool

    @classmethod
    def of(cls, rows: Tensor) -> "Grid":
        """Of the rows (A, 5) of any target."""
        side = rows[:, 2].long()
        cells = side * side
        return cls(
            rows[:, 1], side, cells.cumsum(0) - cells, rows[:, 3:5], bool((rows[:, 0] == CLASSIC).any())
        )  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Assigned:
    """Of each box, (B, M · A · CELLS): the row of the output, and how much it counts; 0 for none."""

    rows: Tensor
    weight: Tensor


class DetectionLoss(nn.Module):
    """Outputs (B, N, 5 + C) and targets (edgeveil.shared.tasks.detection.targets)."""

    def __init__(self, reduction: Reduction) -> None:
        super().__init__()
        self.reduction = reduction

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        each = _losses(outputs, targets) if len(outputs) else outputs.sum(dim=(1, 2))
        if self.reduction == "none":
            return each
        return each.mean() if self.reduction == "mean" else each.sum()


def _losses(outputs: Tensor, targets: Tensor) -> Tensor:
    kinds = targets[0, :, 0]
    in_grid = (kinds == CIOU) | (kinds == CLASSIC)
    grid, boxes = Grid.of(targets[0, in_grid]), targets[:, ~in_grid]
    there, ignored = boxes[..., 0] >= 0, boxes[..., 0] <= IGNORED
    corners = torch.where((there | ignored)[..., None], boxes[..., 1:], boxes.new_tensor([0.0, 0, 1, 1]))  # fmt: skip
    found = assign(corners, there, grid)
    parts = _positive(outputs, boxes[..., 0], corners, found, grid)
    return (parts + NOTHING_WEIGHT * _nothing(outputs, corners, there | ignored, found)) / SCALE


def assign(corners: Tensor, there: Tensor, grid: Grid) -> Assigned:
    """Boxes (B, M, 4) as corners; `there` (B, M)."""
    size = (corners[..., 2:] - corners[..., :2]).clamp(min=1e-3)
    centre = (corners[..., :2] + corners[..., 2:]) / 2
    ratio = size[..., None, :] / grid.anchors  # (B, M, A, 2)
    near = torch.maximum(ratio, 1 / ratio).amax(dim=3) < RATIO
    best = functional.one_hot(shape_iou(size, grid.anchors).argmax(dim=2), len(grid.anchors)) > 0
    place = centre[..., None, :] / grid.stride[:, None]  # (B, M, A, 2), in cells
    most = (grid.side - 1)[:, None]
    cell = place.floor().long().clamp(min=0).minimum(most)
    step = torch.where(place - cell < 0.5, -1, 1)  # towards the nearest cell beside it
    columns = torch.stack((cell[..., 0], cell[..., 0] + step[..., 0], cell[..., 0]), dim=3)
    lines = torch.stack((cell[..., 1], cell[..., 1], cell[..., 1] + step[..., 1]), dim=3)
    inside = (columns >= 0) & (columns <= most) & (lines >= 0) & (lines <= most)
    asked = torch.stack((best | near, near, near), dim=3) & inside & there[..., None, None]
    rows = grid.offset[:, None] + lines * grid.side[:, None] + columns
    asked, rows = asked.flatten(2), rows.flatten(2)  # (B, M, A · CELLS)
    share = asked.sum(dim=2, keepdim=True).clamp(min=1).sqrt()
    weight = asked.to(corners.dtype) / share
    return Assigned((rows * asked).flatten(1), weight.flatten(1))


def _positive(outputs: Tensor, kinds: Tensor, corners: Tensor, found: Assigned, grid: Grid) -> Tensor:  # fmt: skip
    """(B,): the rows that answer for a box."""
    each = found.rows.shape[1] // kinds.shape[1]
    rows = outputs.gather(1, found.rows[..., None].expand(-1, -1, outputs.shape[2]))
    wanted = corners.repeat_interleave(each, dim=1)
    classes = functional.one_hot(kinds.clamp(min=0).long(), outputs.shape[2] - 5)
    classes = classes.to(rows.dtype).repeat_interleave(each, dim=1)
    if grid.classic:
        stride = grid.stride.repeat_interleave(CELLS).repeat(kinds.shape[1])
        place, sure = classic_loss(rows[..., :4], wanted, stride), torch.ones_like(rows[..., 4])
    else:
        place, sure = ciou_loss(rows[..., :4], wanted)
    object_ = functional.binary_cross_entropy_with_logits(rows[..., 4], sure, reduction="none")
    kind = functional.binary_cross_entropy_with_logits(rows[..., 5:], classes, reduction="none")
    parts = BOX_WEIGHT * place + object_ + kind.sum(dim=2)
    return torch.where(found.weight > 0, parts * found.weight, 0.0).sum(dim=1)


def _nothing(outputs: Tensor, corners: Tensor, known: Tensor, found: Assigned) -> Tensor:
    """(B,): the rows that answer for no box, but for those that lie on one."""
    with torch.no_grad():
        overlap = iou(outputs[..., :4], corners) * known[:, None]
        on_one = overlap.amax(dim=2) > ALIKE
        taken = torch.zeros_like(outputs[..., 4]).scatter_reduce(
            1, found.rows, found.weight, "amax"
        )
        free = ~on_one & (taken == 0)
    nothing = functional.softplus(outputs[..., 4])
    return torch.where(free, nothing, 0.0).sum(dim=1)
