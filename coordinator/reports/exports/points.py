"""What leaves a run for other tools: sums and averages by round, never a value of a single agent (pure)."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePath

from edgeveil.coordinator.records.records import Outcome, RoundRecord
from edgeveil.coordinator.reports.facts import PATHS, RunFacts, initial_model
from edgeveil.shared.privacy.unlimited import NOT_LIMITED, UNLIMITED
from edgeveil.shared.scores.noisy import noised


@dataclass(frozen=True)
class Point:
    """One committed round. `values` by name, such as round/seconds; `at` in Unix seconds."""

    round: int
    at: float
    values: Mapping[str, float]


def points(found: RunFacts) -> Iterator[Point]:
    """One per committed round, oldest first."""
    charges: Counter[str] = Counter()
    aborted = 0
    measured: Counter[str] = Counter()
    for record in found.records:
        charges.update(record.charged())
        if record.outcome is not Outcome.COMMITTED:
            aborted += record.outcome is Outcome.ABORTED
            measured.update(record.answered() if record.evaluates else ())
            continue
        paid = tuple(max(each.values(), default=0) for each in (charges, measured))
        yield Point(record.round, record.finished, dict(_values(found, record, aborted, paid)))


def _values(
    found: RunFacts, record: RoundRecord, aborted: int, paid: tuple[int, ...]
) -> Iterable[tuple[str, float]]:
    for metric in found.scoring.metrics:
        if metric.name in record.metrics:
            yield f"quality/{metric.name}", record.metrics[metric.name]
            ends = noised.interval(record.extra, metric.name)
            for name, end in zip(("low", "high"), ends or (), strict=False):
                yield f"quality/{metric.name}_{name}", end
    yield "round/agents_asked", len(record.selected)
    yield "round/agents_in_the_sum", len(record.survived)
    yield "round/seconds", record.seconds
    yield "round/bytes_up", record.bytes_up
    yield "round/bytes_down", record.bytes_down
    yield "run/attempts_aborted", aborted
    most, two = found.epsilon_after(*paid), found.two_after(*paid)
    if most != UNLIMITED:
        yield "privacy/epsilon_at_most", most  # of any agent, at the plan's δ
        if two is not None:
            yield "privacy/epsilon_sum_at_most", two.sums
    for stage, seconds in record.stage_seconds.items():
        yield f"stage/{stage}_seconds", seconds


def settings(found: RunFacts) -> dict[str, str]:
    """The plan and what the run began with as names and texts; of a path here only the last part."""
    parts = found.plan.model_dump(mode="json") | {"initial_model": initial_model(found) or {}}
    if not found.limited:
        parts["privacy"] = {"epsilon": NOT_LIMITED}
    if found.run.simulated:
        parts["run"] = {"simulated": "on made-up devices"}
    return {
        f"{part}.{key}": PurePath(str(value)).name if (part, key) in PATHS else str(value)
        for part, values in parts.items()
        for key, value in values.items()
        if value is not None
    }
