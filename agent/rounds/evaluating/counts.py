"""From the tally of the held-out records to the integers that are masked, with this device's noise in them."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edgeveil.shared.base.errors import PolicyRefusal, RefusalCode
from edgeveil.shared.privacy.shared_noise import rounded_sensitivity
from edgeveil.shared.scores.noisy.released import Released
from edgeveil.shared.secagg.primitives.parameters import SIGNED, UNSIGNED, WEIGHT, Params, Segment
from edgeveil.shared.vector.integer_noise import discrete_gaussian
from edgeveil.shared.vector.quantization import TALLY, quantise
from edgeveil.shared.wire.plan import EvaluationPlan

NOISE_REACH = 9  # standard deviations that are kept free; one draw in 10^18 lies beyond

Counts = NDArray[np.int64]


def check_counts(plan: EvaluationPlan, params: Params, released: Released) -> None:
    """What is asked for is what this task sums, no finer, with as much noise as the plan says.

    Raises:
        PolicyRefusal: POLICY_VECTOR.
    """
    form = released.form
    layout = [(item.name, item.kind, item.count, item.limbs) for item in params.segments]
    expected = [(WEIGHT, UNSIGNED, 1, 1), (TALLY, SIGNED, form.length, 1)]
    if layout != expected or params.weight_max != 1:
        raise _refused(f"the vector of an evaluation must be {expected}, the offer has {layout}")
    if plan.sensitivity != form.bound:
        raise _refused(
            f"one record moves this tally by {form.bound!r}, the plan says {plan.sensitivity!r}"
        )
    segment, scale = params.segments[1], 1 << plan.noise_bits
    moved = sensitivity(segment, form.bound)
    if scale < plan.noise_multiplier * moved:
        raise _refused(
            f"noise of scale {scale} is less than noise_multiplier {plan.noise_multiplier} times the "
            f"{moved:.6g} lanes by which one record can move the counts"
        )
    if segment.bound <= NOISE_REACH * scale:
        raise _refused(
            f"lanes up to {segment.bound} leave no room for counts beside noise of scale {scale}"
        )


def sensitivity(segment: Segment, bound: float) -> float:
    """L2, in lanes: whole multiples of counts are not rounded, anything else moves by up to √cells more."""
    multiple = whole_multiple(segment)
    if multiple:
        return multiple * bound
    return rounded_sensitivity(bound / segment.step, segment.count)


def whole_multiple(segment: Segment) -> int:
    """How many lanes one of a count is, where that is a whole number; else 0."""
    multiple = round(1 / segment.step) if segment.step <= 1 else 0
    return multiple if multiple and segment.step == 1 / multiple else 0


def noisy_lanes(counts: Counts, plan: EvaluationPlan, params: Params) -> Counts:
    """int64 (cells,): the counts in lanes, then noise, and nothing after it but a range where it is all of it."""
    segment = params.segments[1]
    room = replace(segment, bound=segment.bound - NOISE_REACH * (1 << plan.noise_bits))
    multiple = whole_multiple(segment)
    if multiple:
        most = room.bound // multiple
        lanes = np.clip(counts, -most, most) * multiple
    else:
        lanes = quantise(counts.astype(np.float64), room)
    lanes = lanes + discrete_gaussian(segment.count, plan.noise_bits)
    # The law of a share must not be touched; a device's own noise may be cut like any result.
    return lanes if plan.shared_noise else np.clip(lanes, -segment.bound, segment.bound)


def sealed(lanes: Counts) -> bytes:
    """What the ledger seals: the integers, modulo 2^32, little-endian."""
    return lanes.astype("<i4").tobytes()


def unsealed(blob: bytes) -> Counts:
    """A weight of 1, which tells nothing, then the sealed integers; int64 (lanes,)."""
    return np.concatenate([np.ones(1, np.int64), np.frombuffer(blob, "<i4").astype(np.int64)])


def _refused(why: str) -> PolicyRefusal:
    return PolicyRefusal(RefusalCode.POLICY_VECTOR, why)
