"""Which gradient engine a model gets, and how many records at a time: from shapes and random data.

Nothing here depends on the owner's records, so neither choice can leak one.
"""

import math
import time
from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from agent.dp.gradients import ENGINES, GradientMode, ghost_is_exact
from agent.dp.validate import Probe, check_model, engine_agrees, prepared
from shared.errors import PolicyRefusal, RefusalCode

MEMORY_CAP = 256 << 20  # bytes for the gradients and activations of one chunk
MOST_RECORDS = 1024
TIMED_RECORDS = 64
TIMED_STEPS = 3


@dataclass(frozen=True, slots=True)
class Choice:
    mode: GradientMode
    chunk: int  # records per forward pass


def choose(probe: Probe, allowed: Collection[GradientMode]) -> Choice:
    """The fastest allowed engine that agrees with one record at a time and bounds its clipped norm.

    Raises:
        PolicyRefusal: MODEL_NOT_INDEPENDENT, also if no allowed engine is exact for this model.
    """
    check_model(probe)
    batched: tuple[GradientMode, ...] = ("hooks", "ghost")
    exact = {"hooks": True, "ghost": ghost_is_exact(prepared(probe), probe.batch(2)[0])}
    fit = [
        mode for mode in batched if mode in allowed and exact[mode] and engine_agrees(probe, mode)
    ]
    if fit:
        chunks = {mode: _chunk(probe, mode) for mode in fit}
        best = fit[0]
        if len(fit) > 1:
            best = min(fit, key=lambda mode: _seconds(probe, mode, chunks[mode]))
        return Choice(best, chunks[best])
    if "single" in allowed:
        return Choice("single", MOST_RECORDS)
    raise PolicyRefusal(
        RefusalCode.MODEL_NOT_INDEPENDENT,
        f"none of the gradient modes {', '.join(sorted(allowed))} is exact for this model; "
        'add "single" to policy.toml: gradient_modes',
    )


def _seconds(probe: Probe, mode: GradientMode, chunk: int) -> float:
    """The fastest of a few steps on random records."""
    module = prepared(probe)
    inputs, targets = probe.batch(min(chunk, TIMED_RECORDS))
    optimizer = torch.optim.SGD([p for p in module.parameters() if p.requires_grad], lr=1e-3)
    engine = ENGINES[mode](module, probe.criterion)
    taken = []
    with engine.attach(optimizer, sigma=1.0, clip_norm=1.0, divisor=1.0):
        for _ in range(TIMED_STEPS):
            begin = time.perf_counter()
            engine.accumulate(inputs, targets)
            engine.finish()
            taken.append(time.perf_counter() - begin)
    return min(taken)


def _chunk(probe: Probe, mode: GradientMode) -> int:
    """Records whose gradients and activations stay below the cap; for ghost clipping, the gradients
    of the largest layer, since layers without a norm rule are expanded one after the other.
    """
    module = prepared(probe)
    sizes = [
        sum(p.numel() for p in part.parameters(recurse=False) if p.requires_grad)
        for part in module.modules()
    ]
    gradients = max(sizes) if mode == "ghost" else sum(sizes)
    floats = 2 * gradients + 2 * _activations(module, probe) + math.prod(probe.shape)
    return max(1, min(MOST_RECORDS, MEMORY_CAP // (4 * floats)))


def _activations(module: nn.Module, probe: Probe) -> int:
    """Values that the layers put out for one record."""
    seen: list[int] = []

    def count(_module: nn.Module, _inputs: object, output: object) -> None:
        if isinstance(output, Tensor):
            seen.append(output.numel())

    handles = [part.register_forward_hook(count) for part in module.modules()]
    with torch.no_grad():
        module(probe.batch(1)[0])
    for handle in handles:
        handle.remove()
    return sum(seen)
