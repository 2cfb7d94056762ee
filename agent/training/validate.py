"""Is a record's gradient a function of that record alone? Checked on random data, before any use.

Opacus' own validator passes batch statistics of frozen layers and any code that mixes the batch, so
we walk all modules, compare each record's gradient across batches, and compare the gradient engines
with one record at a time (docs/design.md, "Privacy"). Nothing here sees the owner's data.
"""

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edgeveil.agent.training.engines.gradients import ENGINES, GradientMode
from edgeveil.agent.training.engines.mechanism import Mechanism
from edgeveil.agent.training.engines.opacus_parts import ModuleValidator
from edgeveil.agent.training.mixing import mixing_module
from edgeveil.shared.base.errors import PolicyRefusal, RefusalCode
from edgeveil.shared.tasks.batches import replaced, size, stacked
from edgeveil.shared.tasks.conformance.layers import statistics_fault
from edgeveil.shared.tasks.conformance.subject import spoiled
from edgeveil.shared.tasks.records import Batch

TOLERANCE = 1e-4  # relative, of float32 sums
SEED = 7  # public: these are test tensors, not noise
CLIP_NORMS = (1e-2, 1e6)  # all records clipped, where only directions show, and none
RECORDS = 3
BATCHES = ((4, 0), (7, 5), (2, 1))  # (records, place of the one that is compared)
LARGEST = 64  # a model that mixes in larger batches only, or on chosen values, is not found

REPLACEMENTS: dict[type[nn.Module], str] = {
    nn.RNN: "use opacus.layers.DPRNN",
    nn.LSTM: "use opacus.layers.DPLSTM",
    nn.GRU: "use opacus.layers.DPGRU",
    nn.MultiheadAttention: "use opacus.layers.DPMultiheadAttention",
}
REFUSED_LAYERS = tuple(REPLACEMENTS)


@dataclass(frozen=True, slots=True)
class Probe:
    """Random records in the task's public form; `build` makes a fresh module each time."""

    build: Callable[[], nn.Module]
    criterion: nn.Module  # one loss per record
    draw: Callable[[int, torch.Generator], tuple[Batch, Batch]]  # so many records

    def batch(self, count: int, *, salt: int = 0) -> tuple[Batch, Batch]:
        return self.draw(count, torch.Generator().manual_seed(SEED + salt))

    @property
    def one_shape(self) -> bool:
        """Whether many records can go through the model at once; else they go one at a time."""
        return all(stacked(part) for part in self.batch(1))


def check_model(probe: Probe) -> None:
    """Raise PolicyRefusal(MODEL_NOT_INDEPENDENT) unless training `probe`'s model can be private."""
    module = prepared(probe)
    _check_layers(module)
    before = {name: value.clone() for name, value in module.named_buffers()}
    _check_independence(module, probe)
    for name, value in module.named_buffers():
        if not torch.equal(before[name], value):
            raise _refused(
                f"training changes the buffer {name}, which is never sent; make it a constant"
            )


def prepared(probe: Probe) -> nn.Module:
    """A fresh module in training mode, without operations in place and away from zero weights.

    Zero weights would hide a mixed batch behind zero gradients; frozen ones too, which a plan's initial model
    brings along.
    """
    module = out_of_place(probe.build()).train()
    random = torch.Generator().manual_seed(SEED)
    with torch.no_grad():
        for p in module.parameters():
            if p.is_floating_point():
                p.add_(0.05 * torch.randn(p.shape, generator=random).to(p.device))
    return module


def out_of_place(module: nn.Module) -> nn.Module:
    """Per-record hooks need the activations that an operation in place would overwrite."""
    for part in module.modules():
        if getattr(part, "inplace", False):
            part.inplace = False  # type: ignore[assignment]  # a plain attribute of torch's layers
    return module


def engine_agrees(probe: Probe, mode: GradientMode) -> bool:
    """True if `mode` yields the clipped sum that one record at a time yields."""
    return all(_agrees(probe, mode, clip_norm) for clip_norm in CLIP_NORMS)


def _agrees(probe: Probe, mode: GradientMode, clip_norm: float) -> bool:
    try:
        found = _clipped_sum(probe, mode, clip_norm)
    except (RuntimeError, NotImplementedError, ValueError, AttributeError, TypeError):
        return False  # this engine has no rule for one of the layers
    exact = _clipped_sum(probe, "single", clip_norm)
    return all(_close(a, b) for a, b in zip(found, exact, strict=True))


def _clipped_sum(probe: Probe, mode: GradientMode, clip_norm: float) -> list[Tensor]:
    module = prepared(probe)
    optimizer = torch.optim.SGD([p for p in module.parameters() if p.requires_grad], lr=1.0)
    engine = ENGINES[mode](module, probe.criterion)
    with engine.attach(optimizer, Mechanism(clip_norm, noise_multiplier=1.0)):
        engine.accumulate(*probe.batch(RECORDS))
        return engine.clipped_sum()


def _check_layers(module: nn.Module) -> None:
    """Every module, frozen ones too: a frozen BatchNorm still uses the batch's statistics."""
    if fault := statistics_fault(module):
        raise _refused(fault)
    for name, part in module.named_modules():
        if isinstance(part, REFUSED_LAYERS):
            kind = type(part).__name__
            raise _refused(f"{name} ({kind}) has no per-record rule; {_replacement(part)}")
    faults = ModuleValidator.validate(module, strict=False)
    if faults:
        raise _refused("; ".join(str(fault) for fault in faults))


def _replacement(part: nn.Module) -> str:
    return next(text for kind, text in REPLACEMENTS.items() if isinstance(part, kind))


def _check_independence(module: nn.Module, probe: Probe) -> None:
    """Loss and gradient of one record: alone, and inside batches of several sizes and places.

    Records of unequal size never meet another one in a batch.
    """
    inputs, targets = probe.batch(1)
    alone = _record(module, probe, inputs, targets, at=0)
    batches = (*BATCHES, *_chance(LARGEST)) if probe.one_shape else ()
    for salt, (count, at) in enumerate(batches, start=1):
        more_inputs, more_targets = probe.batch(count, salt=salt)
        more_inputs = replaced(more_inputs, at, inputs)
        more_targets = replaced(more_targets, at, targets)
        inside = _record(module, probe, more_inputs, more_targets, at=at)
        if not all(_close(a, b) for a, b in zip(alone, inside, strict=True)):
            raise _refused(_who_mixes(module, inputs, more_inputs, at))
        _check_nans(module, probe, more_inputs, more_targets, at=at)


def _check_nans(module: nn.Module, probe: Probe, inputs: Batch, targets: Batch, *, at: int) -> None:
    """A neighbour of NaN leaves the loss of record `at` as it is; else it would take all others out of a step."""
    neighbour = (at + 1) % size(inputs)
    with torch.no_grad():
        before = probe.criterion(module(inputs), targets)[at]
        after = probe.criterion(module(spoiled(inputs, neighbour)), targets)[at]
    if not _close(before, after):
        raise _refused("a record of NaN changes the loss of another; compute it from each alone")


def _chance(largest: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """An even and an odd size above BATCHES, by the system's randomness: no model can know them."""
    size = 9 + secrets.randbelow(largest - 9)
    return (size, secrets.randbelow(size)), (size + 1, secrets.randbelow(size + 1))


def _who_mixes(module: nn.Module, inputs: Batch, more: Batch, at: int) -> str:
    name = mixing_module(module, inputs, more, at, TOLERANCE)
    if name:
        return f"{name} mixes the records of a batch; compute it from each record alone"
    return "the loss, or a backward pass, mixes the records of a batch; compute it from each alone"


def _record(
    module: nn.Module, probe: Probe, inputs: Batch, targets: Batch, *, at: int
) -> list[Tensor]:
    losses = probe.criterion(module(inputs), targets)
    if losses.shape != (size(inputs),):
        raise _refused(
            f"the loss has shape {tuple(losses.shape)}, not one value per record; use "
            'reduction="none"'
        )
    parameters = list(_trainable(module))
    gradients = torch.autograd.grad(losses[at], [p for _, p in parameters], allow_unused=True)
    found = [losses[at].detach()]
    for (name, _), gradient in zip(parameters, gradients, strict=True):
        if gradient is None:
            raise _refused(
                f"the trainable parameter {name} takes no part in the loss; freeze or remove it"
            )
        found.append(gradient)
    return found


def _trainable(module: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    return ((name, p) for name, p in module.named_parameters() if p.requires_grad)


def _close(a: Tensor, b: Tensor) -> bool:
    """Relative to the larger of the two in norm; two zeros are close."""
    scale = max(float(a.norm()), float(b.norm()), 1e-12)
    return float((a - b).norm()) <= TOLERANCE * scale


def _refused(why: str) -> PolicyRefusal:
    return PolicyRefusal(
        RefusalCode.MODEL_NOT_INDEPENDENT, f"this model cannot be trained privately: {why}"
    )
