"""One loss per picture for both stages: sums over its own anchors, proposals and boxes, never over a batch's.

Nothing is drawn: of what shows nothing the most mistaken count, three for each that shows something.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import box_iou

from edgeveil.shared.tasks.detection.targets import IGNORED
from edgeveil.shared.tasks.detection.two_stage.network import FOUND, PROPOSED, Look
from edgeveil.shared.tasks.spec import Reduction

LIKE, UNLIKE = (
    0.5,
    0.3,
)  # overlap of an anchor with a box from which it shows it, up to which it shows none
SHOWS = 0.5  # the same of a proposal
HARD, LEAST = 3, 16  # of those that show nothing: for each that does, and at least
BETA = 1 / 9  # where an error of place turns from squared to absolute


class TwoStageLoss(nn.Module):
    """Outputs: a list of Look; targets (B, M, 5), as edgeveil.shared.tasks.detection.targets, without a grid."""

    def __init__(self, reduction: Reduction) -> None:
        super().__init__()
        self.reduction = reduction

    def forward(self, outputs: list[Look], targets: Tensor) -> Tensor:
        each = [_loss(look, target) for look, target in zip(outputs, targets, strict=True)]
        found = torch.stack(each) if each else targets.new_zeros(0, requires_grad=True)
        if self.reduction == "none":
            return found
        return found.mean() if self.reduction == "mean" else found.sum()


def _loss(look: Look, target: Tensor) -> Tensor:
    boxes, ignored = target[target[:, 0] >= 0], target[target[:, 0] <= IGNORED]
    return _first(look, boxes, ignored) + _second(look, boxes, ignored)


def _first(look: Look, boxes: Tensor, ignored: Tensor) -> Tensor:
    """Whether something is there, and where."""
    overlap, which = _best(look.anchors, boxes)
    shows = overlap >= LIKE
    if len(boxes):
        best = box_iou(look.anchors, boxes[:, 1:]).max(dim=0)
        shows[best.indices[best.values > 0]] = True  # the best of each box, if poor
    free = (overlap < UNLIKE) & ~shows & ~_on(look.anchors, ignored)
    wrong = functional.binary_cross_entropy_with_logits(look.there, shows.to(look.there.dtype), reduction="none")  # fmt: skip
    place = _place(PROPOSED, look.moved[shows], look.anchors[shows], boxes[which[shows]])
    return _judged(wrong, shows, free, place)


def _second(look: Look, boxes: Tensor, ignored: Tensor) -> Tensor:
    """Of which class, and where exactly."""
    overlap, which = _best(look.proposals, boxes)
    shows = overlap >= SHOWS
    kinds = torch.zeros_like(which)
    kinds[shows] = 1 + boxes[which[shows], 0].long()
    wrong = functional.cross_entropy(look.logits, kinds, reduction="none")
    free = ~shows & ~_on(look.proposals, ignored)
    place = _place(FOUND, look.shifts[shows], look.proposals[shows], boxes[which[shows]])
    return _judged(wrong, shows, free, place)


def _best(rows: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """(R,): the largest overlap with a box, and which box; 0 and 0 without boxes."""
    if not len(boxes):
        return rows.new_zeros(len(rows)), rows.new_zeros(len(rows), dtype=torch.long)
    found = box_iou(rows, boxes[:, 1:]).max(dim=1)
    return found.values, found.indices


def _on(rows: Tensor, ignored: Tensor) -> Tensor:
    """(R,): whether a row lies on something that is neither to be found nor wrong if found."""
    return _best(rows, ignored)[0] >= UNLIKE


def _judged(wrong: Tensor, shows: Tensor, free: Tensor, place: Tensor) -> Tensor:
    """The mean over those that show something, by what and where, and the worst of those that show nothing."""
    count = int(shows.sum())
    worst = min(int(free.sum()), max(LEAST, HARD * count))
    nothing = torch.where(free, wrong, wrong * 0).topk(worst).values
    return ((wrong * shows).sum() + place + nothing.sum()) / max(1, count + worst)


def _place(coder: Any, moved: Tensor, rows: Tensor, wanted: Tensor) -> Tensor:
    """The errors of rows (K, 4), moved (K, 4), against the boxes (K, 5) that they show, summed."""
    return functional.smooth_l1_loss(moved, coder.encode_single(wanted[:, 1:], rows), beta=BETA, reduction="sum")  # fmt: skip
