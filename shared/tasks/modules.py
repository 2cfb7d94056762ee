"""Torch modules ⇄ the model vector: only parameters that require a gradient, each once, by name.

`named_parameters()` and not `state_dict()`: some recurrent layers list every weight twice in the
latter. Frozen parameters and buffers never travel.
"""

from typing import TypeVar

import numpy as np
import torch

from edgeveil.shared.vector.model_vector import Vector, flatten, unflatten
from edgeveil.shared.wire.messages import Tensor

ModuleT = TypeVar("ModuleT", bound=torch.nn.Module)


def empty(module: ModuleT) -> ModuleT:
    """A module declared on the device "meta", with memory but without values yet.

    Made this way a module draws nothing from the process-wide random generator.
    """
    return module.to_empty(device="cpu")


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


def read_vector(module: torch.nn.Module, tensors: tuple[Tensor, ...]) -> Vector:
    """The current trainable values as an owned float32 (d,) vector."""
    arrays = {
        name: parameter.detach().cpu().numpy().astype(np.float32, copy=False)
        for name, parameter in module.named_parameters()
        if parameter.requires_grad
    }
    return flatten(arrays, tensors)


def write_vector(module: torch.nn.Module, vector: Vector, tensors: tuple[Tensor, ...]) -> None:
    """Copy `vector` into the module's trainable parameters."""
    arrays = unflatten(vector, tensors)
    parameters = dict(module.named_parameters())
    with torch.no_grad():
        for name, array in arrays.items():
            parameters[name].copy_(torch.tensor(array))
