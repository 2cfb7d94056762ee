"""The three gradient engines agree; bad records count as zero; noise comes once per step."""

import dp_bench as bench
import numpy as np
import pytest
import torch
from torch import nn

from edgeveil.agent.training.engines import optimizer as secure
from edgeveil.agent.training.engines.gradients import ENGINES
from edgeveil.agent.training.engines.mechanism import Mechanism

MODES = ["hooks", "ghost", "single"]
MODELS = sorted(bench.MODELS)


@pytest.mark.parametrize("model", MODELS)
def test_hooks_ghost_and_one_record_at_a_time_agree(model):
    batch = bench.records(9)
    exact = bench.clipped_sum(model, "single", [batch])
    for mode in ("hooks", "ghost"):
        found = bench.clipped_sum(model, mode, [batch])
        assert (found - exact).norm() <= 1e-5 * exact.norm()


def test_a_step_by_one_record_at_a_time_is_that_of_hooks(monkeypatch):
    monkeypatch.setattr(secure, "gaussian", lambda count, _std: np.zeros(count))
    batch, moved = bench.records(9), {}
    for mode in ("hooks", "single"):
        module = bench.seeded(bench.MODELS["convolutional"])().train()
        before = flat(module)
        with attached(mode, module) as engine:
            engine.accumulate(*batch)
            engine.finish()
        moved[mode] = flat(module) - before
    assert float(moved["hooks"].abs().max()) > 1e-3
    assert float((moved["hooks"] - moved["single"]).abs().max()) <= 1e-6


@pytest.mark.parametrize("model", MODELS)
def test_the_sum_is_that_of_plain_autograd_clipped_by_hand(model):
    inputs, targets = bench.records(5)
    module = bench.MODELS[model]().train()
    expected = 0.0
    for at in range(5):
        loss = nn.functional.cross_entropy(module(inputs[at : at + 1]), targets[at : at + 1])
        flat = torch.cat([g.flatten() for g in torch.autograd.grad(loss, module.parameters())])
        expected = expected + flat * min(1.0, 0.5 * secure.MARGIN / float(flat.norm()))
    found = bench.clipped_sum(model, "single", [(inputs, targets)])
    assert (found - expected).norm() <= 1e-5 * expected.norm()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("model", MODELS)
def test_chunks_make_no_difference(model, mode):
    inputs, targets = bench.records(10)
    whole = bench.clipped_sum(model, mode, [(inputs, targets)])
    parts = [(inputs[a:b], targets[a:b]) for a, b in ((0, 3), (3, 4), (4, 10))]
    found = bench.clipped_sum(model, mode, parts)
    assert (found - whole).norm() <= 1e-5 * whole.norm()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("clip_norm", [1e-3, 0.1, 10.0])
def test_one_record_moves_the_sum_by_at_most_the_clip_norm(mode, clip_norm):
    inputs, targets = bench.records(8)
    inputs[7] *= 1e4
    without = bench.clipped_sum("convolutional", mode, [(inputs[:7], targets[:7])], clip_norm)
    with_it = bench.clipped_sum("convolutional", mode, [(inputs, targets)], clip_norm)
    moved = (with_it.double() - without.double()).norm()
    assert 0 < moved <= clip_norm


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf"), 3e38])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("model", MODELS)
def test_a_record_that_is_not_finite_counts_as_zero(model, mode, bad):
    inputs, targets = bench.records(6)
    expected = bench.clipped_sum(model, mode, [(inputs, targets)])
    poisoned = torch.cat([inputs, torch.full((1, *bench.SHAPE), bad)])
    found = bench.clipped_sum(model, mode, [(poisoned, torch.cat([targets, targets[:1]]))])
    assert torch.isfinite(found).all()
    if not np.isclose(bad, 3e38):
        assert (found - expected).norm() <= 1e-5 * expected.norm()
    assert (found - expected).norm() <= 0.5


@pytest.mark.parametrize("mode", MODES)
def test_a_chunk_of_bad_records_only_adds_nothing(mode):
    inputs, targets = bench.records(2)
    found = bench.clipped_sum("linear", mode, [(inputs * float("nan"), targets)])
    assert torch.equal(found, torch.zeros_like(found))


def attached(mode, module, **options):
    optimizer = torch.optim.SGD(module.parameters(), lr=1.0)
    engine = ENGINES[mode](module, nn.CrossEntropyLoss(reduction="none"))
    return engine.attach(optimizer, Mechanism(0.5, 2.0, n_ref=10, **options))


def flat(module):
    return torch.cat([p.detach().flatten() for p in module.parameters()]).clone()


@pytest.mark.parametrize("mode", MODES)
def test_an_empty_batch_still_adds_noise_and_steps(mode):
    module = bench.seeded(lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 2000)))().train()
    before = flat(module)
    with attached(mode, module) as engine:
        engine.finish()
    moved = (flat(module) - before).double()
    assert float(moved.std()) == pytest.approx(2.0 * 0.5 / 10.0, rel=0.02)


@pytest.mark.parametrize("mode", MODES)
def test_noise_is_added_once_per_step_however_many_chunks(mode, monkeypatch):
    calls = []

    def recorded(count, std):
        calls.append((count, std))
        return np.zeros(count)

    monkeypatch.setattr(secure, "gaussian", recorded)
    module = bench.MODELS["convolutional"]().train()
    before = flat(module)
    inputs, targets = bench.records(6)
    expected = bench.clipped_sum("convolutional", mode, [(inputs, targets)])
    with attached(mode, module) as engine:
        for at in range(0, 6, 2):
            engine.accumulate(inputs[at : at + 2], targets[at : at + 2])
        engine.finish()
        engine.finish()
    assert calls == [(before.numel(), 1.0)] * 2
    moved = before - flat(module)  # the second, empty step adds nothing but its (zero) noise
    assert moved == pytest.approx(expected / 10.0, abs=1e-6)


def test_the_noise_is_drawn_for_the_full_clip_norm_although_clipping_stays_below_it():
    module = bench.MODELS["linear"]().train()
    with attached("hooks", module) as engine:
        assert engine._optimizer._mechanism.noise_std == 1.0
        assert engine._optimizer.max_grad_norm == 0.5 * (1 - 1e-4)


@pytest.mark.parametrize("mode", MODES)
def test_closing_leaves_no_hook_and_no_private_tensor_behind(mode):
    module = bench.MODELS["convolutional"]().train()
    with attached(mode, module) as engine:
        engine.accumulate(*bench.records(3))
        engine.finish()
    for p in module.parameters():
        assert not hasattr(p, "grad_sample")
        assert not hasattr(p, "_norm_sample")
    assert not any(part._forward_hooks for part in module.modules())
