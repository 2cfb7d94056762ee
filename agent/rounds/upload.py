"""From the noisy update to the integer vector that will be masked. Nothing leaves the device here."""

import numpy as np
from numpy.typing import NDArray

from edgeveil.shared.secagg.primitives.parameters import Params
from edgeveil.shared.vector.quantization import beyond_reach, quantise


def vector_lanes(update: NDArray[np.float32], params: Params) -> NDArray[np.int64]:
    """Weight 1, then the update rounded stochastically to the plan's step; int64 (params.lanes,).

    Raises ValueError-like errors of shared.vector.quantization when a value is not finite.
    """
    weight, values = params.segments
    lanes = np.empty(params.lanes, dtype=np.int64)
    lanes[: weight.count] = 1
    lanes[weight.count :] = quantise(update, values)
    return lanes


def saturated(update: NDArray[np.float32], params: Params) -> int:
    """How many values lie beyond the quantiser's reach and will be clipped; never sent."""
    return beyond_reach(update, params.segments[1])


def to_blob(update: NDArray[np.float32]) -> bytes:
    """What the ledger seals: the update as little-endian float32."""
    return update.astype("<f4", copy=False).tobytes()


def from_blob(blob: bytes) -> NDArray[np.float32]:
    return np.frombuffer(blob, dtype="<f4").astype(np.float32)
