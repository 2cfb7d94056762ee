"""One trial here: all devices in this process one after another, their exact mean, the plan's own strategy.

Ledgers, masks and transport, which change no figure but by rounding, take no part: σ, sampling, clipping,
weights, strategy, schedule and average are those of the plan.
"""

import time

import numpy as np

from edgeveil.coordinator.learning.strategies import Model
from edgeveil.coordinator.plan.derived import training_plan
from edgeveil.coordinator.plan.evaluation import judged_by
from edgeveil.coordinator.plan.plan import Plan
from edgeveil.coordinator.runs import initial
from edgeveil.coordinator.runs.evaluation import Evaluator, initial_model
from edgeveil.coordinator.runs.learner import Learned, Learner
from edgeveil.coordinator.tuning.parts import Dealt, Parts, task_of
from edgeveil.coordinator.tuning.private_sgd import Trainer
from edgeveil.coordinator.tuning.trial import Report, Result
from edgeveil.shared.tasks.modules import frozen_tensors, with_frozen
from edgeveil.shared.tasks.spec import Options, Task
from edgeveil.shared.vector.model_vector import Frozen, Vector, part

LOOKS = 20  # evaluations of one trial, about


class Federation:
    """A Simulation (coordinator.tuning.trial)."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def __call__(self, plan: Plan, seed: int, report: Report) -> Result:
        began, dealt = time.monotonic(), self._parts.of(plan)
        task, options, first = _beginning(plan)
        trainer = Trainer(task, options, training_plan(plan))
        judge = Evaluator.over(task, options, dealt.validation)
        metric, every = judged_by(plan).name, max(1, plan.rounds.count // LOOKS)
        learner, now, value = Learner(plan), Learned(first), 0.0
        for number in range(1, plan.rounds.count + 1):
            mean = _mean(plan, trainer, dealt, now.model, (seed, number))
            now = learner.next(now, [mean], number)
            if number % every == 0 or number == plan.rounds.count:
                value = judge.evaluate(now.published)[metric]
                report(number, value)
        return Result(value, time.monotonic() - began)


def _mean(
    plan: Plan, trainer: Trainer, dealt: Dealt, model: Model, chance: tuple[int, int]
) -> np.ndarray:
    """The mean update of the devices of one round, weighed as the plan weighs them, float64 (d,)."""
    sizes = dealt.sizes
    drawn = np.random.default_rng((*chance, len(sizes)))
    asked = np.sort(drawn.permutation(len(sizes))[: plan.rounds.goal])
    updates = [
        trainer.update(model, dealt.devices[each], np.random.default_rng((*chance, int(each))))
        for each in asked
    ]
    weights = [sizes[each] if plan.weights == "declared" else 1 for each in asked]
    return np.average(np.array(updates, np.float64), axis=0, weights=weights)


def _beginning(plan: Plan) -> tuple[Task, Options, Vector]:
    """The task with what of its model stays as it is, and the trained part of the model of round 0."""
    task = task_of(plan)
    options = task.parse_options(plan.task.options)
    own, tensors = initial_model(task, options)
    if plan.model.initial is None:
        return task, options, own
    stays = frozen_tensors(task, options)
    found = initial.find(None, plan, task.spec, initial.Wanted(tensors, own, stays))
    if found is None:
        return task, options, own
    saved = found.model
    frozen = Frozen(stays, part(saved.vector, saved.tensors, stays)) if stays else None
    return with_frozen(task, frozen), options, part(saved.vector, saved.tensors, tensors)
