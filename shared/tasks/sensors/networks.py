"""Small networks on columns, with the same first weights on every machine."""

import math

import torch
from torch import nn

from edgeveil.shared.tasks.modules import empty, freeze_all_but, zero_linear

SEED = 11_943  # public: every installation starts from the same weights


def starting() -> torch.Generator:
    """A generator of our own: the process-wide one stays untouched."""
    return torch.Generator().manual_seed(SEED)


def linear(inputs: int, outputs: int, random: torch.Generator) -> nn.Linear:
    """With weights of variance 1 / inputs and no bias at the start."""
    layer = empty(nn.Linear(inputs, outputs, device="meta"))
    nn.init.normal_(layer.weight, std=1 / math.sqrt(inputs), generator=random)
    nn.init.zeros_(layer.bias)
    return layer


def perceptron(inputs: int, hidden: int, outputs: int, *, train: str = "all") -> nn.Module:
    """One hidden layer; its head starts at zero, so that the first step already points the right way."""
    body, head = linear(inputs, hidden, starting()), zero_linear(hidden, outputs, bias=True)
    module = nn.Sequential(body, nn.Tanh(), head)
    return freeze_all_but(module, head) if train == "head" else module


def perceptron_size(inputs: int, hidden: int, outputs: int) -> int:
    return (inputs + 1) * hidden + (hidden + 1) * outputs
