"""How far one record can move a step's sum: its clipped gradient, whatever a thousand others add up to."""

import dp_bench as bench
import pytest
import torch
from torch import nn

from edgeveil.agent.training.engines import summing
from edgeveil.agent.training.engines.gradients import ENGINES
from edgeveil.agent.training.engines.mechanism import Mechanism
from edgeveil.agent.training.engines.optimizer import MARGIN

CLIP = 0.37  # no power of two, so that every addition rounds
COUNT = 1024  # the most records of one chunk


def crowd(count):
    """Many records alike: their gradients and the roundings of a running sum all point one way."""
    inputs, targets = bench.records(1, salt=9)
    return inputs.expand(count, *bench.SHAPE).clone(), targets.expand(count).clone()


def summed(mode, model, inputs, targets, chunk):
    module = bench.MODELS[model]().train()
    engine = ENGINES[mode](module, nn.CrossEntropyLoss(reduction="none"))
    optimizer = torch.optim.SGD(module.parameters(), lr=1.0)
    with engine.attach(optimizer, Mechanism(CLIP, noise_multiplier=1.0)):
        for at in range(0, len(inputs), chunk):
            engine.accumulate(inputs[at : at + chunk], targets[at : at + chunk])
        return torch.cat([part.flatten() for part in engine.clipped_sum()])


@pytest.mark.parametrize("chunk", [64, COUNT])
@pytest.mark.parametrize("model", ["linear", "convolutional"])
@pytest.mark.parametrize("mode", ["hooks", "ghost"])
def test_a_record_more_among_a_thousand_moves_the_sum_by_its_own_gradient(mode, model, chunk):
    inputs, targets = crowd(COUNT)
    without = summed(mode, model, inputs[1:], targets[1:], chunk)
    with_it = summed(mode, model, inputs, targets, chunk)
    assert with_it.dtype == torch.float64
    moved = float((with_it - without).norm()) / CLIP
    assert moved == pytest.approx(MARGIN, abs=2e-5)
    assert moved < 1


def test_a_running_sum_in_float32_would_break_the_bound():
    """The positive control: records alike in every coordinate, added up as a naive engine would."""
    many = 1 << 14
    gradient = torch.full((256,), CLIP * MARGIN / 16)
    total = torch.zeros(256)
    most = 0.0
    for _ in range(many):
        after = total + gradient
        most = max(most, float((after.double() - total.double()).norm()))
        total = after
    assert most > CLIP * (1 + 1e-4)
    rows = gradient.expand(many, 256)
    whole, less = (summing.weighted_sum(torch.ones(n), rows[:n]) for n in (many, many - 1))
    assert float((whole - less).norm()) == pytest.approx(CLIP * MARGIN, rel=1e-6)


@pytest.mark.parametrize("block", [1, 7, 100, 1 << 21])
def test_blocks_make_no_difference_and_sums_are_exact_to_float64(block, monkeypatch):
    monkeypatch.setattr(summing, "BLOCK", block)
    random = torch.Generator().manual_seed(2)
    rows, weights = torch.randn((33, 5, 4), generator=random), torch.rand(33, generator=random)
    expected = torch.einsum("i,ijk->jk", weights.double(), rows.double())
    assert torch.allclose(summing.weighted_sum(weights, rows), expected, rtol=1e-14, atol=1e-14)
    left, right = rows[:, :, 0], rows[:, 0]
    outer = torch.einsum("ia,ib->ab", left.double(), right.double())
    assert torch.allclose(summing.outer_sum(left, right), outer, rtol=1e-14, atol=1e-14)


def test_no_records_add_nothing_and_norms_span_all_parts():
    assert torch.equal(
        summing.weighted_sum(torch.zeros(0), torch.zeros(0, 3)), torch.zeros(3).double()
    )
    parts = [torch.full((2, 3), 2.0), torch.full((2, 4), 1.0)]
    assert torch.allclose(summing.norms(parts), torch.full((2,), 4.0).double())
    assert torch.isfinite(summing.norms([torch.full((1, 3), 3e38)])).all()
