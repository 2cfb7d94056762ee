"""Ghost clipping in one backward pass, for models of plain layers (Bu et al., arXiv 2210.00038).

Norms of per-record gradients follow from each layer's input and the gradient of its output, and so
does their clipped sum; the second backward pass that Opacus makes is not needed. The norm is always
that of the very numbers that are added, or of the two vectors whose product is, summed in float64: a
second computation in float32 could add more than the norm of the first one says. Layers not listed
here, or used in ways not listed, are left to the other engines (agent.training.engines.gradients).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgeveil.agent.training.engines import summing


@dataclass(slots=True)
class _Use:
    """One call of a layer: its input (B, …), its output, then the output's gradient."""

    inputs: Tensor
    output: Tensor
    gradient: Tensor = field(default_factory=lambda: torch.empty(0))
    versions: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        self.versions = self._now()

    def check(self) -> None:
        """Raise RuntimeError if an operation in place has overwritten either since the call."""
        if self._now() != self.versions:
            raise RuntimeError("an operation in place overwrote what a layer took in or put out")

    def _now(self) -> tuple[int, int]:
        return self.inputs._version, self.output._version  # noqa: SLF001  torch's own counter


def covers(module: nn.Module) -> bool:
    """True if every trainable parameter belongs to exactly one layer that is known here."""
    seen: list[int] = []
    for part in module.modules():
        own = [p for p in part.parameters(recurse=False) if p.requires_grad]
        if own and not _known(part):
            return False
        seen += [id(p) for p in own]
    return bool(seen) and len(seen) == len(set(seen))


def _known(part: nn.Module) -> bool:
    """By exact type: a subclass may compute something else."""
    if type(part) is nn.Conv1d or type(part) is nn.Conv2d:
        plain = part.groups == 1 and part.padding_mode == "zeros"
        return plain and not isinstance(part.padding, str)
    return type(part) in {nn.Linear, nn.GroupNorm, nn.LayerNorm}


class Recorder:
    """Notes inputs and outputs of the trainable layers while it is attached."""

    def __init__(self, module: nn.Module) -> None:
        """Raise RuntimeError unless it covers the module."""
        if not covers(module):
            raise RuntimeError("ghost clipping has no rule for one of the trainable layers")
        self._uses: dict[nn.Module, list[_Use]] = {}
        self._handles = [
            part.register_forward_hook(self._note)
            for part in module.modules()
            if any(p.requires_grad for p in part.parameters(recurse=False))
        ]

    def close(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._uses.clear()

    def _note(self, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        self._uses.setdefault(layer, []).append(_Use(inputs[0].detach(), output))

    def gradients(self, losses: Tensor) -> "LayerGradients":
        """Backward to every layer's output, without any gradient of a weight; forgets the uses."""
        uses = [use for found in self._uses.values() for use in found]
        for use in uses:
            use.check()
        found = torch.autograd.grad(losses.sum(), [u.output for u in uses], allow_unused=True)
        for use, gradient in zip(uses, found, strict=True):
            use.gradient = torch.zeros_like(use.output) if gradient is None else gradient
        kept, self._uses = self._uses, {}
        return LayerGradients(kept, losses)


class LayerGradients:
    """Norms, then the weighted sum, of the gradients of one chunk of records."""

    def __init__(self, uses: dict[nn.Module, list[_Use]], losses: Tensor) -> None:
        self._ghosts: list[tuple[nn.Linear, _Use]] = []
        self._explicit: list[tuple[nn.Parameter, Tensor]] = []  # per record, (B, parameters)
        self._squares = torch.zeros(len(losses), dtype=torch.float64, device=summing.place(losses))
        for layer, calls in uses.items():
            if isinstance(layer, nn.Linear) and len(calls) == 1 and calls[0].inputs.dim() == 2:
                self._add_ghost(layer, calls[0])
            else:
                self._add_explicit(layer, calls)

    def norms(self) -> Tensor:
        """(B,), not finite for a record whose gradient is not."""
        return self._squares.sqrt()

    def store(self, weights: Tensor) -> None:
        """Set each parameter's `clipped` to Σ weights (B,) times its per-record gradients, float64.

        A weight of zero takes a record out, even one that is not finite; in the same time.
        """
        weights = weights.float()
        for layer, use in self._ghosts:
            weights = weights.to(use.gradient.device)
            out = weights == 0
            scaled = (use.gradient * weights.unsqueeze(1)).masked_fill_(out.unsqueeze(1), 0.0)
            if layer.weight.requires_grad:
                inputs = use.inputs.masked_fill(out.unsqueeze(1), 0.0)
                _keep(layer.weight, summing.outer_sum(scaled, inputs))
            if _trains(layer.bias):
                _keep(layer.bias, summing.brought(scaled).sum(dim=0, dtype=torch.float64))
        for parameter, rows in self._explicit:
            weights = weights.to(rows.device)
            out = weights == 0
            kept = rows.masked_fill_(out.unsqueeze(1), 0.0)
            _keep(parameter, summing.weighted_sum(weights, kept).view_as(parameter))

    def _add_ghost(self, layer: nn.Linear, use: _Use) -> None:
        """‖g xᵀ‖² = ‖g‖²·‖x‖², so the gradient itself is never made."""
        gradient = summing.squares(use.gradient)
        if layer.weight.requires_grad:
            self._squares += gradient * summing.squares(use.inputs)
        if _trains(layer.bias):
            self._squares += gradient
        self._ghosts.append((layer, use))

    def _add_explicit(self, layer: nn.Module, calls: list[_Use]) -> None:
        total: dict[nn.Parameter, Tensor] = {}
        for use in calls:
            for parameter, rows in PER_RECORD[type(layer)](layer, use):
                if parameter.requires_grad:
                    before = total.get(parameter)
                    total[parameter] = rows if before is None else before + rows
        for parameter, rows in total.items():
            self._squares += summing.squares(rows)
            self._explicit.append((parameter, rows))


def _keep(parameter: Any, clipped: Tensor) -> None:
    """Where the optimiser looks (agent.training.engines.optimizer); a second layer of the same weight would be refused."""
    parameter.clipped = clipped


def _trains(parameter: nn.Parameter | None) -> bool:
    return parameter is not None and parameter.requires_grad


Rows = Iterator[tuple[nn.Parameter, Tensor]]


def _linear(layer: Any, use: _Use) -> Rows:
    """(B, …, in) and (B, …, out); the axes between are summed over."""
    inputs = use.inputs.reshape(len(use.inputs), -1, layer.in_features)
    gradient = use.gradient.reshape(len(inputs), -1, layer.out_features)
    yield layer.weight, torch.bmm(gradient.transpose(1, 2), inputs).flatten(1)
    if layer.bias is not None:
        yield layer.bias, gradient.sum(dim=1)


def _conv2d(layer: Any, use: _Use) -> Rows:
    columns = functional.unfold(
        use.inputs,
        layer.kernel_size,
        dilation=layer.dilation,
        padding=layer.padding,
        stride=layer.stride,
    )  # (B, in·k·k, places)
    gradient = use.gradient.flatten(2)  # (B, out, places)
    yield layer.weight, torch.bmm(gradient, columns.transpose(1, 2)).flatten(1)
    if layer.bias is not None:
        yield layer.bias, gradient.sum(dim=2)


def _conv1d(layer: Any, use: _Use) -> Rows:
    columns = functional.unfold(
        use.inputs.unsqueeze(2),
        (1, *layer.kernel_size),
        dilation=(1, *layer.dilation),
        padding=(0, *layer.padding),
        stride=(1, *layer.stride),
    )  # (B, in·k, places)
    yield layer.weight, torch.bmm(use.gradient, columns.transpose(1, 2)).flatten(1)
    if layer.bias is not None:
        yield layer.bias, use.gradient.sum(dim=2)


def _group_norm(layer: Any, use: _Use) -> Rows:
    normal = functional.group_norm(use.inputs, layer.num_groups, eps=layer.eps)
    yield from _scale_and_shift(layer, use.gradient.flatten(2), normal.flatten(2), over=2)


def _layer_norm(layer: Any, use: _Use) -> Rows:
    normal = functional.layer_norm(use.inputs, layer.normalized_shape, eps=layer.eps)
    shape = (len(normal), -1, layer.weight.numel())
    yield from _scale_and_shift(layer, use.gradient.reshape(shape), normal.reshape(shape), over=1)


def _scale_and_shift(layer: Any, gradient: Tensor, normal: Tensor, *, over: int) -> Rows:
    yield layer.weight, (gradient * normal).sum(dim=over)
    if layer.bias is not None:
        yield layer.bias, gradient.sum(dim=over)


PER_RECORD: dict[type[nn.Module], Callable[[Any, _Use], Rows]] = {
    nn.Linear: _linear,
    nn.Conv1d: _conv1d,
    nn.Conv2d: _conv2d,
    nn.GroupNorm: _group_norm,
    nn.LayerNorm: _layer_norm,
}
