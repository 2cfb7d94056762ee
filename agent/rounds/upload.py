"""From the noisy update to the integer vector that will be masked. Nothing leaves the device here."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edgeveil.shared.base.errors import PolicyRefusal, RefusalCode
from edgeveil.shared.privacy.shared_noise import rounded_sensitivity
from edgeveil.shared.privacy.whole_updates import APART
from edgeveil.shared.secagg.primitives.parameters import Params
from edgeveil.shared.vector.integer_noise import discrete_gaussian
from edgeveil.shared.vector.quantization import beyond_reach, quantise
from edgeveil.shared.wire.plan import TrainingPlan

NOISE_REACH = (
    9  # standard deviations of a share that are kept free; one in 10^18 lies beyond, and wraps
)


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


def clip_in_lanes(plan: TrainingPlan, params: Params, n_ref: int) -> float:
    """By how much what is protected moves what is rounded, in units of a lane.

    One record by its gradient of norm C at the plan's rate; all records together by two updates of norm C.
    """
    if plan.whole:
        return APART * plan.clip_norm / params.segments[1].step
    weight = declared_weight(params, n_ref)
    moved = plan.learning_rate * plan.clip_norm * weight / (plan.sample_rate * n_ref)
    return moved / params.segments[1].step


def check_share(plan: TrainingPlan, params: Params, n_ref: int) -> None:
    """Integer noise, a share or all of it, is as wide as the plan's noise_multiplier says, rounding counted
    (docs/privacy.md).

    Raises:
        PolicyRefusal: POLICY_VECTOR.
    """
    values = params.segments[1]
    if plan.whole and params.weight_max > 1:
        raise PolicyRefusal(
            RefusalCode.POLICY_VECTOR,
            "a whole update counts once, and the offer weighs devices by their size",
        )
    sensitivity = rounded_sensitivity(clip_in_lanes(plan, params, n_ref), values.count)
    scale = 1 << plan.noise_bits
    if scale < plan.noise_multiplier * sensitivity:
        raise PolicyRefusal(
            RefusalCode.POLICY_VECTOR,
            f"{'a share' if plan.shared_noise else 'noise'} of scale {scale} is less than noise_multiplier "
            f"{plan.noise_multiplier} times the {sensitivity:.6g} lanes by which "
            f"{'all records together' if plan.whole else 'one record'} can move the rounded update",
        )
    if values.bound <= NOISE_REACH * scale:
        raise PolicyRefusal(
            RefusalCode.POLICY_VECTOR,
            f"lanes up to {values.bound} leave no room for an update beside noise of scale {scale}",
        )


def shared_lanes(
    sums: NDArray[np.float64], plan: TrainingPlan, params: Params, n_ref: int
) -> tuple[NDArray[np.int64], int]:
    """(a descent step along the summed gradients, rounded, with a share of the noise; how many were clipped).

    int64 (d,): lr/q · weight/n_ref times `sums`, float64 (d,). Noise comes last and nothing touches it.
    """
    factor = -plan.learning_rate * declared_weight(params, n_ref) / (plan.sample_rate * n_ref)
    return noised_lanes(sums * factor, plan, params)


def noised_lanes(
    update: NDArray[np.float32] | NDArray[np.float64], plan: TrainingPlan, params: Params
) -> tuple[NDArray[np.int64], int]:
    """(the update, float (d,), rounded and with the noise that is this device's, int64 (d,); how many were clipped)."""
    values = params.segments[1]
    room = replace(values, bound=values.bound - NOISE_REACH * (1 << plan.noise_bits))
    rounded = quantise(update, room)
    return rounded + discrete_gaussian(values.count, plan.noise_bits), beyond_reach(update, room)


def sealed_lanes(lanes: NDArray[np.int64]) -> bytes:
    """What the ledger seals where noise is integers: these with it, modulo 2^32, little-endian."""
    return lanes.astype("<i4").tobytes()


def lanes_again(blob: bytes, params: Params, n_ref: int) -> NDArray[np.int64]:
    """The weight, then the sealed integers; int64 (params.lanes,)."""
    lanes = np.empty(params.lanes, dtype=np.int64)
    lanes[0] = declared_weight(params, n_ref)
    lanes[1:] = np.frombuffer(blob, dtype="<i4")
    return lanes


def saturated(update: NDArray[np.float32], params: Params, n_ref: int) -> int:
    """How many values lie beyond the quantiser's reach and will be clipped; never sent."""
    return beyond_reach(update, params.segments[1], weight=declared_weight(params, n_ref))


def to_blob(update: NDArray[np.float32]) -> bytes:
    """What the ledger seals: the update as little-endian float32."""
    return update.astype("<f4", copy=False).tobytes()


def from_blob(blob: bytes) -> NDArray[np.float32]:
    return np.frombuffer(blob, dtype="<f4").astype(np.float32)
