"""What the frozen network makes of pictures: 1,280 numbers each, square roots of means, of length 1 together.

The root keeps a few strong channels from drowning the rest. On a processor pictures go through the
network one by one, on an accelerator in batches of a fixed size, so that what comes out for one picture
does not depend on how many others there are.
"""

import io
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from edgeveil.shared.tasks.backbone.asset import NUMBERS, read_weights
from edgeveil.shared.tasks.backbone.network import Trunk
from edgeveil.shared.terminal.progress import Step, silent

BATCH = 32  # on an accelerator


def embed(
    pixels: NDArray[np.float32], device: str = "cpu", step: Step = silent
) -> NDArray[np.float32]:
    """(N, S, S, 3) in 0..1 → (N, NUMBERS), each of length 1. Raises NotInstalled."""
    network = _network(device)
    result = np.empty((len(pixels), NUMBERS), dtype=np.float32)
    each = 1 if device == "cpu" else BATCH
    with torch.inference_mode():
        for at in range(0, len(pixels), each):
            part = torch.from_numpy(pixels[at : at + each])
            count = len(part)
            if count < each:
                part = torch.cat([part, part.new_zeros((each - count, *part.shape[1:]))])
            found = network(_prepared(part.to(device)))
            rooted = functional.normalize(found.clamp(min=0).sqrt(), dim=1)
            result[at : at + count] = rooted[:count].cpu().numpy()
            step(count)
    return result


def _prepared(pixels: torch.Tensor) -> torch.Tensor:
    """(B, S, S, 3) in 0..1 as the network was trained to see them: (x − 127) / 128 of bytes, (B, 3, S, S)."""
    return (pixels.permute(0, 3, 1, 2) * 255 - 127) / 128  # channels last, as the weights are


@lru_cache(maxsize=1)
def _network(device: str) -> Trunk:
    weights = torch.load(io.BytesIO(read_weights()), map_location="cpu", weights_only=True)
    return Trunk(weights).to(device)
