"""Three ways to the same clipped sum of per-record gradients: hooks, ghost, one record at a time.

A record whose loss or gradient is not finite counts as a zero gradient; otherwise one such record
would turn the whole update into NaN and show its presence. How many there were is not kept, and the
work is the same with and without them, so that neither result nor time tells.
"""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from edgeveil.agent.training.engines.layerwise import Recorder
from edgeveil.agent.training.engines.mechanism import Mechanism
from edgeveil.agent.training.engines.opacus_parts import prepare_module
from edgeveil.agent.training.engines.optimizer import MARGIN, SecureGhostOptimizer, SecureOptimizer
from edgeveil.agent.training.engines.summing import place
from edgeveil.shared.tasks.batches import one, size
from edgeveil.shared.tasks.records import Batch

GradientMode = Literal["hooks", "ghost", "single"]

# The first layer's input never needs a gradient; Opacus works as intended there.
warnings.filterwarnings("ignore", message="Full backward hook is firing")


class Engine(ABC):
    """Attached to one fresh module for one round; close() (or `with`) detaches it.

    `criterion` gives one loss per record. accumulate() any number of chunks, then finish() once per
    logical step. Only `single` takes records of unequal size.
    """

    grad_sample_mode: str

    def __init__(self, module: nn.Module, criterion: nn.Module) -> None:
        self._module = module
        self._criterion = criterion
        self._params: list[Any] = [p for p in module.parameters() if p.requires_grad]
        self._hooks: Any = None
        self._optimizer: Any = None

    def attach(self, optimizer: torch.optim.Optimizer, mechanism: Mechanism) -> Self:
        self._hooks = prepare_module(
            self._module, self.grad_sample_mode, wrap_model=False, loss_reduction="sum"
        )
        self._optimizer = self._optimizer_class()(optimizer, mechanism)
        return self

    def accumulate(self, inputs: Batch, targets: Batch) -> None:
        """Add the clipped gradients of these records (at least one) to the step's sum."""
        self._fill(inputs, targets)
        self._skip_step()

    def finish(self) -> None:
        """Noise, divide, step: exactly once, whether or not any record was drawn."""
        self._fill_empty()
        self._optimizer.step()
        self._optimizer.zero_grad()

    def clipped_sum(self) -> list[Tensor]:
        """What was accumulated so far, in float64, without noise: for the self-check on random data, and for
        who adds noise where the gradients of all agents meet. Zeros if no record was drawn.
        """
        return [
            torch.zeros_like(p, dtype=torch.float64, device=place(p))
            if p.summed_grad is None
            else p.summed_grad.clone()
            for p in self._params
        ]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._optimizer.close()
        self._hooks.cleanup()

    def _optimizer_class(self) -> type[Any]:
        return SecureOptimizer

    def _skip_step(self) -> None:
        self._optimizer.signal_skip_step(do_skip=True)
        self._optimizer.step()
        self._optimizer.zero_grad()

    @abstractmethod
    def _fill(self, inputs: Batch, targets: Batch) -> None:
        """Leave this chunk's gradients where the optimiser looks for them."""

    def _fill_empty(self) -> None:
        for p in self._params:
            p.grad_sample = p.new_zeros((0, *p.shape))


class Hooks(Engine):
    """Per-record gradients of the whole chunk in memory: chunk · parameters floats."""

    grad_sample_mode = "hooks"

    def _fill(self, inputs: Batch, targets: Batch) -> None:
        torch.autograd.backward(self._criterion(self._module(inputs), targets).sum())
        finite = torch.stack(
            [torch.isfinite(p.grad_sample).flatten(1).all(dim=1) for p in self._params]
        ).all(dim=0)
        for p in self._params:
            out = ~finite.view(-1, *[1] * p.dim())
            p.grad_sample.masked_fill_(out, 0.0)


class Ghost(Engine):
    """Norms and clipped sums layer by layer from one backward pass (agent.training.engines.layerwise)."""

    grad_sample_mode = "no_op"

    def attach(self, optimizer: torch.optim.Optimizer, mechanism: Mechanism) -> Self:
        super().attach(optimizer, mechanism)
        self._recorder = Recorder(self._module)
        self._clip_norm = mechanism.clip_norm * MARGIN
        return self

    def close(self) -> None:
        self._recorder.close()
        super().close()

    def _optimizer_class(self) -> type[Any]:
        return SecureGhostOptimizer

    def _fill(self, inputs: Batch, targets: Batch) -> None:
        losses: Tensor = self._criterion(self._module(inputs), targets)
        found = self._recorder.gradients(losses)
        with torch.no_grad():
            norms = found.norms()
            weights = (self._clip_norm / (norms + 1e-6)).clamp(max=1.0)
            finite = torch.isfinite(losses).to(norms.device) & torch.isfinite(norms)
            found.store(torch.where(finite, weights, 0.0))

    def _fill_empty(self) -> None:
        for p in self._params:
            p.clipped = None


class Single(Engine):
    """One forward and backward pass per record: exact for every model, and the slowest."""

    grad_sample_mode = "no_op"

    def _fill(self, inputs: Batch, targets: Batch) -> None:
        for at in range(size(inputs)):
            loss = self._criterion(self._module(one(inputs, at)), one(targets, at)).sum()
            gradients = torch.autograd.grad(loss, self._params, allow_unused=True)
            found = [
                torch.zeros_like(p) if g is None else g
                for p, g in zip(self._params, gradients, strict=True)
            ]
            finite = torch.stack([torch.isfinite(g).all() for g in found]).all()
            for p, g in zip(self._params, found, strict=True):
                p.grad_sample = torch.where(finite, g, 0.0).unsqueeze(0)
            self._skip_step()

    def accumulate(self, inputs: Batch, targets: Batch) -> None:
        self._fill(inputs, targets)


ENGINES: dict[GradientMode, Callable[[nn.Module, nn.Module], Engine]] = {
    "hooks": Hooks,
    "ghost": Ghost,
    "single": Single,
}
