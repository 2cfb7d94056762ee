"""Normalisations written for runtimes: the same numbers, also where scales are negative and pictures flat."""

import pytest
import torch
from torch import nn

from edgeveil.shared.tasks.lowering import groups
from edgeveil.shared.tasks.lowering.groups import Normalised, lowered

SIDE, CHANNELS = 128, 8  # 2^17 values: just large enough


def network(rectifier, *more, bias=True):
    torch.manual_seed(0)
    norm = nn.GroupNorm(2, CHANNELS)
    nn.init.normal_(norm.weight)  # half of them negative
    nn.init.normal_(norm.bias)
    block = nn.Sequential(nn.Conv2d(3, CHANNELS, 3, padding=1, bias=bias), norm, rectifier)
    return nn.Sequential(block, *more).eval()


def records():
    some = torch.rand(3, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    some[1] = 1.0  # flat: nearly no variance to divide by
    return some


def kinds(module):
    return [type(each).__name__ for each in module.children()]


SMALL = (nn.Conv2d(CHANNELS, 4, 3, 2), nn.GroupNorm(2, 4), nn.ReLU(), nn.Flatten())


@pytest.mark.parametrize(
    "module",
    [
        network(nn.LeakyReLU(0.1), nn.MaxPool2d(2), *SMALL),
        network(nn.LeakyReLU(0.1), nn.MaxPool2d(2)),
        network(nn.ReLU(), nn.MaxPool2d(3, 1, 1), nn.Conv2d(CHANNELS, 2, 1)),
        network(nn.LeakyReLU(0.1), bias=False),
    ],
)
def test_one_part_in_place_of_three_or_four_gives_what_they_gave(module):
    found = lowered(module, records())
    assert kinds(found)[0] == "Normalised"
    assert "MaxPool2d" not in kinds(found), "the maximum is taken before the sum"
    with torch.inference_mode():
        wanted, got = module(records()), found(records())
    assert (module[0][1].weight < 0).any()
    assert torch.linalg.vector_norm(got - wanted) <= 1e-4 * torch.linalg.vector_norm(wanted)


def test_the_model_itself_stays_as_it_is():
    module = network(nn.ReLU())
    before = {name: each.clone() for name, each in module.state_dict().items()}
    lowered(module, records())
    assert all(torch.equal(before[name], each) for name, each in module.state_dict().items())
    assert not any(each._forward_hooks for each in module.modules())


def test_small_maps_and_what_does_not_rectify_stay():
    small = lowered(network(nn.ReLU()), records()[..., 1:])
    curved = lowered(network(nn.SiLU(), nn.MaxPool2d(2)), records())
    for found in (small, curved):
        assert not any(isinstance(each, Normalised) for each in found.modules())
    assert records()[0, 0].numel() * CHANNELS == groups.LEAST


def test_blocks_within_other_modules_are_found():
    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.path = network(nn.ReLU())

        def forward(self, x):
            return self.path(x).sum(1, keepdim=True) + x

    module = nn.ModuleDict({"a": Residual()})["a"].eval()
    found = lowered(module, records())
    assert isinstance(found.path[0], Normalised)
    with torch.inference_mode():
        assert torch.allclose(found(records()), module(records()), atol=1e-3)
