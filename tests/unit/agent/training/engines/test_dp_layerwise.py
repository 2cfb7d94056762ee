"""Ghost clipping in one pass: equal to one record at a time, and its bound holds in float32 too."""

import dp_bench as bench
import pytest
import torch
from opacus.layers import DPLSTM
from torch import nn

from edgeveil.agent.training.engines.gradients import ENGINES
from edgeveil.agent.training.engines.layerwise import Recorder, covers
from edgeveil.agent.training.engines.mechanism import Mechanism
from edgeveil.agent.training.engines.optimizer import MARGIN
from edgeveil.agent.training.validate import engine_agrees

IMAGE = (3, 8, 8)


class Reused(nn.Module):
    """One linear layer called twice."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(8, 8)
        self.head = nn.Linear(8, bench.CLASSES)

    def forward(self, inputs):
        return self.head(torch.tanh(self.inner(torch.tanh(self.inner(inputs)))))


class Sequences(nn.Module):
    """A linear layer on every time step."""

    def __init__(self):
        super().__init__()
        self.each = nn.Linear(4, 6)
        self.norm = nn.LayerNorm(6)
        self.head = nn.Linear(6, bench.CLASSES)

    def forward(self, inputs):
        return self.head(torch.tanh(self.norm(self.each(inputs))).mean(dim=1))


class Doubles(nn.Module):
    """Changes a layer's output in place."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(8, bench.CLASSES)

    def forward(self, inputs):
        found = self.head(inputs)
        found *= 2.0
        return found


def frozen(module, *names):
    for name, parameter in module.named_parameters():
        parameter.requires_grad = name not in names
    return module


def network(*layers):
    return nn.Sequential(*layers, nn.Flatten(), nn.LazyLinear(bench.CLASSES))


def built(make, shape):
    def build():
        torch.manual_seed(3)
        module = make()
        module(torch.zeros((1, *shape)))  # gives lazy layers their shape
        return module

    return build


KNOWN = {
    "strided": (lambda: network(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.Tanh()), IMAGE),
    "dilated": (lambda: network(nn.Conv2d(3, 4, (3, 2), dilation=2, bias=False)), IMAGE),
    "normalised": (lambda: network(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4), nn.ReLU()), IMAGE),
    "over time": (
        lambda: network(nn.Conv1d(3, 4, 3, stride=2, padding=1), nn.GroupNorm(2, 4), nn.Tanh(), nn.Conv1d(4, 5, 2, dilation=2, bias=False)),
        (3, 12),
    ),
    "deep": (
        lambda: network(
            nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 5, 1), nn.MaxPool2d(2)
        ),
        IMAGE,
    ),
    "layer norm": (
        lambda: nn.Sequential(nn.Linear(8, 6), nn.LayerNorm(6), nn.Tanh(), nn.Linear(6, 3)), (8,)
    ),
    "sequences": (Sequences, (5, 4)),
    "reused": (Reused, (8,)),
    "no bias": (lambda: nn.Linear(8, 3, bias=False), (8,)),
    "frozen weight": (lambda: frozen(nn.Linear(8, 3), "weight"), (8,)),
    "frozen layer": (
        lambda: frozen(
            nn.Sequential(nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 3)), "0.weight", "0.bias"
        ),
        (8,),
    ),
}  # fmt: skip


def probe(name):
    make, shape = KNOWN[name]
    return bench.Probe(
        built(make, shape), nn.CrossEntropyLoss(reduction="none"), bench.drawing(shape)
    )


@pytest.mark.parametrize("name", sorted(KNOWN))
def test_it_agrees_with_one_record_at_a_time(name):
    found = probe(name)
    assert covers(found.build())
    assert engine_agrees(found, "ghost")


def tied():
    first, second = nn.Linear(4, 4), nn.Linear(4, 4)
    second.weight = first.weight
    return nn.Sequential(first, second)


UNKNOWN = {
    "grouped convolution": lambda: nn.Conv2d(4, 4, 3, groups=2),
    "padding by reflection": lambda: nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"),
    "padding by name": lambda: nn.Conv2d(3, 4, 3, padding="same"),
    "recurrent": lambda: DPLSTM(4, 4),
    "embedding": lambda: nn.Embedding(4, 4),
    "a subclass": lambda: type("Own", (nn.Linear,), {})(4, 4),
    "shared weights": tied,
    "nothing to train": lambda: frozen(nn.Linear(4, 4), "weight", "bias"),
}


@pytest.mark.parametrize("name", sorted(UNKNOWN))
def test_what_it_does_not_know_is_left_to_other_engines(name):
    module = UNKNOWN[name]()
    assert not covers(module)
    with pytest.raises(RuntimeError, match="no rule"):
        Recorder(module)


def test_an_operation_in_place_on_a_layers_output_is_noticed():
    made = bench.Probe(
        built(Doubles, (8,)), nn.CrossEntropyLoss(reduction="none"), bench.drawing((8,))
    )
    assert covers(made.build())
    assert not engine_agrees(made, "ghost")


def cancelling():
    """GroupNorm over nearly equal values: float32 keeps few digits of the convolution's gradient."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, bias=False), nn.GroupNorm(1, 4), nn.Flatten(), nn.Linear(144, 3)
    )


def added(seed, clip_norm):
    """‖what one record adds‖ in float64."""
    module = cancelling().train()
    engine = ENGINES["ghost"](module, nn.CrossEntropyLoss(reduction="none"))
    random = torch.Generator().manual_seed(seed)
    image = 1e3 + 1e-3 * torch.randn((1, *bench.SHAPE), generator=random)
    optimizer = torch.optim.SGD(module.parameters(), lr=1.0)
    with engine.attach(optimizer, Mechanism(clip_norm, noise_multiplier=1.0)):
        engine.accumulate(image, torch.tensor([0]))
        parts = [part.double().flatten() for part in engine.clipped_sum()]
    return float(torch.cat(parts).norm())


@pytest.mark.parametrize("clip_norm", [1e-3, 0.1, 1.0])
def test_no_record_adds_more_than_the_clip_norm_however_badly_conditioned(clip_norm):
    norms = [added(seed, clip_norm) for seed in range(30)]
    assert max(norms) <= clip_norm
    assert max(norms) >= 0.99 * clip_norm * MARGIN


def test_records_of_any_finite_size_are_clipped_and_not_lost():
    for size in (1e-30, 1e-20, 1e20, 1e30):
        module = nn.Linear(1, 1, bias=False)
        with torch.no_grad():
            module.weight.zero_()
        engine = ENGINES["ghost"](module, Scaled())
        optimizer = torch.optim.SGD(module.parameters(), lr=1.0)
        with engine.attach(optimizer, Mechanism(0.5, noise_multiplier=1.0)):
            engine.accumulate(torch.tensor([[size]]), torch.tensor([0]))
            found = float(engine.clipped_sum()[0].abs())
        assert found == pytest.approx(min(size, 0.5 * MARGIN), rel=1e-3)


class Scaled(nn.Module):
    reduction = "none"

    def forward(self, outputs, _targets):
        return outputs.sum(dim=1)
