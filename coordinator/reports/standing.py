"""How far a run has come, in one line: its figure, what it has cost a device, how long it still takes (pure)."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from edgeveil.coordinator.learning import judgement
from edgeveil.coordinator.records.records import RoundRecord, Run
from edgeveil.coordinator.reports.facts import RunFacts
from edgeveil.coordinator.store.store import Store
from edgeveil.shared.pages.text import human_seconds
from edgeveil.shared.privacy.report.two_figures import TwoFigures
from edgeveil.shared.privacy.unlimited import shown
from edgeveil.shared.scores.metric import MetricSpec

LOOKED_AT = 20  # newest attempts, from which the time left is estimated


@dataclass(frozen=True)
class Standing:
    """`values`: of the metric that judges, oldest first, newest last, empty when nothing was measured.

    `fresh`: the newest round was measured. `epsilon`: what the run can have charged one device so far, of
    `planned`. `left_s`: seconds to the last round, None before the first and after the last.
    """

    metric: MetricSpec | None
    values: Sequence[float]
    fresh: bool
    epsilon: float
    planned: float
    two: TwoFigures | None  # where noise is in shares: this ε, and that of its sums
    left_s: float | None

    @property
    def value(self) -> float | None:
        return self.values[-1] if self.values else None

    def change(self, points: str = "points") -> str:
        """Against the measurement before, or ""; `points` of a hundred in the reader's language."""
        if self.metric is None or len(self.values) < 2:
            return ""
        return self.metric.changed(self.values[-2], self.values[-1], points)


def standing(
    found: RunFacts, *, charges: int | None = None, committed: int | None = None
) -> Standing:
    """`charges`, of the device asked most often, and `committed` rounds: needed where `found` is not whole."""
    metric, rounds = judging(found), found.committed
    count = found.plan.rounds.count
    measured = [] if metric is None else [row for row in rounds if metric.name in row.metrics]
    paid = int(found.paid.max(initial=0)) if charges is None else charges
    done = len(rounds) if committed is None else committed
    evaluations = found.plan.evaluation.until(done, count)
    return Standing(
        metric=metric,
        values=[] if metric is None else [row.metrics[metric.name] for row in measured],
        fresh=bool(measured) and measured[-1] is rounds[-1],
        epsilon=found.epsilon_after(paid, evaluations),
        planned=found.plan.limit,
        two=found.two_after(paid, evaluations),
        left_s=seconds_left(rounds, count - done),
    )


def judging(found: RunFacts) -> MetricSpec | None:
    """The metric by which the plan says which round is best; None where the task measures no such thing."""
    wanted = found.plan.evaluation.metric
    return next((one for one in found.scoring.metrics if one.name == wanted), None)


def best_round(found: RunFacts) -> RoundRecord | None:
    """The earliest of the best evaluated rounds, the one behind best.safetensors."""
    metric, rounds = judging(found), found.committed
    top = None if metric is None else judgement.best(judgement.scored(rounds, metric))
    return None if top is None else next(row for row in rounds if row.round == top.number)


def seconds_left(committed: Sequence[RoundRecord], rounds: int) -> float | None:
    """From one commit to the next, in the median, so that neither the first round nor a pause counts."""
    if rounds <= 0 or not committed:
        return None
    newest = committed[-LOOKED_AT:]
    gaps = [after.finished - before.finished for before, after in pairwise(newest)]
    return rounds * (statistics.median(gaps) if gaps else newest[-1].seconds)


def round_line(store: Store, run: Run, number: int) -> str:
    """What the terminal says of a round that has just been committed."""
    records = [row for row in store.rounds(run.run_id, last=LOOKED_AT) if row.round <= number]
    charges = max(store.charges(run.run_id).values(), default=0)
    return sentence(standing(RunFacts(run, records), charges=charges, committed=number))


def sentence(here: Standing) -> str:
    parts = []
    if here.metric is not None and here.fresh:
        change = here.change()
        more = f" ({change})" if change else ""
        parts.append(f"{here.metric.within} {here.metric.shown(here.value)}{more}")
    alone = " alone" if here.two else ""
    parts.append(f"ε{alone} {shown(here.epsilon, '.2f')} of {shown(here.planned, 'g')}")
    if here.two is not None:
        parts.append(f"ε of sums {shown(here.two.sums, '.2f')} of {here.two.sums_limit:g}")
    if here.left_s is not None:
        parts.append(f"about {human_seconds(here.left_s)} left")
    return ", ".join(parts)
