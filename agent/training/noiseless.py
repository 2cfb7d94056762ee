"""One local round of plain steps: the received model in, what training makes of it out.

For devices whose owner has said so (`dp_required = false`; docs/threat-model.md, "Without noise"), and for plans with
`unit = "device"`, whose noise is added to what comes out. No gradient is noised. The L2 norm of the whole update is below the
plan's `clip_norm`, whatever the records, and an update that is not finite becomes zeros: with the unit of a device ε rests on
both (docs/privacy.md, "The whole device"). What a round asks of the processor follows from the plan and from how many
records there are, and no record makes it fail.
"""

import secrets
from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from edgeveil.agent.training.compute import CPU, Compute
from edgeveil.agent.training.varied import Varied
from edgeveil.shared.base.errors import ProtocolError, RefusalCode
from edgeveil.shared.tasks.batches import one, size, stacked
from edgeveil.shared.tasks.modules import read_vector, trainable, write_vector
from edgeveil.shared.tasks.records import Batch, Records, Rows
from edgeveil.shared.tasks.spec import Options, Trainable
from edgeveil.shared.wire.messages import Tensor
from edgeveil.shared.wire.plan import TrainingPlan

MARGIN = 1 - 1e-6  # below the bound, so that float32 does not lie beyond it


def train(  # noqa: PLR0917  as agent.training.training.train, with the round in the place of n_ref
    task: Trainable,
    options: Options,
    records: Records,
    start: NDArray[np.float32],
    tensors: tuple[Tensor, ...],
    plan: TrainingPlan,
    number: int,
    *,
    progress: Callable[[int, int], None] | None = None,
    compute: Compute = CPU,
) -> NDArray[np.float32]:
    """The update, (d,), of plan.steps steps of round `number` (1 … plan.rounds) from `start`, float32 (d,).

    The caller has noted the round in the ledger; nothing here looks at policy or budget. A step whose
    gradient is not finite is left out, and so is an update that is not: no record is told by a failure.

    Raises:
        ProtocolError: MODEL_INVALID for tensors that are not this task's.
    """
    module = task.build(options).train().to(compute.device)
    if tensors != trainable(module):
        raise ProtocolError(
            RefusalCode.MODEL_INVALID, f"the tensors offered are not those of {task.spec.id}"
        )
    write_vector(module, start, tensors)
    criterion = task.criterion("none").to(compute.device)
    optimizer = _optimizer(module, plan, plan.rate(number, plan.rounds))
    source = Varied(records, task, options, module)
    for step, rows in enumerate(batches(len(records), plan.batch_size, plan.steps), start=1):
        if len(rows):
            inputs, targets = source.take(rows, secrets.randbits(64))
            _step(module, criterion, optimizer, compute.moved(inputs), compute.moved(targets))
        if progress is not None:
            progress(step, plan.steps)
    return bounded(read_vector(module, tensors).astype(np.float64) - start, plan.clip_norm)


def bounded(update: NDArray[np.float64], clip_norm: float) -> NDArray[np.float32]:
    """The update, float (d,), with an L2 norm of at most `clip_norm`; zeros for one that is not finite."""
    norm = float(np.linalg.norm(update))
    if not np.isfinite(norm):
        return np.zeros(update.shape, np.float32)
    scale = min(1.0, clip_norm * MARGIN / norm) if norm else 1.0
    return (scale * update).astype(np.float32)


def batches(records: int, batch_size: int, steps: int) -> Iterator[Rows]:
    """The records of each step: epochs in random order, cut into `batch_size`, a short rest left to the next.

    Of fewer records all of them are taken every time; of none, none.
    """
    random = np.random.default_rng()  # from the operating system's randomness
    length = min(batch_size, records)
    left = np.arange(0)
    for _ in range(steps):
        if len(left) < length:
            left = random.permutation(records)
        yield left[:length]
        left = left[length:]


def _optimizer(module: torch.nn.Module, plan: TrainingPlan, rate: float) -> torch.optim.Optimizer:
    """Fresh in every round, so that no state of an optimiser outlives it."""
    parameters = [p for p in module.parameters() if p.requires_grad]
    decay = plan.weight_decay
    match plan.optimizer:
        case "adamw":
            return torch.optim.AdamW(parameters, lr=rate, weight_decay=decay)
        case "adam":
            return torch.optim.Adam(parameters, lr=rate, weight_decay=decay)
        case "sgd":
            return torch.optim.SGD(parameters, lr=rate, momentum=plan.momentum, weight_decay=decay)


def _step(
    module: torch.nn.Module,
    criterion: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    inputs: Batch,
    targets: Batch,
) -> None:
    """One step on the mean loss of a batch; records of unequal size go through the model one at a time."""
    optimizer.zero_grad()
    count = size(inputs)
    if stacked(inputs) and stacked(targets):
        criterion(module(inputs), targets).mean().backward()
    else:
        for at in range(count):
            loss = criterion(module(one(inputs, at)), one(targets, at)).sum() / count
            loss.backward()
    gradients = [p.grad for group in optimizer.param_groups for p in group["params"]]
    if all(torch.isfinite(g).all() for g in gradients if g is not None):
        optimizer.step()
