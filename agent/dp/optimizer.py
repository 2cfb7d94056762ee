"""Opacus optimisers with our noise, our divisor and a clipping margin.

One logical step is any number of skipped chunk steps, then one empty step that adds noise exactly
once; so an empty batch still adds noise and steps. Sensitivity: clip_norm, in the L2 norm over all
trainable parameters, when one record is added or removed.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from opacus.optimizers import DPOptimizer
from opacus.optimizers.optimizer_fast_gradient_clipping import DPOptimizerFastGradientClipping

from agent.dp.noise import Ahead, gaussian

MARGIN = 1 - 1e-4  # clip a little below clip_norm, so that float32 norms cannot exceed it


class _Secure:
    """Replaces the two steps of Opacus in which randomness or the batch size could leak.

    `divisor` is the public constant sample_rate · n_ref, never the size of a batch.
    """

    params: list[torch.nn.Parameter]

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        *,
        noise_multiplier: float,
        clip_norm: float,
        divisor: float,
        steps: int = 0,
        proximal: float = 0.0,
    ) -> None:
        options: dict[str, Any] = {
            "noise_multiplier": noise_multiplier,
            "max_grad_norm": clip_norm * MARGIN,
            "expected_batch_size": None,
            "loss_reduction": "sum",
        }
        super().__init__(optimizer, **options)  # type: ignore[call-arg]  # Opacus is the next base
        self._noise_std = noise_multiplier * clip_norm
        self._divisor = divisor
        self._proximal = proximal
        self._anchor = [p.detach().clone() for p in self.params] if proximal else []
        self._noise = Ahead(self._draw, steps)

    def close(self) -> None:
        self._noise.close()

    def _draw(self) -> NDArray[np.float64]:
        return gaussian(sum(p.numel() for p in self.params), self._noise_std)

    def clip_and_accumulate(self) -> None:
        """Chunks add up in float64: over millions of records float32 would lose the clipping bound."""
        super().clip_and_accumulate()  # type: ignore[misc]  # Opacus is the next base
        self._widen()

    def accumulate(self) -> None:
        super().accumulate()  # type: ignore[misc]  # as above, for ghost clipping
        self._widen()

    def _widen(self) -> None:
        for p in self.params:
            p.summed_grad = p.summed_grad.double()  # type: ignore[attr-defined]  # set by Opacus

    def add_noise(self) -> None:
        """p.grad := summed clipped gradients + N(0, (σC)²), added in float64, one key per step."""
        noise = self._noise.take()
        at = 0
        for p in self.params:
            part = torch.from_numpy(noise[at : at + p.numel()]).view_as(p)
            summed: torch.Tensor = p.summed_grad  # type: ignore[attr-defined]  # set by Opacus
            p.grad = (summed + part).to(p.dtype)
            at += p.numel()

    def scale_grad(self) -> None:
        for p in self.params:
            if p.grad is not None:
                p.grad /= self._divisor
        # After the noise: μ · (model − global model) is a function of earlier noisy steps alone.
        for p, start in zip(self.params, self._anchor, strict=False):
            if p.grad is not None:
                p.grad += self._proximal * (p.detach() - start)


class SecureOptimizer(_Secure, DPOptimizer):  # type: ignore[misc]  # Opacus carries no types
    """For per-record gradients (`hooks`, and one record at a time)."""


class SecureGhostOptimizer(
    _Secure,
    DPOptimizerFastGradientClipping,  # type: ignore[misc]  # Opacus carries no types
):
    """For ghost clipping, which leaves the clipped sum itself in p.grad."""
