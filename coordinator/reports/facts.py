"""One run as its records tell it: the figures that tables, pages and comparisons share (pure)."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import PurePath
from typing import Any

import numpy as np

from edgeveil.coordinator.plan.derived import training_plan
from edgeveil.coordinator.plan.evaluation import evaluations_cost
from edgeveil.coordinator.plan.plan import Plan
from edgeveil.coordinator.records.gallery import Gallery, Moment
from edgeveil.coordinator.records.records import NOT_COUNTED, Outcome, RoundRecord, Run
from edgeveil.shared.privacy.ledger.heads import ToldBudget
from edgeveil.shared.privacy.rdp import Segment, epsilon
from edgeveil.shared.privacy.report.two_figures import TwoFigures
from edgeveil.shared.privacy.shared_noise import shares
from edgeveil.shared.privacy.unlimited import UNLIMITED
from edgeveil.shared.scores.metric import Scoring
from edgeveil.shared.scores.noisy import noised
from edgeveil.shared.scores.views import View
from edgeveil.shared.tasks import registry
from edgeveil.shared.wire.plan import TrainingPlan

PATHS = {("evaluation", "data"), ("model", "initial")}  # keys of a plan that name files here
STAGES = ("round", "share", "masked", "agree", "unmask")


@dataclass(frozen=True)
class RunFacts:
    """`records`: every finished attempt of the run, oldest first; `told`: what agents told, by name.

    `galleries`: pictures of the held-out data, where its task shows any.
    """

    run: Run
    records: Sequence[RoundRecord]
    told: Mapping[str, ToldBudget] = field(default_factory=dict)
    galleries: Mapping[Moment, Gallery] = field(default_factory=dict)

    @cached_property
    def plan(self) -> Plan:
        return Plan.model_validate_json(self.run.plan)

    @cached_property
    def proposal(self) -> TrainingPlan:
        return training_plan(self.plan)

    @cached_property
    def committed(self) -> list[RoundRecord]:
        return [record for record in self.records if record.outcome is Outcome.COMMITTED]

    @property
    def aborted(self) -> int:
        """Attempts that came to nothing: neither a model nor an evaluation."""
        return sum(record.outcome is Outcome.ABORTED for record in self.records)

    @cached_property
    def agents(self) -> list[str]:
        """Everybody who was ever asked, numbers in their natural order."""
        found = {name for record in self.records for name in record.selected}
        return sorted(found, key=natural)

    @cached_property
    def sizes(self) -> Mapping[str, int]:
        """What each device declared to hold (n_ref), by name, where it was heard: the device's word."""
        found: dict[str, int] = {}
        for record in self.records:
            found |= record.sizes
        return found

    @cached_property
    def scoring(self) -> Scoring:
        """What the figures of the run's task mean."""
        return registry.scoring(self.plan.task.id)

    @cached_property
    def views(self) -> tuple[View, ...]:
        """Of the newest evaluation that kept any: the coordinator's own data, or counts from devices with noise."""
        return self._views(self._kept)

    @cached_property
    def summary(self) -> dict[str, Any]:
        """The task's keys of report.json, about the same evaluation."""
        return {**self.scoring.summary(self._kept), **noised.summary(self._kept)}

    @cached_property
    def _kept(self) -> Mapping[str, Any]:
        records = reversed(self.committed)
        return next((row.extra for row in records if self._views(row.extra)), {})

    def _views(self, extra: Mapping[str, Any]) -> tuple[View, ...]:
        return (*self.scoring.views(extra), *noised.views(extra, self.scoring))

    def metric(self, name: str) -> tuple[list[float], list[float]]:
        """(rounds, values) of the rounds in which it was measured."""
        found = [(row.round, row.metrics[name]) for row in self.committed if name in row.metrics]
        return [float(number) for number, _ in found], [value for _, value in found]

    def share(self, agent: str) -> list[str]:
        """Per record: "survived", "dropped", "refused", or "" when it was not asked."""
        return [part_of(record, agent) for record in self.records]

    def charged(self, agent: str) -> float:
        """The most that the run can have charged this agent, as ε at the plan's δ.

        An agent pays before it trains, so everybody who was asked and did not refuse at the offer is
        counted. An update that was sealed and not sent is masked again free, so it may be less.
        """
        paid = self.paid[self.agents.index(agent)]
        evaluated = sum(agent in row.answered() for row in self.records if row.evaluates)
        return self.epsilon_after(int(paid[-1]) if len(paid) else 0, evaluated)

    @cached_property
    def most_charged(self) -> float:
        """The most that the run can have charged any agent."""
        return max((self.charged(agent) for agent in self.agents), default=0.0)

    @cached_property
    def paid(self) -> "np.ndarray[Any, np.dtype[np.int64]]":
        """Charged rounds so far, (agents, records), agents in the order of `agents`."""
        place = {agent: row for row, agent in enumerate(self.agents)}
        counts = np.zeros((len(self.agents), len(self.records)), np.int64)
        for column, record in enumerate(self.records):
            for agent in record.charged():
                counts[place[agent], column] = 1
        return np.cumsum(counts, axis=1)

    @cached_property
    def evaluations(self) -> int:
        """The most evaluations on devices that any agent can have been charged for."""
        rows = [row.answered() for row in self.records if row.evaluates]
        return max(Counter(agent for row in rows for agent in row).values(), default=0)

    @cached_property
    def asked(self) -> "np.ndarray[Any, np.dtype[np.int64]]":
        """Evaluations on devices so far, (records,), of which no agent was charged for more."""
        return np.cumsum([row.evaluates for row in self.records], dtype=np.int64)

    def evaluated(self, count: int) -> tuple[Segment, Segment] | None:
        """What so many evaluations on devices show of a record: in their sums, and alone."""
        return (
            evaluations_cost(self.plan, count)
            if count and self.plan.evaluation.on_devices
            else None
        )

    @cached_property
    def history(self) -> tuple[Segment, ...]:
        """What the run can have charged the agent that was asked most often; nothing where it adds no noise."""
        if not self.proposal.noised:
            return ()
        most = self.segment(int(self.paid.max(initial=0)))
        measured = self.evaluated(self.evaluations)
        return ((most,) if most.steps else ()) + ((measured[1],) if measured else ())

    def segment(self, charges: int) -> Segment:
        """That many rounds of this plan."""
        proposal = self.proposal
        steps = proposal.charged_steps * charges
        if proposal.shared_noise:
            alone = shares(proposal.noise_multiplier, proposal.honest, proposal.sample_rate)[1]
            return alone._replace(steps=steps)
        return Segment(proposal.noise_multiplier, proposal.sample_rate, steps)

    @cached_property
    def epsilon_if_always_asked(self) -> float:
        asked = int(self.asked.max(initial=0))
        return self.epsilon_after(len(self.records) - asked, asked)

    @cached_property
    def limited(self) -> bool:
        """Whether an ε bounds what the run's model tells of a record: not where it, or one before it, had no noise."""
        began_without = self.run.initial is not None and self.run.initial.unlimited
        return self.proposal.noised and not began_without

    @property
    def hides_devices(self) -> bool:
        """Whether what the run charges holds for all records of a device together."""
        return self.proposal.whole and not self.plan.evaluation.on_devices

    def epsilon_sum_after(self, charges: int, evaluations: int = 0) -> float | None:
        """What so many sums, and those of so many evaluations on devices, show whoever sees nothing else, if each holds the honest agents that the plan
        states; None where every update has all its noise.
        """
        proposal = self.proposal
        if not proposal.shared_noise:
            return None
        if not (charges and self.limited):
            return UNLIMITED if charges else 0.0
        one = shares(proposal.noise_multiplier, proposal.honest, proposal.sample_rate)[0]
        measured = self.evaluated(evaluations)
        others = [measured[0]] if measured else []
        return epsilon([one._replace(steps=charges), *others], proposal.delta)[0]

    @property
    def most_of_two(self) -> TwoFigures | None:
        """Both ε of the agent that was asked most often; None where every update has all its noise."""
        return self.two_after(int(self.paid.max(initial=0)), self.evaluations)

    def two_after(self, charges: int, evaluations: int = 0) -> TwoFigures | None:
        """Both ε of so many rounds, to be shown; None where every update has all its noise."""
        sums = self.epsilon_sum_after(charges, evaluations)
        if sums is None:
            return None
        most, alone = self.plan.limit_of_sums or UNLIMITED, self.epsilon_after(charges, evaluations)
        return TwoFigures(sums, most, alone, self.plan.limit, self.proposal.honest)

    def epsilon_after(self, charges: int, evaluations: int = 0) -> float:
        """The ε at the plan's δ of that many rounds of this plan, and of so many evaluations on devices; infinite
        where nothing bounds it.
        """
        if charges and not self.limited:
            return UNLIMITED
        key = charges, evaluations
        if key not in self._curve:
            measured = self.evaluated(evaluations)
            segments = [self.segment(charges)] if charges else []
            found = [*segments, *([measured[1]] if measured else [])]
            self._curve[key] = epsilon(found, self.plan.training.delta)[0]
        return self._curve[key]

    @cached_property
    def _curve(self) -> dict[tuple[int, int], float]:
        return {(0, 0): 0.0}


def initial_model(found: RunFacts) -> dict[str, Any] | None:
    """Of a report: what the run began with where that was not its task's own model."""
    initial = found.run.initial
    if initial is None:
        return None
    return {
        "run": initial.run or None,
        "round": initial.round,
        "file": None if found.plan.model.of_run else PurePath(initial.named).name,
        "sha256": initial.source_sha256,
        "limited": not initial.unlimited,
        "note": NOT_COUNTED,
    }


def natural(name: str) -> tuple[str, int]:
    """agent-2 before agent-10."""
    head = name.rstrip("0123456789")
    return head, int(name[len(head) :] or 0)


def part_of(record: RoundRecord, agent: str) -> str:
    """What this agent did in this attempt."""
    reason = record.dropped_reasons.get(agent)
    if agent in record.survived:
        return "survived"
    if reason is not None:
        return "refused" if reason.startswith("refused") else "dropped"
    return "dropped" if agent in record.selected else ""


def reasons_of(records: Sequence[RoundRecord], agent: str) -> Counter[str]:
    """Why this agent left, and how often."""
    found: Counter[str] = Counter()
    for record in records:
        reason = record.dropped_reasons.get(agent)
        if reason is None and agent in record.selected and agent not in record.survived:
            reason = record.reason or "aborted"  # it stayed, the attempt did not
        if reason is not None and agent not in record.survived:
            found[reason] += 1
    return found
