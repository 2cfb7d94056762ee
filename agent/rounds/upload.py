"""From the noisy update to the integer vector that will be masked. Nothing leaves the device here."""

import numpy as np
from numpy.typing import NDArray

from edgeveil.shared.secagg.primitives.parameters import Params
from edgeveil.shared.vector.quantization import beyond_reach, quantise


def declared_weight(params: Params, n_ref: int) -> int:
    """What this device weighs in the sum: its declared size, or 1 where the plan lets all count alike."""
    return n_ref if params.weight_max > 1 else 1


def vector_lanes(update: NDArray[np.float32], params: Params, n_ref: int) -> NDArray[np.int64]:
    """The weight, then weight · update rounded stochastically to the plan's step; int64 (params.lanes,).

    By n_ref, what is rounded is the sum of the clipped and noised gradients at the plan's rate: n_ref,
    by which every step was divided, is gone, so its noise and what one record adds do not follow from
    n_ref (docs/design.md, "Privacy").

    Raises ValueError-like errors of shared.vector.quantization when a value is not finite.
    """
    _, values = params.segments
    weight = declared_weight(params, n_ref)
    lanes = np.empty(params.lanes, dtype=np.int64)
    lanes[0] = weight
    lanes[1:] = quantise(update, values, weight=weight)
    return lanes


def saturated(update: NDArray[np.float32], params: Params, n_ref: int) -> int:
    """How many values lie beyond the quantiser's reach and will be clipped; never sent."""
    return beyond_reach(update, params.segments[1], weight=declared_weight(params, n_ref))


def to_blob(update: NDArray[np.float32]) -> bytes:
    """What the ledger seals: the update as little-endian float32."""
    return update.astype("<f4", copy=False).tobytes()


def from_blob(blob: bytes) -> NDArray[np.float32]:
    return np.frombuffer(blob, dtype="<f4").astype(np.float32)
