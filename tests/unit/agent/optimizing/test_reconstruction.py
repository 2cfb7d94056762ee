"""What follows removed channels is fitted to give what it gave: on records, without labels, and nothing else changes."""

import copy

import pytest
import torch
from torch import nn

from edgeveil.agent.optimizing.pruning import _last, _prune
from edgeveil.agent.optimizing.reconstruction import refit

PICTURES, SERIES = (3, 12, 12), (3, 40)


def network(shape):
    torch.manual_seed(0)
    convolution, pool = (nn.Conv2d, nn.MaxPool2d) if len(shape) == 3 else (nn.Conv1d, nn.MaxPool1d)
    inputs = 8 * (6 * 6 if len(shape) == 3 else 20)
    return nn.Sequential(
        convolution(3, 8, 3, padding=1), nn.GroupNorm(2, 8), nn.ReLU(), pool(2),
        convolution(8, 8, 3, padding=1, bias=False), nn.GroupNorm(2, 8), nn.ReLU(),
        nn.Flatten(), nn.Linear(inputs, 5),
    ).eval()  # fmt: skip


def records(shape, seed=1):
    return torch.rand(200, *shape, generator=torch.Generator().manual_seed(seed))


def off(one, other, x):
    with torch.inference_mode():
        return float(
            torch.linalg.vector_norm(one(x) - other(x)) / torch.linalg.vector_norm(other(x))
        )


@pytest.mark.parametrize("shape", [PICTURES, SERIES])
def test_records_that_were_not_fitted_to_are_answered_more_like_before(shape):
    whole = network(shape)
    cut = copy.deepcopy(whole)
    kept = _prune(cut, records(shape)[:2], 0.5, _last(cut, records(shape)[:2]))
    plain = copy.deepcopy(cut)
    refit((cut, cut), (whole, whole), kept, records(shape))
    others = records(shape, seed=2)
    assert off(cut, whole, others) < 0.7 * off(plain, whole, others)
    assert torch.equal(cut[0].weight, plain[0].weight), "what lost no input stays as it was"


def test_which_channels_are_left_is_told_by_their_numbers():
    whole = network(PICTURES)
    cut = copy.deepcopy(whole)
    kept = _prune(cut, records(PICTURES)[:2], 0.5, _last(cut, records(PICTURES)[:2]))
    assert torch.equal(cut[0].weight, whole[0].weight[kept["0"]])
    assert torch.equal(kept["8"], torch.arange(5))


def test_a_channel_that_repeats_another_goes_without_a_trace():
    whole = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    with torch.no_grad():
        whole[0].weight[3], whole[0].bias[3] = whole[0].weight[2], whole[0].bias[2]
    cut = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 2))
    with torch.no_grad():
        for now, then in ((cut[0].weight, whole[0].weight[:3]), (cut[0].bias, whole[0].bias[:3])):
            now.copy_(then)
        cut[2].weight.copy_(whole[2].weight[:, :3])
        cut[2].bias.copy_(whole[2].bias)
    x = 4 * torch.rand(100, 3, generator=torch.Generator().manual_seed(3)) - 2
    before = off(cut, whole, x)
    for _ in range(60):  # each fit is pulled towards the weights as they are
        refit((cut, cut), (whole, whole), {"0": torch.arange(3), "2": torch.arange(2)}, x)
    assert off(cut, whole, x) < 0.05 * before
