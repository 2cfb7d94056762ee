"""Opacus optimisers with our noise, our divisor and a clipping margin.

One logical step is any number of skipped chunk steps, then one empty step that adds noise exactly
once; so an empty batch still adds noise and steps. Sensitivity: clip_norm, in the L2 norm over all
trainable parameters, when one record is added or removed.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgeveil.agent.training.engines import summing
from edgeveil.agent.training.engines.mechanism import Mechanism
from edgeveil.agent.training.engines.opacus_parts import (
    DPOptimizer,
    DPOptimizerFastGradientClipping,
)
from edgeveil.agent.training.noise import Ahead, gaussian

MARGIN = 1 - 1e-4  # clip a little below clip_norm, so that float32 norms cannot exceed it


class _Secure:
    """Replaces the two steps of Opacus in which randomness or the batch size could leak."""

    params: list[Any]

    def __init__(self, optimizer: torch.optim.Optimizer, mechanism: Mechanism) -> None:
        options: dict[str, Any] = {
            "noise_multiplier": mechanism.noise_multiplier,
            "max_grad_norm": mechanism.clip_norm * MARGIN,
            "expected_batch_size": None,
            "loss_reduction": "sum",
        }
        super().__init__(optimizer, **options)  # type: ignore[call-arg]  # Opacus is the next base
        self._mechanism = mechanism
        self._anchor = [p.detach().clone() for p in self.params] if mechanism.proximal else []
        self._noise = Ahead(self._draw, mechanism.steps)

    def close(self) -> None:
        self._noise.close()

    def _draw(self) -> NDArray[np.float64]:
        return gaussian(sum(p.numel() for p in self.params), self._mechanism.noise_std)

    def _add(self, p: Any, part: Tensor | None) -> None:
        """Everything adds up in float64 (agent.training.engines.summing); `summed_grad` is where Opacus looks.

        None stands for no records.
        """
        if p.summed_grad is None:
            none = torch.zeros_like(p, dtype=torch.float64, device=summing.place(p))
            p.summed_grad = none if part is None else part
        elif part is not None:
            p.summed_grad.add_(part)

    def add_noise(self) -> None:
        """p.grad := summed clipped gradients + N(0, (σC)²), added in float64, one key per step."""
        noise = self._noise.take()
        at = 0
        for p in self.params:
            part = torch.from_numpy(noise[at : at + p.numel()]).view_as(p)
            p.grad = part.add_(p.summed_grad.cpu()).to(p)
            at += p.numel()

    def scale_grad(self) -> None:
        for p in self.params:
            if p.grad is not None:
                p.grad /= self._mechanism.divisor
        # After the noise: μ · (model − global model) is a function of earlier noisy steps alone.
        for p, start in zip(self.params, self._anchor, strict=False):
            if p.grad is not None:
                p.grad += self._mechanism.proximal * (p.detach() - start)


class SecureOptimizer(_Secure, DPOptimizer):  # type: ignore[misc]  # Opacus carries no types
    """For per-record gradients (`hooks`, and one record at a time), left in p.grad_sample (B, …)."""

    def clip_and_accumulate(self) -> None:
        """Clip each record's gradient to max_grad_norm and add it to the step's sum."""
        found: list[Tensor] = self.grad_samples
        if not len(found[0]):
            for p in self.params:
                self._add(p, None)
            return
        weights = (self.max_grad_norm / (summing.norms(found) + 1e-6)).clamp(max=1.0)
        for p, rows in zip(self.params, found, strict=True):
            self._add(p, summing.weighted_sum(weights, rows))


class SecureGhostOptimizer(
    _Secure,
    DPOptimizerFastGradientClipping,  # type: ignore[misc]  # Opacus carries no types
):
    """For ghost clipping, which leaves the clipped sum itself in p.clipped, float64, or None."""

    def accumulate(self) -> None:
        for p in self.params:
            self._add(p, p.clipped)
            del p.clipped
