"""Where in a model records meet: for the sentence that tells the owner which module to change."""

import torch
from torch import Tensor, nn

from edgeveil.shared.tasks.batches import size
from edgeveil.shared.tasks.records import Batch

Trace = dict[str, tuple[Tensor | None, Tensor]]  # module path → (its input, its output), one record


def mixing_module(module: nn.Module, inputs: Batch, more: Batch, at: int, tolerance: float) -> str:
    """The innermost module that gives record `at` of `more`, the one of `inputs`, another output.

    "" stands for none: then the model is fine and the loss is not.
    """
    alone, inside = _trace(module, inputs, 0), _trace(module, more, at)
    found = ""
    for name, (taken, given) in alone.items():  # in the order in which the calls ended: inner first
        taken_too, given_too = inside.get(name, (None, given))
        same_input = taken is None or taken_too is None or _close(taken, taken_too, tolerance)
        if same_input and not _close(given, given_too, tolerance):
            found = name
            break
    return found


def _trace(module: nn.Module, inputs: Batch, at: int) -> Trace:
    seen: Trace = {}
    records = size(inputs)

    def note(name: str, taken: tuple[object, ...], given: object) -> None:
        first = taken[0] if taken and isinstance(taken[0], Tensor) else None
        if isinstance(given, Tensor) and len(given) == records:
            own = first[at] if first is not None and len(first) == records else None
            seen[name] = (own, given[at])

    handles = [
        part.register_forward_hook(lambda _part, a, b, name=name: note(name, a, b))
        for name, part in module.named_modules()
    ]
    with torch.no_grad():
        module(inputs)
    for handle in handles:
        handle.remove()
    return {name or "the model's own forward()": values for name, values in seen.items()}


def _close(a: Tensor, b: Tensor, tolerance: float) -> bool:
    scale = max(float(a.norm()), float(b.norm()), 1e-12)
    return a.shape == b.shape and float((a - b).norm()) <= tolerance * scale
