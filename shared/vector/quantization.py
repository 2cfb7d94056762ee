"""Real vectors to bounded integers and back, without bias (docs/protocol.md, "The vector").

z = clamp(⌊clip(v, −A, A)/step + u⌋, −q, q) with A = q·step and u uniform in [0, 1): the expected z is
v/step inside the range; a segment's `bound` is q. What has a public weight is multiplied by it before it
is rounded, never after: the step is then as fine for everybody's noise. Uniforms come from AES-256-CTR under a fresh key, never from numpy's generators.
"""

import math
import os
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from edgeveil.shared.base.errors import ConfigError, PolicyRefusal, RefusalCode
from edgeveil.shared.secagg.primitives import mask
from edgeveil.shared.secagg.primitives.parameters import (
    LANE_BITS,
    SIGNED,
    UNSIGNED,
    WEIGHT,
    Segment,
)
from edgeveil.shared.secagg.primitives.ring import join_limbs, split_limbs

__all__ = [
    "beyond_reach",
    "dequantise",
    "join_limbs",
    "plan_segments",
    "quantise",
    "round_with",
    "split_limbs",
]

Floats = NDArray[np.float32] | NDArray[np.float64]
PARAMS = "params"
TALLY = "tally"  # of an evaluation, in the place of PARAMS
_CHUNK = 1 << 16  # values rounded at a time; bounds the float64 copies
_UNIT = 2.0**-32  # uniforms are multiples of 2^-32; the bias is below 2^-33 of a step


def quantise(
    values: Floats,
    segment: Segment,
    *,
    weight: int = 1,
    random: Callable[[int], bytes] = os.urandom,
) -> NDArray[np.int64]:
    """Integers (segment.count,) in ±bound of weight · values, float (segment.count,); `random(32)` once.

    Raises:
        PolicyRefusal: UPDATE_NON_FINITE for NaN or infinity.
        ValueError: another shape, or a weight below 1.
    """
    if values.shape != (segment.count,) or segment.kind != SIGNED or segment.limbs != 1:
        raise ValueError(f"segment {segment.name} takes {segment.count} signed values")
    if weight < 1:
        raise ValueError(f"a weight of {weight}, at least 1")
    if not np.isfinite(values).all():
        raise PolicyRefusal(
            RefusalCode.UPDATE_NON_FINITE, "the update holds NaN or infinity; nothing is uploaded"
        )
    key = random(32)
    rounded = np.empty(segment.count, np.int64)
    for first in range(0, segment.count, _CHUNK):
        part = weight * values[first : first + _CHUNK].astype(np.float64)
        uniforms = mask.expand(key, len(part), 32, start=first).astype(np.float64) * _UNIT
        rounded[first : first + _CHUNK] = round_with(part, uniforms, segment.step, segment.bound)
    return rounded


def beyond_reach(values: Floats, segment: Segment, *, weight: int = 1) -> int:
    """How many finite values quantise() would clip: those that weigh more than A = bound·step."""
    reach = segment.bound * segment.step / weight
    return sum(
        int(np.count_nonzero(np.abs(values[first : first + _CHUNK].astype(np.float64)) > reach))
        for first in range(0, len(values), _CHUNK)
    )


def round_with(
    values: NDArray[np.float64], uniforms: NDArray[np.float64], step: float, largest: int
) -> NDArray[np.int64]:
    """The rounding rule itself for given uniforms in [0, 1); results lie in ±largest."""
    reach = largest * step
    scaled = np.floor(np.clip(values, -reach, reach) / step + uniforms)
    return np.clip(scaled, -largest, largest).astype(np.int64)


def dequantise(sums: NDArray[np.int64], segment: Segment) -> NDArray[np.float64]:
    """Sums of integers back to the unit of the values; exact up to one float64 rounding."""
    return sums.astype(np.float64) * segment.step


def plan_segments(
    parameters: int, *, bound_a: float, step_wanted: float, n_max: int, weight_max: int = 1
) -> tuple[int, tuple[Segment, ...]]:
    """The narrowest lanes in which n_max vectors of weighted values up to A = `bound_a` cannot overflow.

    Returns the lane width and the segments weight, params. The step is the finest those lanes allow,
    at most `step_wanted`, with q · step ≥ A. A and step come from public constants only.

    Raises:
        ConfigError: no lane width serves these numbers.
    """
    if not (0 < bound_a < math.inf and 0 < step_wanted < math.inf and n_max >= 1):
        raise ConfigError("bound_a, step_wanted and n_max must be positive, finite numbers")
    for bits in LANE_BITS:
        largest = ((1 << (bits - 1)) - 1) // n_max
        step = _step(bound_a, largest)
        if step <= step_wanted and n_max * weight_max < 1 << bits:
            weight = Segment(WEIGHT, UNSIGNED, 1, 1, weight_max)
            return bits, (weight, Segment(PARAMS, SIGNED, parameters, 1, largest, step))
    raise ConfigError(
        f"values up to {bound_a:g} in steps of {step_wanted:g} do not fit 32-bit lanes "
        f"for {n_max} agents; use a smaller cohort, smaller updates or coarser steps"
    )


def _step(bound_a: float, largest: int) -> float:
    """The least float64 with largest · step ≥ bound_a; infinite when no level is left."""
    if largest < 1:
        return math.inf
    step = bound_a / largest
    while largest * step < bound_a:
        step = math.nextafter(step, math.inf)
    return step
