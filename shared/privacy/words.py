"""What a privacy figure means, in words that need no mathematics; the same for both sides' reports."""

import math
from collections.abc import Iterable
from typing import Any

from shared.privacy.filter import cap
from shared.privacy.rdp import Segment, epsilon

SCHEMA = 1  # of privacy reports
STRONG, USUAL = 1.0, 10.0

NOT_COVERED = (
    (
        "A person with several records: with k records the protection is only about k times "
        "epsilon. If a device is one person, nothing is promised about that person as a whole."
    ),
    "The same person's records on another device, or the same records used outside this ledger.",
    "How many records there are, whether and when the device takes part, and how long it trains.",
    "Choosing hyper-parameters, preprocessing or a model by looking at the private records.",
    "What was learned from frozen, pretrained parts of a model, and from public data.",
    "Attacks on the device itself, its operating system or its owner.",
)
PUBLIC = (
    "the plan (noise, sampling, steps, clipping), the model's shape, the list of classes, constants "
    "of the preprocessing, the declared size n_ref, who takes part and when"
)
NEIGHBOURS = "two data sets that differ in one record, added or removed"


def guess_rate(value: float) -> float:
    """How often an observer can at most guess right whether a record was used, from even odds."""
    return 1 / (1 + math.exp(-min(value, 700.0)))


def one_in(probability: float) -> str:
    """A small probability as people say it: 1 in 100,000."""
    return f"1 in {round(1 / probability, -int(math.log10(1 / probability)) + 2):,.0f}"


def tier(value: float) -> str:
    if value == 0:
        return "nothing spent"
    if value <= STRONG:
        return "strong"
    return "usual" if value <= USUAL else "weak"


def meaning(value: float, delta: float, seen: str = "this device ever sent") -> str:
    """One paragraph for a person who is not a cryptographer."""
    if value == 0:
        return "Nothing that depends on private records was spent on yet."
    rate = guess_rate(value)
    # Rounded up, so that the sentence never promises more than the figure.
    percent = math.ceil(rate * 1000) / 10
    odds = "more than 99.9" if percent >= 100 else f"at most {percent:g}"
    return (
        f"Take any one record, and somebody who sees everything {seen} and tosses a "
        f"coin on whether that record was used: without the updates they are right in 50 of 100 "
        f"cases, with them in {odds} of 100 (but for a chance of about {one_in(delta)}). "
        f"This is a {tier(value)} protection: an epsilon up to 1 is called strong, up to 10 usual."
    )


def gaussian_mu(history: Iterable[Segment]) -> float | None:
    """µ of Gaussian differential privacy, √Σ steps/σ², if every step used all records."""
    segments = tuple(history)
    if not segments or any(segment.sample_rate != 1 for segment in segments):
        return None
    return math.sqrt(sum(s.steps / s.noise_multiplier**2 for s in segments))


def sums_only(
    history: Iterable[Segment], delta: float, *, honest: int, steps_per_round: int
) -> float | None:
    """ε towards somebody who sees sums only, with `honest` agents' noise in each; for information.

    Only valid for one step per round and equal noise; None otherwise. Never enforced.
    """
    if steps_per_round != 1 or honest < 1:
        return None
    scaled = [s._replace(noise_multiplier=s.noise_multiplier * math.sqrt(honest)) for s in history]
    return epsilon(scaled, delta)[0] if scaled else None


def segment_rows(segments: Iterable[Segment], delta: float) -> list[dict[str, Any]]:
    """Each segment with the ε it would cost alone; these do not add up."""
    return [
        {
            "noise_multiplier": segment.noise_multiplier,
            "sample_rate": segment.sample_rate,
            "steps": segment.steps,
            "epsilon_alone": epsilon([segment], delta)[0],
        }
        for segment in segments
    ]


def conversion(order: int, delta: float) -> float:
    """What is added to the divergence at `order` to get ε."""
    return -cap(0.0, delta, order)
