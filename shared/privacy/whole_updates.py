"""The device as the unit of privacy: what noise on a whole clipped update hides, and from how many devices on it
leaves anything to learn from.

An update of norm at most C stands for all records of a device. Any other records make another such update, at
most 2·C away, so noise of σ·2·C is charged like a Gaussian step of σ, in the ledger that counts per record:
what hides all records together hides each. Against no records at all, an update of zeros, the same noise is
worth about 2·σ. Derived in docs/privacy.md, "The whole device".
"""

import math

APART = 2.0  # times C: the farthest that two updates of norm C lie from one another
MOST_ROUNDING = 1 / 20  # of the distance that noise is charged for; plans spend no more on rounding
MOST_NOISE = (
    1.0  # of the way that a run can make at most; beyond, its noise is longer than all it learns
)


def absent(noise_multiplier: float, rounding: float = MOST_ROUNDING) -> float:
    """σ against an update of zeros, which no records make, of noise that is charged as `noise_multiplier`.

    `rounding` is the part √d of the distance 2·C + √d, in lanes, that noise is charged for; a zero is rounded to
    itself, so that the one distance C + √d is (1 + rounding)/2 of the other.
    """
    return APART * noise_multiplier / (1 + rounding)


def noise_length(noise_multiplier: float, parameters: int, devices: int, rounds: int) -> float:
    """L2 norm of all noise that a run adds to the model, in parts of the farthest that it can go: C in each round.

    The mean of N updates has noise of 2·σ·C/√N in each of d places, which R rounds make √R times as long.
    """
    return APART * noise_multiplier * math.sqrt(parameters / (devices * rounds))


def devices_needed(noise_multiplier: float, parameters: int, rounds: int) -> int:
    """The fewest updates in a sum at which a run's noise is no longer than what it can learn."""
    ratio = APART * noise_multiplier / MOST_NOISE
    return max(1, math.ceil(ratio * ratio * parameters / rounds * (1 - 1e-12)))
