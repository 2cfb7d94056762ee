"""What an evaluation on devices asks for, and what its sum of noisy counts says of a model."""

import math
from dataclasses import dataclass
from typing import Any, Self

from edgeveil.coordinator.plan.evaluation import evaluation_params, evaluation_plan
from edgeveil.coordinator.plan.plan import Plan
from edgeveil.shared.scores.noisy.estimates import CONFIDENCE, Task, estimates, told
from edgeveil.shared.scores.noisy.released import Released, released
from edgeveil.shared.secagg.agreement.result import Result
from edgeveil.shared.secagg.primitives.parameters import Params
from edgeveil.shared.tasks import registry
from edgeveil.shared.tasks.spec import TaskSpec
from edgeveil.shared.vector.quantization import TALLY, dequantise
from edgeveil.shared.wire.plan import EvaluationPlan


@dataclass(frozen=True)
class Counted:
    """`kept` goes into the extra of a record, `metrics` beside those that the task names."""

    metrics: dict[str, float]
    kept: dict[str, Any]


@dataclass(frozen=True)
class Counting:
    """Of one run. `asked` and `params` are the same for all of its evaluations."""

    asked: EvaluationPlan
    params: Params
    released: Released
    task: Task
    names: tuple[str, ...]  # of the task's metrics

    @classmethod
    def of(cls, plan: Plan, spec: TaskSpec) -> Self:
        """Imports torch: what a task counts follows from its options."""
        task = registry.load(spec)
        options = task.parse_options(plan.task.options)
        what = released(task.tally_form(options))
        asked = evaluation_plan(plan, what.form)
        return cls(
            asked,
            evaluation_params(plan, asked, what.form),
            what,
            Task.of(lambda tally: task.metrics(tally, options), options),
            tuple(metric.name for metric in spec.scoring.metrics),
        )

    def read(self, result: Result) -> Counted:
        """Figures with the intervals that the noise of these agents leaves."""
        segment = next(item for item in self.params.segments if item.name == TALLY)
        counts = dequantise(result.segment(TALLY), segment)
        agents = len(result.u3)
        spread = math.sqrt(agents) * (1 << self.asked.noise_bits) * segment.step
        found = estimates(self.released, counts, spread, self.task)
        metrics = {name: found[name].value for name in self.names if name in found}
        kept = {
            **self.told,
            "agents": agents,
            "deviation": spread,
            "confidence": CONFIDENCE,
            "figures": told(found),
        }
        return Counted(metrics, kept)

    @property
    def told(self) -> dict[str, Any]:
        """What was asked for, whatever came of it."""
        return {
            "on": "devices",
            "noise": "shared" if self.asked.shared_noise else "local",
            "noise_multiplier": self.asked.noise_multiplier,
            "cells": self.released.form.length,
        }
