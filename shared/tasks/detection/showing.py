"""A picture with what is in it and what a detector found, as an evaluation shows it."""

import torch

from edgeveil.shared.data.boxes.fitting import truths
from edgeveil.shared.data.boxes.sights import Drawn, Sight
from edgeveil.shared.scores.boxes import Rows
from edgeveil.shared.scores.detection import SHOWN_AT


def sight(image: torch.Tensor, target: torch.Tensor, found: Rows, names: tuple[str, ...]) -> Sight:
    """Of a picture (3, S, S) in 0..1: its boxes, and detections (D, 6) of a score of at least SHOWN_AT."""
    pixels = (image.permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
    known, ignored = truths(target.numpy())
    there = [
        Drawn(names[int(kind)], (x1, y1, x2, y2), int(kind))
        for kind, x1, y1, x2, y2 in known[~ignored].tolist()
    ]
    seen = [
        Drawn(f"{names[int(kind)]} {score:.2f}", (x1, y1, x2, y2), int(kind))
        for kind, score, x1, y1, x2, y2 in found[::-1].tolist()  # the surest on top
        if score >= SHOWN_AT
    ]
    return Sight(pixels, tuple(there), tuple(seen))
