"""What the frozen network makes of pictures, as one module that an exporter can write into a graph.

The same numbers as edgeveil.shared.tasks.backbone.embedding, with padding written as rows and columns of zeros, since
graphs of packages hold no operator that can make much of little (edgeveil.shared.models.graph).
"""

import io

import torch
from torch import nn

from edgeveil.shared.tasks.backbone.asset import BIAS, read_weights
from edgeveil.shared.tasks.backbone.network import Trunk


class Embedding(nn.Module):
    """(n, S, S, 3) in 0..1 → (n, NUMBERS + 1), the bias last. Raises NotInstalled without the weights."""

    def __init__(self) -> None:
        super().__init__()
        weights = torch.load(io.BytesIO(read_weights()), map_location="cpu", weights_only=True)
        self.trunk = Trunk(weights, padded)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        found = self.trunk((pixels.permute(0, 3, 1, 2) * 255 - 127) / 128)
        rooted = found.clamp(min=0).sqrt()
        rooted = rooted / (rooted * rooted).sum(dim=1, keepdim=True).sqrt().clamp(min=1e-12)
        return torch.cat([rooted, rooted.narrow(1, 0, 1) * 0 + BIAS], dim=1)


def padded(values: torch.Tensor, before: int, after: int) -> torch.Tensor:
    """(B, C, H, W) with so many zeros before and after, along both sides."""
    for axis in (2, 3):
        zeros = values.narrow(axis, 0, max(before, after)) * 0
        parts = [zeros.narrow(axis, 0, before), values, zeros.narrow(axis, 0, after)]
        values = torch.cat([part for part in parts if part.shape[axis]], dim=axis)
    return values
