"""No record adds more than the clip norm, whatever the model is; and no record changes what is computed.

Weights and records reach from 1e-38 to 1e30, as a lying coordinator and a hostile record would choose
them; the bound is checked in float64.
"""

import pytest
import torch
from opacus.layers import DPGRU, DPLSTM
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from edgeveil.agent.training.engines.gradients import ENGINES
from edgeveil.agent.training.engines.layerwise import covers
from edgeveil.agent.training.engines.mechanism import Mechanism

CLIP_NORM = 0.3
CLASSES = 3


class Embedded(nn.Module):
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(50, 16)
        self.head = nn.Linear(16, CLASSES)

    def forward(self, x):
        return self.head(self.words(x).sum(dim=1))


class Recurrent(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.cells = kind(5, 8, batch_first=True)
        self.head = nn.Linear(8, CLASSES)

    def forward(self, x):
        return self.head(self.cells(x)[0][:, -1])


class Twice(nn.Module):
    """One layer used twice in a row."""

    def __init__(self):
        super().__init__()
        self.body = nn.Linear(6, 6)
        self.head = nn.Linear(6, CLASSES)

    def forward(self, x):
        return self.head(self.body(torch.tanh(self.body(x))))


def convolutional():
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.Tanh(), nn.Flatten(),
        nn.Linear(4 * 36, CLASSES),
    )  # fmt: skip


MODELS = {
    "embedding": (Embedded, None),
    "lstm": (lambda: Recurrent(DPLSTM), (7, 5)),
    "gru": (lambda: Recurrent(DPGRU), (7, 5)),
    "convolution": (convolutional, (2, 6, 6)),
    "one-dimensional convolution": (
        lambda: nn.Sequential(
            nn.Conv1d(2, 4, 3, padding=1), nn.Flatten(), nn.Linear(24, CLASSES)
        ),
        (2, 6),
    ),
    "layer norm": (lambda: nn.Sequential(nn.LayerNorm(6), nn.Linear(6, CLASSES)), (6,)),
    "a layer used twice": (Twice, (6,)),
}  # fmt: skip
CASES = [
    (name, mode)
    for name, (build, _) in MODELS.items()
    for mode in ENGINES
    if mode != "ghost" or covers(build())
]


def spread(shape, scale, random):
    """Normal values whose sizes differ by a million."""
    sizes = 10 ** (6 * torch.rand(shape, generator=random) - 3)
    return torch.randn(shape, generator=random) * scale * sizes


def added_by_one(name, mode, weights, record, random):
    """Norm of what a single record adds to the sum, in float64."""
    build, shape = MODELS[name]
    module = build().train()
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(spread(p.shape, weights, random))
    inputs = (
        torch.randint(50, (1, 9), generator=random)
        if shape is None
        else spread((1, *shape), record, random)
    )
    with attached(module, mode) as engine:
        engine.accumulate(inputs, torch.tensor([1]))
        found = torch.cat([part.double().flatten() for part in engine.clipped_sum()])
    return float(found.norm())


def attached(module, mode):
    criterion = nn.CrossEntropyLoss(reduction="none")
    optimizer = torch.optim.SGD(module.parameters(), lr=1.0)
    engine = ENGINES[mode](module, criterion)
    return engine.attach(optimizer, Mechanism(CLIP_NORM, noise_multiplier=1.0))


@pytest.mark.parametrize(("name", "mode"), CASES)
def test_no_record_adds_more_than_the_clip_norm_to_any_kind_of_model(name, mode):
    random = torch.Generator().manual_seed(1)
    norms = [
        added_by_one(name, mode, weights, record, random)
        for weights in (1e-20, 1.0, 1e10, 1e19)
        for record in (1e-38, 1.0, 1e18, 1e30)
    ]
    assert max(norms) <= CLIP_NORM
    assert max(norms) > 0.99 * CLIP_NORM, "clipping was at work"


class Operations(TorchDispatchMode):
    """The name and shapes of everything torch computes."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, function, _types, arguments=(), options=None):
        shapes = [tuple(a.shape) for a in arguments if isinstance(a, torch.Tensor)]
        self.seen.append((str(function), shapes))
        return function(*arguments, **(options or {}))


@pytest.mark.parametrize(("name", "mode"), [case for case in CASES if case[0] != "embedding"])
def test_a_record_that_is_not_finite_changes_no_operation_of_a_step(name, mode):
    build, shape = MODELS[name]
    inputs = torch.randn((4, *shape), generator=torch.Generator().manual_seed(2))
    seen = {}
    for what, value in (("clean", 1.0), ("nan", torch.nan), ("infinite", torch.inf)):
        records = inputs.clone()
        records[1] = records[1] * value
        with attached(build().train(), mode) as engine, Operations() as operations:
            engine.accumulate(records, torch.tensor([0, 1, 2, 0]))
            engine.finish()
        seen[what] = operations.seen
    assert seen["clean"]
    assert seen["clean"] == seen["nan"] == seen["infinite"]
