"""What a privacy figure means, in words that need no mathematics; the same for both sides' reports.

The words stand in words.en.toml and words.zh.toml. A report says everything in English.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from edgeveil.shared.pages import words
from edgeveil.shared.privacy.rdp import Segment, epsilon
from edgeveil.shared.privacy.unlimited import UNLIMITED

SCHEMA = 1  # of privacy reports
STRONG, REASONABLE = 1.0, 10.0


class Words(words.Words):
    room = __package__


SAID = Words("en")
RECORD = SAID("said_record")
HOLDS_ALONE = SAID("said_holds_alone")
# What a coordinator sees besides sums, as the report of a device and that of a run put it.
SEEN_AND_WHEN, SEEN_AND_WHY = SAID("said_seen_and_when"), SAID("said_seen_and_why")
NOT_COVERED = (
    SAID("said_gap_person"),
    SAID("said_gap_elsewhere"),
    SAID("said_gap_counts"),
    SAID("said_gap_choosing"),
    SAID("said_gap_pretrained"),
    SAID("said_gap_attacks"),
)


def not_covered(*, whole: bool = False) -> list[str]:
    """What no figure covers; where every charge hid a whole update, ε counts a person's records once."""
    return list(NOT_COVERED[1:] if whole else NOT_COVERED)


def guess_rate(value: float) -> float:
    """How often an observer can at most guess right whether a record was used, from even odds."""
    return 1 / (1 + math.exp(-min(value, 700.0)))


def one_in(probability: float) -> str:
    """A small probability as people say it: 1 in 100,000."""
    many = round(1 / probability, -int(math.log10(1 / probability)) + 2)
    return SAID("said_one_in", n=f"{many:,.0f}")


def tier(value: float | None, words: Words = SAID) -> str:
    """Of an ε, in a report or not; None and infinity: nothing bounds it."""
    if value is None or value == UNLIMITED:
        return words("said_no_limit")
    if value == 0:
        return words("said_nothing_spent")
    if value <= STRONG:
        return words("said_strong")
    return words("said_reasonable") if value <= REASONABLE else words("said_weak")


def meaning(value: float, delta: float, *, run: bool = False) -> str:
    """One paragraph for a person who is not a cryptographer; `run`: of one run, else of a device."""
    if value == 0:
        return SAID("said_no_training")
    if value == UNLIMITED:
        seen = SAID("said_seen_run") if run else SAID("said_seen_device")
        return SAID("said_unlimited", seen=seen)
    # Rounded up, so that the sentence never promises more than the figure.
    percent = math.ceil(guess_rate(value) * 10_000) / 100
    odds = SAID("said_odds_more") if percent >= 100 else SAID("said_odds", percent=f"{percent:g}")
    return SAID(
        "said_meaning",
        seen=SAID("said_seen_run") if run else SAID("said_seen_device"),
        odds=odds,
        little=SAID("said_little") if percent > 95 else "",
        fails=one_in(delta),
        tier=tier(value),
    )


def hiding(secagg: Mapping[str, Any], words: Words) -> str:
    """What secure aggregation adds, from the report's block about it."""
    colluders, opened = secagg["assumed_colluders"], secagg["threshold"]
    return words(
        "hiding",
        n_min=secagg["n_min"],
        assumed=words("colluders", n=colluders) if colluders else words("no_colluders"),
        honest=secagg["honest_floor"],
        shares=words("mask_opens", n=opened) if opened else "",
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
