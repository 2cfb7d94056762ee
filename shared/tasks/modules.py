"""Torch modules ⇄ the model vector: only parameters that require a gradient, each once, by name.

`named_parameters()` and not `state_dict()`: some recurrent layers list every weight twice in the
latter. Buffers never travel, and frozen parameters not with the model: they are the task's own, or those of
the plan's initial model, which an offer holds beside it (docs/protocol.md, "M1 round").
"""

from typing import Any, TypeVar, cast

import numpy as np
import torch

from edgeveil.shared.tasks.records import Batch
from edgeveil.shared.tasks.spec import Augmenting, Task
from edgeveil.shared.vector.model_vector import Frozen, Vector, flatten, unflatten
from edgeveil.shared.wire.messages import Tensor

ModuleT = TypeVar("ModuleT", bound=torch.nn.Module)


def empty(module: ModuleT) -> ModuleT:
    """A module declared on the device "meta", with memory but without values yet.

    Made this way a module draws nothing from the process-wide random generator. What `to_empty` does, without
    the symbolic shapes that it loads for seconds.
    """
    for part in module.modules():
        for name, own in list(part.named_parameters(recurse=False)):
            values = torch.empty(own.shape, dtype=own.dtype)
            setattr(part, name, torch.nn.Parameter(values, own.requires_grad))
        for name, buffer in list(part.named_buffers(recurse=False)):
            setattr(part, name, torch.empty(buffer.shape, dtype=buffer.dtype))
    return module


def zero_linear(inputs: int, outputs: int, *, bias: bool) -> torch.nn.Linear:
    head = empty(torch.nn.Linear(inputs, outputs, bias=bias, device="meta"))
    for parameter in head.parameters():
        torch.nn.init.zeros_(parameter)
    return head


def trainable(module: torch.nn.Module) -> tuple[Tensor, ...]:
    """The travelling tensors of `module`, ascending by name."""
    return tuple(
        Tensor(name, tuple(parameter.shape))
        for name, parameter in sorted(module.named_parameters())
        if parameter.requires_grad
    )


def freeze_all_but(module: ModuleT, *heads: torch.nn.Module) -> ModuleT:
    """Only the parameters of `heads`, which are parts of `module`, are trained and travel."""
    trained = {id(p) for head in heads for p in head.parameters()}
    for parameter in module.parameters():
        parameter.requires_grad_(id(parameter) in trained)
    return module


def frozen_tensors(task: Task, options: Any) -> tuple[Tensor, ...]:
    """What training leaves as it is, ascending by name; mostly nothing."""
    return tuple(
        Tensor(name, tuple(parameter.shape))
        for name, parameter in sorted(task.build(options).named_parameters())
        if not parameter.requires_grad
    )


def all_tensors(task: Task, options: Any) -> tuple[Tensor, ...]:
    """The whole model, trained and frozen, as a checkpoint holds it."""
    both = (*task.tensors(options), *frozen_tensors(task, options))
    return tuple(sorted(both, key=lambda each: each.name))


class _WithFrozen:
    """A task whose models have these frozen values; everything else is the task's own."""

    def __init__(self, task: Task, frozen: Frozen) -> None:
        self._task, self._frozen = task, frozen

    def __getattr__(self, name: str) -> Any:
        return getattr(self._task, name)

    def build(self, options: Any) -> torch.nn.Module:
        module = self._task.build(options)
        write_vector(module, self._frozen.vector, self._frozen.tensors)
        return module

    def augment(
        self, inputs: Batch, targets: Batch, draws: Any, options: Any
    ) -> tuple[Batch, Batch]:
        """Said here as well, for a protocol is looked for in the class alone."""
        if isinstance(self._task, Augmenting):
            return self._task.augment(inputs, targets, draws, options)
        return inputs, targets


def with_frozen(task: Task, frozen: Frozen | None) -> Task:
    """The same task, building models with the frozen part of another one; None changes nothing."""
    return task if frozen is None else cast("Task", _WithFrozen(task, frozen))


def read_vector(module: torch.nn.Module, tensors: tuple[Tensor, ...]) -> Vector:
    """The current trainable values as an owned float32 (d,) vector."""
    arrays = {
        name: parameter.detach().cpu().numpy().astype(np.float32, copy=False)
        for name, parameter in module.named_parameters()
        if parameter.requires_grad
    }
    return flatten(arrays, tensors)


def write_vector(module: torch.nn.Module, vector: Vector, tensors: tuple[Tensor, ...]) -> None:
    """Copy `vector` into the parameters of these names."""
    arrays = unflatten(vector, tensors)
    parameters = dict(module.named_parameters())
    with torch.no_grad():
        for name, array in arrays.items():
            parameters[name].copy_(torch.tensor(array))
