"""What the held-out metrics say: which round is best, whether to stop, whether a round did harm (pure)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from edgeveil.coordinator.records.records import Outcome, RoundRecord
from edgeveil.shared.scores.metric import MetricSpec


@dataclass(frozen=True, slots=True)
class Scored:
    """One evaluated, committed round; higher `score` is better whatever the metric."""

    number: int
    score: float


def scored(records: Iterable[RoundRecord], metric: MetricSpec) -> list[Scored]:
    """The committed rounds that were evaluated, in order."""
    return [
        Scored(record.round, metric.score(record.metrics[metric.name]))
        for record in records
        if record.outcome is Outcome.COMMITTED and metric.name in record.metrics
    ]


def best(rounds: Sequence[Scored]) -> Scored | None:
    """The earliest of the best."""
    return max(rounds, key=lambda one: (one.score, -one.number), default=None)


def converged(rounds: Sequence[Scored], *, patience: int, least_gain: float) -> bool:
    """True once `patience` evaluations in a row have not beaten the best before them by more than
    `least_gain`; patience 0 never stops.
    """
    if patience == 0:
        return False
    top, without = float("-inf"), 0
    for one in rounds:
        if one.score > top + least_gain:
            top, without = one.score, 0
        else:
            without += 1
    return without >= patience


def harmful(value: float, rounds: Sequence[Scored], *, tolerance: float) -> bool:
    """Whether a new score falls by more than `tolerance` below the best committed one.

    Tolerance 0 judges nothing; nor does a run without an evaluated round.
    """
    top = best(rounds)
    return tolerance > 0 and top is not None and value < top.score - tolerance


def harm(
    metrics: Mapping[str, float], scores: Sequence[Scored], *, metric: MetricSpec, tolerance: float
) -> str:
    """Why a round with these held-out metrics is to be undone, or ""."""
    if metric.name not in metrics:
        return ""
    value = metrics[metric.name]
    if not harmful(metric.score(value), scores, tolerance=tolerance):
        return ""
    return (
        f"{metric.name} {value:.4g} is more than {tolerance:g} worse than the best round's; "
        "the round was undone"
    )
