"""How many records there are, said once and with noise: the step of a ladder that n_ref takes without its owner.

Discrete Laplace noise of scale t on the record count, which one record changes by 1: ε = 1/t, δ = 0. The
exact sampler of Canonne, Kamath and Steinke (arXiv 2004.00010, algorithms 1 and 2) on the system's
randomness, integers only. The ladder is post-processing.

No test tells more from a pure ε-DP release than from a Gaussian one of µ = 2Φ⁻¹(e^ε/(1 + e^ε)): both
trade-off curves pass where the two errors are equal, and the pure one is the chord of the convex other from
there to either end (Dong, Roth and Su, arXiv 1905.02383, equation 5 and definition 2.6). µ ≤ ε·√(π/2), so a
count is charged as one full step of noise_multiplier t·√(2/π), rounded down, and whatever bounds Gaussian
steps (Rényi divergence at any order, PRV, µ) bounds it.
"""

import secrets
from collections.abc import Callable

from edgeveil.shared.privacy.rdp import Segment, rdp_step

LEAST_SCALE, MOST_SCALE = 10, 1_000_000  # ε from 0.1 down
SHARE = 20  # a count takes at most so great a part of the budget: one in twenty
ROOT = 0.7978  # √(2/π), rounded down

Below = Callable[[int], int]  # a uniform integer from 0 to one less


def charged(scale: int) -> Segment:
    """What one count with noise of this scale spends."""
    return Segment(ROOT * scale, 1.0, 1)


def affordable_scale(room: float, order: int) -> int:
    """The least noise that a budget worth `room` of divergence at `order` is spared for."""
    scale = LEAST_SCALE
    while scale < MOST_SCALE and SHARE * rdp_step(ROOT * scale, 1.0, order) > room:
        scale += 1
    return scale


def proposed_size(records: int, scale: int, below: Below = secrets.randbelow) -> int:
    """The step of the ladder for `records` and fresh noise; costs charged(scale) each time it is called."""
    return ladder_step(records + discrete_laplace(scale, below))


def ladder_step(value: int) -> int:
    """Of 1, 3, 10, 30, 100, … the nearest by ratio; 1 for whatever is not above it."""
    step, following = 1, 3
    while value > 0 and value * value > step * following:
        step, following = following, 10 * step
    return step


def discrete_laplace(scale: int, below: Below = secrets.randbelow) -> int:
    """An integer x with probability proportional to exp(−|x|/scale)."""
    while True:
        low = below(scale)
        if not _happens(low, scale, below):
            continue
        high = 0
        while _happens(1, 1, below):
            high += 1
        size, negative = low + scale * high, below(2)
        if size or not negative:
            return -size if negative else size


def _happens(numerator: int, denominator: int, below: Below) -> bool:
    """True with probability exp(−numerator/denominator), for a fraction from 0 to 1."""
    tries = 1
    while below(denominator * tries) < numerator:
        tries += 1
    return tries % 2 == 1
