"""One device of a simulated federation: DP-SGD as agents do it, with ordinary random numbers.

Exact per-record gradients, clipped, summed, noised, divided by the public q · n_ref (docs/design.md,
"Privacy"). The noise is for learning what a plan would learn; it protects nobody, and only public or
simulated records come here. Imports torch.
"""

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call, grad, vmap
from torch.utils._pytree import tree_map

from edgeveil.shared.base.errors import ProtocolError, RefusalCode
from edgeveil.shared.tasks.augmentation.draws import Draws, dropouts
from edgeveil.shared.tasks.batches import one, size, stacked
from edgeveil.shared.tasks.modules import read_vector, write_vector
from edgeveil.shared.tasks.records import Batch, Records, Rows
from edgeveil.shared.tasks.spec import Augmenting, Options, Task
from edgeveil.shared.vector.model_vector import Vector
from edgeveil.shared.wire.plan import TrainingPlan

CHUNK = 250  # records whose gradients are held at once, fewer of a large model
CHUNK_VALUES = 1 << 24  # of them together: 64 MB
PROBES = 3
MARGIN = 1e-6


class Gradients:
    """Sums of clipped gradients of single records: all at once where that gives the same, else one by one."""

    def __init__(self, task: Task, options: Options, module: torch.nn.Module, clip: float) -> None:
        self._module, self._clip = module, clip
        self._criterion = task.criterion("none")
        named = sorted(module.named_parameters())
        self._parameters = {name: p for name, p in named if p.requires_grad}
        self.size = sum(p.numel() for p in self._parameters.values())
        self._chunk = max(1, min(CHUNK, CHUNK_VALUES // self.size))
        self._many = vmap(grad(self._loss), in_dims=(None, 0, 0))
        self.at_once = not dropouts(module) and self._agree(task, options)

    def clipped_sum(self, inputs: Batch, targets: Batch) -> Tensor:
        """(d,), the parameters in the order of their names; a gradient that is not finite counts as zero."""
        together = self.at_once and stacked(inputs) and stacked(targets)
        rows = self._rows(inputs, targets) if together else self._rows_singly(inputs, targets)
        rows = torch.where(torch.isfinite(rows).all(dim=1, keepdim=True), rows, 0.0)
        factors: Tensor = (self._clip / (rows.norm(dim=1) + MARGIN)).clamp(max=1.0)  # (B,)
        return factors @ rows

    def chunks(self, rows: Rows) -> list[Rows]:
        return [rows[at : at + self._chunk] for at in range(0, len(rows), self._chunk)]

    def _loss(self, parameters: dict[str, Tensor], record: Batch, target: Batch) -> Tensor:
        inputs, targets = (tree_map(lambda part: part.unsqueeze(0), x) for x in (record, target))
        outputs = functional_call(self._module, parameters, (inputs,))
        value: Tensor = self._criterion(outputs, targets).sum()
        return value

    def _rows(self, inputs: Batch, targets: Batch) -> Tensor:
        """(B, d)."""
        values = {name: p.detach() for name, p in self._parameters.items()}
        found = self._many(values, inputs, targets)
        return torch.cat([found[name].flatten(1) for name in self._parameters], dim=1)

    def _rows_singly(self, inputs: Batch, targets: Batch) -> Tensor:
        parameters, rows = list(self._parameters.values()), []
        for at in range(size(inputs)):
            loss = self._criterion(self._module(one(inputs, at)), one(targets, at)).sum()
            found = torch.autograd.grad(loss, parameters, allow_unused=True)
            both = zip(found, parameters, strict=True)
            rows.append(
                torch.cat([(torch.zeros_like(p) if g is None else g).ravel() for g, p in both])
            )
        return torch.stack(rows)

    def _agree(self, task: Task, options: Options) -> bool:
        """Judged on made-up records, so that the choice is the same in every trial."""
        inputs, targets = task.probe(PROBES, torch.Generator().manual_seed(1), options)
        if not (stacked(inputs) and stacked(targets)):
            return False
        try:
            found = self._rows(inputs, targets)
        except (RuntimeError, ValueError, AttributeError):  # an operation that has no batched form
            return False
        return torch.allclose(found, self._rows_singly(inputs, targets), rtol=1e-3, atol=1e-5)


class Trainer:
    """Local training of one plan, for every device of it in turn."""

    def __init__(self, task: Task, options: Options, plan: TrainingPlan) -> None:
        torch.set_num_threads(
            1
        )  # small steps: threads that wait for one another cost more than they bring
        self._task = task if isinstance(task, Augmenting) else None
        self._options, self._plan = options, plan
        self._tensors = task.tensors(options)
        self._module = task.build(options).train()
        self._dropouts = dropouts(self._module)
        self._gradients = Gradients(task, options, self._module, plan.clip_norm)
        named = sorted(self._module.named_parameters())
        self._trained = [p for _, p in named if p.requires_grad]

    def update(self, start: Vector, records: Records, random: np.random.Generator) -> Vector:
        """What `plan.steps` steps make of `start`, float32 (d,), less `start`.

        Raises:
            ProtocolError: UPDATE_NON_FINITE, the learning rate drives the model to infinity.
        """
        plan, first = self._plan, torch.from_numpy(start.copy())
        write_vector(self._module, start, self._tensors)
        optimizer = self._optimizer()
        mean, weight = np.zeros(start.shape), 0.0
        for _ in range(plan.steps):
            noisy = self._noisy_sum(records, random) / (plan.sample_rate * len(records))
            if plan.proximal:
                noisy += plan.proximal * (self._now() - first)
            self._step(optimizer, noisy)
            mean = plan.average * mean + (1 - plan.average) * self._now().numpy()
            weight = plan.average * weight + (1 - plan.average)
        update = mean / weight - start
        if not np.isfinite(update).all():
            raise ProtocolError(
                RefusalCode.UPDATE_NON_FINITE, "learning_rate drives the model to infinity"
            )
        return update.astype(np.float32)

    def _noisy_sum(self, records: Records, random: np.random.Generator) -> Tensor:
        plan, count = self._plan, len(records)
        noise = random.standard_normal(self._gradients.size, np.float32)
        total = torch.from_numpy(noise * np.float32(plan.noise_multiplier * plan.clip_norm))
        drawn = np.flatnonzero(random.random(count) < plan.sample_rate)
        seed = int(random.integers(1 << 63))
        for rows in self._gradients.chunks(drawn):
            total += self._gradients.clipped_sum(*self._varied(records, rows, seed))
        return total

    def _varied(self, records: Records, rows: Rows, seed: int) -> tuple[Batch, Batch]:
        """The records as the options vary them in this step."""
        (inputs, targets), draws = records.take(rows), Draws(seed, rows)
        for layer in self._dropouts:
            layer.use(draws)
        if self._task is None:
            return inputs, targets
        return self._task.augment(inputs, targets, draws, self._options)

    def _now(self) -> Tensor:
        return torch.from_numpy(read_vector(self._module, self._tensors))

    def _step(self, optimizer: torch.optim.Optimizer, gradient: Tensor) -> None:
        parts = torch.split(gradient, [p.numel() for p in self._trained])
        for parameter, part in zip(self._trained, parts, strict=True):
            parameter.grad = part.reshape(parameter.shape).clone()
        optimizer.step()

    def _optimizer(self) -> torch.optim.Optimizer:
        plan = self._plan
        if plan.optimizer == "adam":
            return torch.optim.Adam(self._trained, lr=plan.learning_rate)
        return torch.optim.SGD(self._trained, lr=plan.learning_rate, momentum=plan.momentum)
