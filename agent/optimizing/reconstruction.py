"""Weights that follow removed channels, fitted anew so that each layer gives what it gave before.

He, Zhang and Sun 2017 (arXiv 1707.06168): least squares from what reaches a layer of the pruned model to what the
whole model made of the same records there, one layer after another. No label is read and nothing is trained by
gradients, but the weights then tell of the records: what is made of them stays on this device.
"""

from collections.abc import Iterator, Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

PULL = (
    0.1  # towards the weights as they were, in shares of the mean square of what reaches the layer
)
PLACES = 256  # of a record's map that are looked at, at most
MOST_INPUTS = 4096  # of one output: its square is held in float64
AT_ONCE = 1 << 18  # values of a batch of records
SEED = 0

Layer = nn.Conv1d | nn.Conv2d | nn.Linear


def refit(
    pruned: tuple[nn.Module, nn.Module],
    whole: tuple[nn.Module, nn.Module],
    kept: Mapping[str, Tensor],
    records: Tensor,
) -> None:
    """Change the pruned model in place.

    Both as (all that goes into the graph, the part of it that was pruned); `kept`: by the names of layers in that part,
    which of their outputs are left; `records` (n, *shape), as the graph takes them.
    """
    for name in _fed_less(pruned[1], whole[1]):
        now, then = cast("Layer", pruned[1].get_submodule(name)), whole[1].get_submodule(name)
        gram, missing = _moments((pruned[0], now), (whole[0], then), kept[name], records)
        pull = PULL * gram.diagonal().mean() + 1e-12
        change = torch.linalg.solve(gram + pull * torch.eye(len(gram), dtype=gram.dtype), missing)
        if not torch.isfinite(change).all():
            continue
        _set(now, _weights(now) + change)


def _fed_less(pruned: nn.Module, whole: nn.Module) -> list[str]:
    """Layers that lost inputs and that can be fitted, in the order in which they stand."""
    found = []
    for name, layer in pruned.named_modules():
        if not isinstance(layer, Layer) or getattr(layer, "groups", 1) != 1:
            continue
        if not isinstance(layer, nn.Linear) and not isinstance(layer.padding, tuple):
            continue
        before = cast("Layer", whole.get_submodule(name))
        inputs = layer.weight[0].numel()
        if inputs < before.weight[0].numel() and inputs <= MOST_INPUTS:
            found.append(name)
    return found


def _moments(
    now: tuple[nn.Module, Layer], then: tuple[nn.Module, nn.Module], kept: Tensor, records: Tensor
) -> tuple[Tensor, Tensor]:
    """Of inputs with themselves, (m, m), and with what the outputs lack, (m, outputs); means over places."""
    weights = _weights(now[1])
    gram = torch.zeros(len(weights), len(weights), dtype=torch.float64)
    missing = torch.zeros_like(weights)
    places = 0
    for batch in _batches(records):
        inputs, _ = _seen(*now, batch)
        _, outputs = _seen(*then, batch)
        taken, wanted = _rows(now[1], inputs, outputs)
        wanted = wanted[:, kept].double()
        taken = taken.double()
        gram += taken.T @ taken
        missing += taken.T @ (wanted - taken @ weights)
        places += len(taken)
    return gram / places, missing / places


def _batches(records: Tensor) -> Iterator[Tensor]:
    count = max(1, AT_ONCE // max(1, records[0].numel()))
    for at in range(0, len(records), count):
        yield records[at : at + count]


def _seen(model: nn.Module, layer: nn.Module, records: Tensor) -> tuple[Tensor, Tensor]:
    """What goes into a layer and what comes out of it."""
    found: list[tuple[Tensor, Tensor]] = []
    hook = layer.register_forward_hook(lambda _, given, made: found.append((given[0], made)))
    try:
        with torch.inference_mode():
            model(records)
    finally:
        hook.remove()
    return found[0]


def _rows(layer: Layer, inputs: Tensor, outputs: Tensor) -> tuple[Tensor, Tensor]:
    """(places, inputs of one output and 1) and (places, outputs), of at most PLACES places of each record."""
    if isinstance(layer, nn.Linear):
        taken, wanted = inputs.flatten(0, -2), outputs.flatten(0, -2)
    else:
        plane, flat = _as_planes(layer, inputs)
        taken = functional.unfold(plane, **flat).transpose(1, 2)
        wanted = outputs.flatten(2).transpose(1, 2)
        order = torch.randperm(taken.shape[1], generator=torch.Generator().manual_seed(SEED))
        taken, wanted = (each[:, order[:PLACES]].flatten(0, 1) for each in (taken, wanted))
    if layer.bias is not None:
        taken = torch.cat([taken, torch.ones(len(taken), 1)], dim=1)
    return taken, wanted


def _as_planes(
    layer: nn.Conv1d | nn.Conv2d, inputs: Tensor
) -> tuple[Tensor, dict[str, tuple[int, ...]]]:
    """Inputs of a convolution and its measures as unfold() takes them: series are pictures of one line."""
    measures = {
        "kernel_size": layer.kernel_size,
        "stride": layer.stride,
        "padding": cast("tuple[int, ...]", layer.padding),
        "dilation": layer.dilation,
    }
    if isinstance(layer, nn.Conv2d):
        return inputs, {name: tuple(each) for name, each in measures.items()}
    flat = {name: (0 if name == "padding" else 1, *each) for name, each in measures.items()}
    return inputs.unsqueeze(2), flat


def _weights(layer: Layer) -> Tensor:
    """(inputs of one output, with the bias last, outputs)."""
    parts = [layer.weight.detach().flatten(1)]
    if layer.bias is not None:
        parts.append(layer.bias.detach()[:, None])
    return torch.cat(parts, dim=1).T.double()


def _set(layer: Layer, weights: Tensor) -> None:
    rows = weights.T.float()
    with torch.no_grad():
        if layer.bias is not None:
            layer.bias.copy_(rows[:, -1])
            rows = rows[:, :-1]
        layer.weight.copy_(rows.reshape(layer.weight.shape))
