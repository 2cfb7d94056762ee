"""One local round: the received model in, a differentially private update out.

Unit of privacy: one record, neighbours by adding or removing it. Each step draws records by Poisson
sampling, sums their clipped gradients, adds Gaussian noise of standard deviation noise_multiplier ·
clip_norm, divides by the public sample_rate · n_ref and takes one optimiser step. Optimiser, momentum
and averaging see noisy gradients only. The number of steps never depends on a record.
"""

import logging
import os
import secrets
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from edgeveil.agent.training import noise, noiseless, sampler
from edgeveil.agent.training.compute import CPU, Compute
from edgeveil.agent.training.engine_choice import Choice, choose
from edgeveil.agent.training.engines.gradients import ENGINES, Engine, GradientMode
from edgeveil.agent.training.engines.mechanism import Mechanism
from edgeveil.agent.training.recurrent import trained_form
from edgeveil.agent.training.validate import Probe, out_of_place
from edgeveil.agent.training.varied import Varied
from edgeveil.shared.base.errors import DataError, ProtocolError, RefusalCode
from edgeveil.shared.tasks.batches import Form, form
from edgeveil.shared.tasks.modules import read_vector, trainable, write_vector
from edgeveil.shared.tasks.records import Records
from edgeveil.shared.tasks.spec import Options, Trainable
from edgeveil.shared.vector.model_vector import unflatten
from edgeveil.shared.wire.messages import Tensor
from edgeveil.shared.wire.plan import TrainingPlan

log = logging.getLogger("edgeveil.agent")

ALL_MODES: tuple[GradientMode, ...] = ("hooks", "ghost", "single")

Progress = Callable[[int, int], None]  # steps done, steps planned


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """`update` is trained − start, float32 (d,), tensors in the order given to train.

    `gradient_mode` "batch": gradients of whole batches, not of records (agent.training.noiseless).
    """

    update: NDArray[np.float32]
    steps: int
    gradient_mode: GradientMode | Literal["batch"]


@dataclass(frozen=True, slots=True)
class SummedGradients:
    """`sums` are the clipped gradients of one step added up, float64 (d,), without noise: not private yet."""

    sums: NDArray[np.float64] = field(repr=False)
    gradient_mode: GradientMode


_NONE = np.arange(0)
_ready_in: set[int] = set()  # process ids; a forked child tests its own generators
_choices: dict[tuple[object, ...], Choice] = {}


def train(  # noqa: PLR0917  the seven inputs of a round, in the order they come into being
    task: Trainable,
    options: Options,
    records: Records,
    start: NDArray[np.float32],
    tensors: tuple[Tensor, ...],
    plan: TrainingPlan,
    n_ref: int,
    *,
    modes: Collection[GradientMode] = ALL_MODES,
    progress: Progress | None = None,
    bend: NDArray[np.float32] | None = None,
    compute: Compute = CPU,
) -> TrainingResult:
    """Run exactly plan.steps steps from `start`, float32 (d,).

    `bend`, float32 (d,), moves the model by an equal share after every step and is left out of the
    update: the correction by control variates, which is made of public and noisy values alone. The
    caller has reserved the steps in the ledger; nothing here looks at the budget.

    Raises:
        PolicyRefusal: SELF_TEST_FAILED, or MODEL_NOT_INDEPENDENT.
        ProtocolError: MODEL_INVALID for tensors that are not this task's, UPDATE_NON_FINITE if the
            plan drives the model out of float32.
        DataError: the records do not have the form of those the task makes up.
    """
    choice = check_trainable(task, options, records, modes=modes, compute=compute)
    module = _fresh(task, options, start, tensors, compute)
    optimizer = _optimizer(module, plan)
    average = _Average(plan.average)
    bent = _Bent(module, bend, tensors, plan.steps)
    engine = ENGINES[choice.mode](module, task.criterion("none").to(compute.device))
    source = Varied(records, task, options, module)
    with engine.attach(optimizer, Mechanism.of(plan, n_ref)):
        for step in range(plan.steps):
            _step(engine, source, plan.sample_rate, choice.chunk, compute)
            bent.move()
            if plan.average or step + 1 == plan.steps:
                average.add(read_vector(module, tensors))
            if progress is not None:
                progress(step + 1, plan.steps)
    update = average.value() - start
    if bend is not None:
        update -= bend
    if not np.isfinite(update).all():
        raise ProtocolError(
            RefusalCode.UPDATE_NON_FINITE, "the plan's learning_rate drives the model to infinity"
        )
    return TrainingResult(update, plan.steps, choice.mode)


def summed_gradients(  # noqa: PLR0917  as train
    task: Trainable,
    options: Options,
    records: Records,
    start: NDArray[np.float32],
    tensors: tuple[Tensor, ...],
    plan: TrainingPlan,
    n_ref: int,
    *,
    modes: Collection[GradientMode] = ALL_MODES,
    progress: Progress | None = None,
    compute: Compute = CPU,
) -> SummedGradients:
    """The clipped gradients at `start` of one draw, added up: what a plan with noise in shares is about.

    Not private until a share of the noise is added (agent.rounds.upload); sensitivity C. Raises as train.
    """
    choice = check_trainable(task, options, records, modes=modes, compute=compute)
    module = _fresh(task, options, start, tensors, compute)
    engine = ENGINES[choice.mode](module, task.criterion("none").to(compute.device))
    source = Varied(records, task, options, module)
    mechanism = replace(Mechanism.of(plan, n_ref), steps=0)  # its noise is never drawn
    with engine.attach(_optimizer(module, plan), mechanism):
        _accumulate(engine, source, plan.sample_rate, choice.chunk, compute)
        sums = engine.clipped_sum()
    if progress is not None:
        progress(1, 1)
    named = [name for name, p in module.named_parameters() if p.requires_grad]
    by_name = dict(zip(named, sums, strict=True))
    parts = [by_name[each.name].cpu().numpy().ravel() for each in tensors]
    return SummedGradients(np.concatenate(parts).astype(np.float64), choice.mode)


class Trainer:
    """train(), check_trainable() and what there is without noise, where the owner wants them to be computed."""

    def __init__(self, compute: Compute) -> None:
        self._compute = compute
        self.check_trainable = partial(check_trainable, compute=compute)
        self.check_form = partial(check_form, compute=compute)
        self.train = partial(train, compute=compute)
        self.summed_gradients = partial(summed_gradients, compute=compute)

    def train_without_noise(  # noqa: PLR0917  the seven inputs of agent.training.noiseless.train
        self,
        task: Trainable,
        options: Options,
        records: Records,
        start: NDArray[np.float32],
        tensors: tuple[Tensor, ...],
        plan: TrainingPlan,
        number: int,
        *,
        progress: Progress | None = None,
    ) -> TrainingResult:
        """As agent.training.noiseless.train; raises DataError too, for records of another form."""
        self.check_form(task, options, records)
        update = noiseless.train(
            task,
            options,
            records,
            start,
            tensors,
            plan,
            number,
            progress=progress,
            compute=self._compute,
        )
        return TrainingResult(update, plan.steps, "batch")


def _fresh(
    task: Trainable,
    options: Options,
    start: NDArray[np.float32],
    tensors: tuple[Tensor, ...],
    compute: Compute,
) -> torch.nn.Module:
    """The task's model as the offer has it; raises ProtocolError(MODEL_INVALID)."""
    module = out_of_place(trained_form(task.build(options))).train().to(compute.device)
    if tensors != trainable(module):
        raise ProtocolError(
            RefusalCode.MODEL_INVALID, f"the tensors offered are not those of {task.spec.id}"
        )
    write_vector(module, start, tensors)
    return module


def _optimizer(module: torch.nn.Module, plan: TrainingPlan) -> torch.optim.Optimizer:
    """Fresh in every round, so that no state of an optimiser outlives it."""
    parameters = [p for p in module.parameters() if p.requires_grad]
    if plan.optimizer == "adam":
        return torch.optim.Adam(parameters, lr=plan.learning_rate)
    return torch.optim.SGD(parameters, lr=plan.learning_rate, momentum=plan.momentum)


class _Bent:
    """Moves the parameters of `module` by one of so many equal parts of a vector; None moves nothing."""

    def __init__(
        self,
        module: torch.nn.Module,
        bend: NDArray[np.float32] | None,
        tensors: tuple[Tensor, ...],
        parts: int,
    ) -> None:
        named = dict(module.named_parameters())
        arrays = {} if bend is None else unflatten(bend / np.float32(parts), tensors)
        self._moves = [
            (named[name], torch.tensor(array, device=named[name].device))
            for name, array in arrays.items()
        ]

    def move(self) -> None:
        with torch.no_grad():
            for parameter, part in self._moves:
                parameter.add_(part)


class _Average:
    """Mean over the steps with weights falling by `decay` towards the past; 0 keeps the last only."""

    def __init__(self, decay: float) -> None:
        self._decay = decay
        self._sum = np.zeros(0)
        self._weight = 0.0

    def add(self, model: NDArray[np.float32]) -> None:
        if self._decay == 0:
            self._sum, self._weight = model.astype(np.float64), 1.0
            return
        if self._weight == 0:
            self._sum = np.zeros(model.shape)
        self._sum = self._decay * self._sum + (1 - self._decay) * model
        self._weight = self._decay * self._weight + (1 - self._decay)

    def value(self) -> NDArray[np.float32]:
        return (self._sum / self._weight).astype(np.float32)


def check_trainable(
    task: Trainable,
    options: Options,
    records: Records | None = None,
    *,
    modes: Collection[GradientMode] = ALL_MODES,
    compute: Compute = CPU,
) -> Choice:
    """The engine for this task, judged once per process on random records; raises as train.

    With `records`, whose form must then be what the model takes.

    Call it before reserving: a device that cannot train then spends nothing.
    """
    probe, wanted = _probe_of(task, options, records, compute)
    key = (task.spec, options.model_dump_json(), wanted, frozenset(modes), compute.device)
    if key not in _choices:
        _choices[key] = choose(probe, modes, compute)
        log.info("gradients of %s by %s", task.spec.id, _choices[key].reason)
    return _choices[key]


def check_form(
    task: Trainable, options: Options, records: Records | None = None, compute: Compute = CPU
) -> None:
    """All of check_trainable() but the gradients of single records, which nothing needs without noise."""
    _probe_of(task, options, records, compute)


def _probe_of(
    task: Trainable, options: Options, records: Records | None, compute: Compute
) -> tuple[Probe, Form]:
    """Random records of the task with their form, which `records` must have; raises DataError."""
    _prepare_process(compute)
    probe = Probe(
        build=lambda: trained_form(task.build(options)).to(compute.device),
        criterion=task.criterion("none").to(compute.device),
        draw=lambda count, random: compute.moved(task.probe(count, random, options)),
    )
    wanted = form(probe.batch(1))
    found = wanted if records is None else form(records.take(_NONE))
    if found != wanted:
        raise DataError(
            f"records of the form {found} do not fit the model of {task.spec.id}, which takes {wanted}"
        )
    return probe, wanted


def _step(engine: Engine, source: Varied, sample_rate: float, chunk: int, compute: Compute) -> None:
    _accumulate(engine, source, sample_rate, chunk, compute)
    engine.finish()


def _accumulate(
    engine: Engine, source: Varied, sample_rate: float, chunk: int, compute: Compute
) -> None:
    drawn, seed = sampler.poisson_sample(len(source), sample_rate), secrets.randbits(64)
    for at in range(0, len(drawn), chunk):
        inputs, targets = source.take(drawn[at : at + chunk], seed)
        engine.accumulate(compute.moved(inputs), compute.moved(targets))


def _prepare_process(compute: Compute) -> None:
    """Once per process: threads as the owner says, generators tested."""
    if os.getpid() in _ready_in:
        return
    compute.prepare()
    noise.self_test()
    sampler.self_test()
    _ready_in.add(os.getpid())
