"""What a privacy figure means, in words that need no mathematics; the same for both sides' reports."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from edgeveil.shared.privacy.rdp import Segment, epsilon

SCHEMA = 1  # of privacy reports
STRONG, REASONABLE = 1.0, 10.0

NOT_COVERED = (
    (
        "A person with several records: with ten of them, ε counts about ten times as much for that "
        "person. If a device is one person, nothing is promised about that person as a whole."
    ),
    "The same person's records on another device, or the same records used outside this ledger.",
    "How many records there are, whether and when the device takes part, and how long it trains.",
    (
        "Choosing hyper-parameters, preprocessing, a model or a moment to stop by looking at the private "
        "records, those set aside for validation among them."
    ),
    "What was learned from frozen, pretrained parts of a model, and from public data.",
    "Attacks on the device itself, its operating system or its owner.",
)
PUBLIC = (
    "the plan (noise, sampling, steps, clipping), the model's shape, the list of classes, constants "
    "of the preprocessing, the declared number of records, who takes part and when"
)
NEIGHBOURS = "two data sets that differ in one record, added or removed"
PERSON_LEVEL = (
    "not provided: with k records of one person, ε counts about k times as much for that person"
)


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
    return "reasonable" if value <= REASONABLE else "weak"


def meaning(value: float, delta: float, seen: str = "this device ever sent") -> str:
    """One paragraph for a person who is not a cryptographer."""
    if value == 0:
        return "No training has used private records, so nothing sent can tell anything about them."
    # Rounded up, so that the sentence never promises more than the figure.
    percent = math.ceil(guess_rate(value) * 10_000) / 100
    odds = "more than 99.99" if percent >= 100 else f"at most {percent:g}"
    little = " A limit so near to 100 rules out certainty and little more." if percent > 95 else ""
    return (
        "ε (epsilon) measures how much one record can show; smaller is safer. Say somebody sees "
        f"everything {seen} and wants to know whether one certain record was used. Guessing blindly "
        "between two equally likely answers they are right 50 times in 100; with what they saw, "
        f"{odds} times, however able they are.{little} The promise itself fails with a chance of about "
        f"{one_in(delta)} (δ). Such promises are called strong up to ε 1, reasonable up to 10 and "
        f"weak above; this one is {tier(value)}."
    )


def hiding(secagg: Mapping[str, Any]) -> str:
    """What secure aggregation adds, from the report's block about it."""
    colluders = secagg["assumed_colluders"]
    assumed = f"up to {colluders} of them may" if colluders else "none of them is taken to"
    opened = secagg["threshold"]
    shares = f" A mask opens with the help of {opened} others or more." if opened else ""
    return (
        f"at least {secagg['n_min']} devices in every sum; {assumed} work with the coordinator, so at "
        f"least {secagg['honest_floor']} honest ones hide each other.{shares} This is a second wall and "
        "never subtracted from ε."
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
