"""Torch modules ⇄ the model vector: only parameters that require a gradient, each once, by name.

`named_parameters()` and not `state_dict()`: some recurrent layers list every weight twice in the
latter. Frozen parameters and buffers never travel.
"""

import numpy as np
import torch

from shared.messages import Tensor
from shared.parameters import Vector, flatten, unflatten


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
