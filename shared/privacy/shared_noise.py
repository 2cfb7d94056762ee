"""What noise in shares costs: one step of integer noise, towards who sees sums and towards who sees all else.

Every agent adds discrete Gaussian noise of σ times the sensitivity of its integers. A sum that holds at least
h honest shares spends no more than a Gaussian step of √h·σ, a share alone no more than one of σ, Poisson
sampling or not; both derived in docs/privacy.md, "The sum" and "Sampling". What the proof leaves over, less
than 1e-1000, and rounding are covered by charging σ a billionth smaller. Sensitivity: sum_sensitivity().
"""

import math

from edgeveil.shared.privacy.rdp import Segment, check_segment

SLACK = 1e-9  # relative, of σ
LEAST_SCALE = (
    16  # s of one share in units of a lane; the excess of a sum is proven negligible from here on
)


def shares(
    noise_multiplier: float, honest: int, sample_rate: float = 1.0
) -> tuple[Segment, Segment]:
    """(what a sum shows, what a share alone shows), each as one step of the Gaussian mechanism.

    `noise_multiplier` is σ of one share, `honest` the least number h of honest shares in a sum.

    Raises:
        ValueError: impossible noise, sampling, or fewer than one honest share.
    """
    if honest < 1:
        raise ValueError(f"{honest} honest shares; at least 1")
    found = tuple(
        Segment(noise_multiplier * root * (1 - SLACK), sample_rate, 1)
        for root in (math.sqrt(honest), 1.0)
    )
    for segment in found:
        check_segment(segment)
    return found[0], found[1]


def share_for(noise_multiplier_sum: float, honest: int) -> float:
    """σ of one share whose sum is charged with at least `noise_multiplier_sum`."""
    return noise_multiplier_sum / math.sqrt(honest) * (1 + 2 * SLACK)


def rounded_sensitivity(clip: float, parameters: int) -> float:
    """L2 distance of the integers of neighbours whose real vectors, in units of a lane, lie `clip` apart.

    Rounding moves the difference of each coordinate by less than 1, so the whole by less than √d.
    """
    return clip + math.sqrt(parameters)


def excess(scale: float, honest: int, parameters: int) -> float:
    """By how much a sum of shares may exceed a Gaussian's Rényi divergence, per order beyond 1; docs/privacy.md.

    Σ over d coordinates and h − 1 additions of ln((1 + ρ)/(1 − ρ)), ρ the sum of what Poisson's formula
    leaves of a theta function, at the smaller of the two variances of each addition; infinite where ρ ≥ 1.
    """
    total = 0.0
    for added in range(1, honest):
        theta = math.exp(-2 * math.pi**2 * scale**2 * added / (added + 1))
        ripple = 2 * theta / (1 - theta)
        if ripple >= 1:
            return math.inf
        total += 2 * math.atanh(ripple)
    return parameters * total
