"""Which gradient engine a model gets, and how many records at a time: from shapes and random data.

Nothing here depends on the owner's records, so neither choice can leak one.
"""

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edgeveil.agent.training.compute import CPU, Compute
from edgeveil.agent.training.engines.gradients import ENGINES, GradientMode
from edgeveil.agent.training.engines.mechanism import Mechanism
from edgeveil.agent.training.validate import Probe, check_model, engine_agrees, prepared
from edgeveil.shared.base.errors import PolicyRefusal, RefusalCode
from edgeveil.shared.tasks.batches import size, values

MOST_RECORDS = 1024
TIMED_RECORDS = 64
TIMED_VALUES = 1 << 20  # of their inputs together: 21 pictures of 128×128, 2 of 416×416
TIMED_STEPS = 3
SLOW = 5e-3  # seconds for a record, from which one at a time may be as fast as any batch


@dataclass(frozen=True, slots=True)
class Choice:
    """`chunk` records per forward pass; `reason` is one sentence for the owner's log."""

    mode: GradientMode
    chunk: int
    reason: str = ""


def choose(probe: Probe, allowed: Collection[GradientMode], compute: Compute = CPU) -> Choice:
    """The fastest allowed engine that agrees with one record at a time, where `probe` puts both.

    Raises:
        PolicyRefusal: MODEL_NOT_INDEPENDENT, also if no allowed engine is exact for this model.
    """
    check_model(probe)
    batched: tuple[GradientMode, ...] = ("hooks", "ghost") if probe.one_shape else ()
    fit = [mode for mode in batched if mode in allowed and engine_agrees(probe, mode)]
    memory, free = compute.chunk_memory()
    if fit:
        chunks = {mode: _chunk(probe, mode, memory) for mode in fit}
        cost = {mode: _seconds(probe, mode, chunks[mode]) for mode in fit}
        if "single" in allowed and min(cost.values()) >= SLOW:
            chunks["single"], cost["single"] = _held(probe, memory), _seconds(probe, "single", 4)
        best = min(cost, key=lambda mode: cost[mode])
        return Choice(best, chunks[best], _reason(best, chunks[best], cost, free))
    if "single" in allowed and not probe.one_shape:
        return Choice("single", 1, "single: records of unequal size go one at a time")
    if "single" in allowed:
        return Choice(
            "single", _held(probe, memory), "single: no faster engine is exact for this model"
        )
    raise PolicyRefusal(
        RefusalCode.MODEL_NOT_INDEPENDENT,
        f"none of the gradient modes {', '.join(sorted(allowed))} is exact for this model; "
        'add "single" to policy.toml: gradient_modes',
    )


def _reason(best: GradientMode, chunk: int, cost: Mapping[GradientMode, float], free: str) -> str:
    others = [
        f"{mode} {seconds * 1e3:.3g} ms" for mode, seconds in cost.items() if mode is not best
    ]
    beside = f", {', '.join(others)}" if others else ", the only exact one allowed"
    return (
        f"{best}: {cost[best] * 1e3:.3g} ms of CPU per record on random data{beside}; "
        f"{chunk} records at a time, {free}"
    )


def _seconds(probe: Probe, mode: GradientMode, chunk: int) -> float:
    """Time per record of the fastest of a few steps on random records.

    CPU, not wall time: what else runs on the device must not choose the engine. An accelerator is
    waited for, since it computes while the processor is idle.
    """
    module = prepared(probe)
    few = max(1, TIMED_VALUES // max(1, values(probe.batch(1)[0])))
    inputs, targets = probe.batch(min(chunk, TIMED_RECORDS, few))
    optimizer = torch.optim.SGD([p for p in module.parameters() if p.requires_grad], lr=1e-3)
    engine = ENGINES[mode](module, probe.criterion)
    away = next(module.parameters()).device.type != "cpu"
    clock = time.perf_counter if away else time.thread_time
    taken = []
    with engine.attach(optimizer, Mechanism(clip_norm=1.0, noise_multiplier=1.0)):
        for _ in range(TIMED_STEPS):
            begin = clock()
            engine.accumulate(inputs, targets)
            if away:
                engine.clipped_sum()[0].cpu()
            taken.append(clock() - begin)
    return min(taken) / size(inputs)


def _chunk(probe: Probe, mode: GradientMode, memory: int) -> int:
    """Records whose gradients and activations stay below `memory` bytes."""
    module = prepared(probe)
    floats = 2 * _gradient_floats(module, mode) + 2 * _activations(module, probe)
    return max(1, min(MOST_RECORDS, memory // (4 * (floats + values(probe.batch(1)[0])))))


def _held(probe: Probe, memory: int) -> int:
    """Records whose inputs stay below `memory` bytes, of which one at a time is computed."""
    return max(1, min(MOST_RECORDS, memory // (4 * max(1, values(probe.batch(1)[0])))))


def _gradient_floats(module: nn.Module, mode: GradientMode) -> int:
    """Values of the gradients one record needs at a time.

    Ghost clipping never makes those of linear layers.
    """
    sizes = [
        sum(p.numel() for p in part.parameters(recurse=False) if p.requires_grad)
        for part in module.modules()
        if mode == "hooks" or not isinstance(part, nn.Linear)
    ]
    return sum(sizes)


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
