"""What private training asks of a task, beside what every task holds to (edgeveil.shared.tasks.conformance).

On made-up records alone; the same code that trains judges.
"""

from pathlib import Path

import numpy as np
import torch

from edgeveil.agent.training.engine_choice import choose
from edgeveil.agent.training.engines.gradients import ENGINES
from edgeveil.agent.training.engines.mechanism import Mechanism
from edgeveil.agent.training.recurrent import trained_form
from edgeveil.agent.training.training import ALL_MODES, train
from edgeveil.agent.training.validate import Probe, prepared
from edgeveil.shared.base.errors import PolicyRefusal
from edgeveil.shared.tasks.batches import one, taken
from edgeveil.shared.tasks.conformance.subject import OTHERS, PLACE, Broken, Subject, alike, spoiled
from edgeveil.shared.tasks.conformance.suite import CHECKS, Check, examine
from edgeveil.shared.tasks.modules import read_vector, write_vector
from edgeveil.shared.tasks.own.installing import candidate
from edgeveil.shared.tasks.records import Batch, Rows
from edgeveil.shared.vector.model_vector import Vector
from edgeveil.shared.wire.plan import TrainingPlan

REPEATED = 256  # times one record, so that noise hides nothing of the way down
FEW = 16  # the same where records go one at a time, under as much less noise
STEPS, RATE, SIGMA = 10, 0.05, 1.0
TOLERANCE = 1e-5  # relative, of a clipped sum


def trains_privately(subject: Subject, _folder: Path) -> None:
    """Every module, the loss, and an engine that is exact; as each device judges it before it trains."""
    try:
        choose(_probe(subject), ALL_MODES)
    except PolicyRefusal as error:
        raise Broken(error.message) from error


def trains_on_beside_nans(subject: Subject, _folder: Path) -> None:
    """A record of NaN is a zero in the clipped sum."""
    inputs, targets = subject.drawn()
    if alike(inputs, spoiled(inputs, PLACE)):
        return  # whole numbers alone, of which none is NaN
    others = taken(inputs, OTHERS), taken(targets, OTHERS)
    without = _clipped_sum(subject, *others)
    beside = _clipped_sum(subject, spoiled(inputs, PLACE), targets)
    if not torch.isfinite(beside).all():
        raise Broken("a record of NaN makes the update NaN, which would show its presence")
    if not torch.linalg.norm(beside - without) <= TOLERANCE * torch.linalg.norm(without):
        raise Broken("a record of NaN has a gradient: the model turns NaN into numbers before it learns")  # fmt: skip


def learns_in_private_steps(subject: Subject, _folder: Path) -> None:
    task, options = subject.task, subject.options
    count = REPEATED if subject.one_shape else FEW
    inputs, targets = (one(part, 0) for part in subject.drawn())
    records = _Repeated(inputs, targets, count)
    tensors = task.tensors(options)
    start = read_vector(task.build(options), tensors)
    result = train(task, options, records, start, tensors, _plan(SIGMA * count / REPEATED), count)
    before, after = (_loss(subject, vector, records) for vector in (start, start + result.update))
    if not after < before:
        raise Broken(
            f"{STEPS} private steps do not lower the loss of the one record they saw: {before:.4g}, then "
            f"{after:.4g}; look at the loss, and at how large the model's outputs are at the start"
        )


PRIVATE_CHECKS = (
    Check("can be trained privately", trains_privately),
    Check("trains on beside a record of NaN", trains_on_beside_nans),
    Check("learns in a few private steps", learns_in_private_steps),
)
ALL_CHECKS = (*CHECKS, *PRIVATE_CHECKS)


def faults_of(path: Path) -> list[str]:
    """Of a file with a task, each as a sentence; for its own test. Raises ConfigError where it is no task."""
    found = examine(candidate(str(path)).subject(), ALL_CHECKS)
    return [f"it {each.promise}: {each.fault}" for each in found if each.tried and each.fault]


class _Repeated:
    """One record, many times."""

    skipped = ()

    def __init__(self, inputs: Batch, targets: Batch, count: int) -> None:
        self._batch, self._count = (inputs, targets), count

    def __len__(self) -> int:
        return self._count

    def take(self, rows: Rows) -> tuple[Batch, Batch]:
        places = [0] * len(rows)
        inputs, targets = self._batch
        return taken(inputs, places), taken(targets, places)


def _probe(subject: Subject) -> Probe:
    task, options = subject.task, subject.options
    return Probe(
        build=lambda: trained_form(task.build(options)),
        criterion=task.criterion("none"),
        draw=lambda count, random: task.probe(count, random, options),
    )


def _clipped_sum(subject: Subject, inputs: Batch, targets: Batch) -> torch.Tensor:
    """By the exact engine, without noise."""
    module = prepared(_probe(subject))
    optimizer = torch.optim.SGD([p for p in module.parameters() if p.requires_grad], lr=1.0)
    engine = ENGINES["single"](module, subject.task.criterion("none"))
    with engine.attach(optimizer, Mechanism(clip_norm=1.0, noise_multiplier=1.0)):
        engine.accumulate(inputs, targets)
        return torch.cat([part.flatten() for part in engine.clipped_sum()])


def _loss(subject: Subject, vector: Vector, records: _Repeated) -> float:  # fmt: skip
    module = subject.task.build(subject.options)
    write_vector(module, vector, subject.task.tensors(subject.options))
    inputs, targets = records.take(np.arange(1))
    with torch.no_grad():
        return float(subject.task.criterion("mean")(module(inputs), targets))


def _plan(sigma: float) -> TrainingPlan:
    return TrainingPlan(
        steps=STEPS,
        sample_rate=1.0,
        clip_norm=1.0,
        learning_rate=RATE,
        noise_multiplier=sigma,
        delta=1e-5,
        rounds=1,
    )
