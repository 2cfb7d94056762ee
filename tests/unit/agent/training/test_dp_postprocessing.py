"""Momentum, Adam and averaging work on noisy gradients: what they do, and that plans carry them."""

import math

import dp_bench as bench
import numpy as np
import pytest
import torch
from fakes_federation import plan_for

from edgeveil.agent.training.engines import optimizer as secure
from edgeveil.agent.training.engines.gradients import ENGINES
from edgeveil.agent.training.engines.mechanism import Mechanism
from edgeveil.agent.training.engines.optimizer import MARGIN
from edgeveil.agent.training.training import train
from edgeveil.coordinator.plan.derived import secagg_params, training_plan
from edgeveil.shared.base.errors import ConfigError
from edgeveil.shared.wire.plan import TrainingPlan

TASK = bench.CanaryTask()
STEPS, N_REF = 4, 1000
QUIET = 1e-3  # the least noise multiplier there is: what is left is the mechanism


def canary_update(**changes):
    """The update along one included canary: each step moves it by lr·C/n_ref."""
    options = bench.CanaryOptions(1)
    plan = bench.plan(**{"noise_multiplier": QUIET, "steps": STEPS, **changes})
    examples = bench.canary_examples(np.ones(1, dtype=bool))
    start = np.zeros(1, dtype=np.float32)
    found = train(TASK, options, examples, start, TASK.tensors(options), plan, N_REF)
    step = plan.learning_rate * plan.clip_norm * MARGIN / N_REF
    return float(found.update[0]) / step


def test_momentum_carries_each_step_on():
    expected = sum((1 - 0.5**t) / 0.5 for t in range(1, STEPS + 1))
    assert canary_update(momentum=0.5) == pytest.approx(expected, rel=0.01)


def test_the_average_weighs_the_steps_by_their_age():
    weights = [0.5 ** (STEPS - t) for t in range(1, STEPS + 1)]
    expected = sum(w * t for w, t in zip(weights, range(1, STEPS + 1), strict=True)) / sum(weights)
    assert canary_update(average=0.5) == pytest.approx(expected, rel=0.01)
    assert canary_update(average=0.0) == pytest.approx(STEPS, rel=0.01)


def test_the_proximal_term_pulls_every_step_back_to_the_global_model():
    expected = sum((1 - 0.25) ** s for s in range(STEPS))
    found = canary_update(learning_rate=0.5, proximal=0.5)
    assert found == pytest.approx(expected, rel=0.01)
    assert canary_update(learning_rate=0.5, proximal=2.0) == pytest.approx(1.0, rel=0.01)


@pytest.mark.parametrize("mode", ["hooks", "ghost", "single"])
def test_rounds_of_fedprox_are_those_of_flowers_own_strategy(mode, monkeypatch):
    """μ travels in Flower's configuration and its aggregation is FedAvg's; the client is its manual's."""
    from flwr.app import ArrayRecord, ConfigRecord
    from flwr.serverapp.strategy import FedProx

    theirs = FedProx(proximal_mu=0.7)
    configured = ConfigRecord({})
    monkeypatch.setattr(
        FedProx.__mro__[1], "configure_train", lambda _self, _r, _a, config, _g: [config]
    )
    (sent,) = theirs.configure_train(1, ArrayRecord([]), configured, None)
    mu = float(sent["proximal-mu"])
    assert mu == 0.7
    build = bench.MODELS["linear"]
    inputs, targets = bench.records(40)
    ours = _descend(build, inputs, targets, mode, mu)
    reference = build()
    start = [p.detach().clone() for p in reference.parameters()]
    optimizer = torch.optim.SGD(reference.parameters(), lr=0.3)
    for _ in range(STEPS):
        optimizer.zero_grad()
        near = sum((p - s).norm(2) ** 2 for p, s in zip(reference.parameters(), start, strict=True))
        loss = torch.nn.functional.cross_entropy(reference(inputs), targets) + mu / 2 * near
        loss.backward()
        optimizer.step()
    for mine, wanted in zip(ours, reference.parameters(), strict=True):
        assert torch.allclose(mine, wanted, atol=1e-3)
    without = _descend(build, inputs, targets, mode, 0.0)
    assert not all(torch.allclose(a, b, atol=3e-3) for a, b in zip(ours, without, strict=True))


@pytest.mark.parametrize("mode", ["hooks", "ghost", "single"])
def test_the_proximal_term_is_added_after_the_noise_and_to_no_record(mode, monkeypatch):
    """One step at a model far from the global one: clipped sum + noise, divided, then + μ(w − w₀)."""
    noise = np.random.default_rng(5).normal(0, 1, 64 * bench.CLASSES + bench.CLASSES)
    monkeypatch.setattr(secure, "gaussian", lambda _count, std: noise * std)
    inputs, targets = bench.records(6)
    module, before, clipped = _far_away(mode, inputs, targets, mu=0.25)
    after = torch.cat([p.detach().flatten() for p in module.parameters()])
    expected = (clipped + torch.from_numpy(noise) * 2.0 * CLIP) / 10 + 0.25 * FAR
    assert (before - after).double().numpy() == pytest.approx(expected.numpy(), abs=1e-4)
    _, _, without = _far_away(mode, inputs, targets, mu=0.0)
    assert torch.equal(clipped, without), "what is noised does not know of the term"


@pytest.mark.parametrize("mode", ["hooks", "ghost", "single"])
@pytest.mark.parametrize("mu", [0.0, 0.25, 1.0])
def test_one_record_moves_a_proximal_step_by_no_more_than_one_without(mode, mu, monkeypatch):
    """Sensitivity: with one record swapped the step moves by at most 2C/divisor, whatever μ and w − w₀."""
    monkeypatch.setattr(secure, "gaussian", lambda count, _std: np.zeros(count))
    inputs, targets = bench.records(6)
    swapped = inputs.clone()
    swapped[2] = -1e4 * inputs[2]
    first, *_ = _far_away(mode, inputs, targets, mu)
    other, *_ = _far_away(mode, swapped, targets, mu)
    one_less, *_ = _far_away(mode, inputs[1:], targets[1:], mu)
    moved = [_distance(first, module) for module in (other, one_less)]
    assert 0 < moved[0] <= 2 * CLIP / 10 + 1e-4
    assert 0 < moved[1] <= CLIP / 10 + 1e-4


CLIP, FAR = 0.5, 8.0


def _far_away(mode, inputs, targets, mu):
    """(module after one step of rate 1, its parameters before, the clipped sum); w − w₀ = FAR everywhere."""
    module = bench.MODELS["linear"]().train()
    engine = ENGINES[mode](module, torch.nn.CrossEntropyLoss(reduction="none"))
    optimizer = torch.optim.SGD(module.parameters(), lr=1.0)
    with engine.attach(optimizer, Mechanism(CLIP, noise_multiplier=2.0, n_ref=10, proximal=mu)):
        with torch.no_grad():
            for p in module.parameters():
                p.add_(FAR)
        before = torch.cat([p.detach().flatten() for p in module.parameters()]).clone()
        engine.accumulate(inputs, targets)
        clipped = torch.cat([part.flatten() for part in engine.clipped_sum()])
        engine.finish()
    return module, before, clipped


def _distance(a, b):
    pairs = zip(a.parameters(), b.parameters(), strict=True)
    return float(torch.cat([(p - q).detach().flatten() for p, q in pairs]).norm())


def _descend(build, inputs, targets, mode, mu):
    """The agent's engine with next to no noise and a clip norm that nothing reaches."""
    module = build().train()
    engine = ENGINES[mode](module, torch.nn.CrossEntropyLoss(reduction="none"))
    optimizer = torch.optim.SGD(module.parameters(), lr=0.3)
    mechanism = Mechanism(100.0, 1e-6, n_ref=len(inputs), steps=STEPS, proximal=mu)
    with engine.attach(optimizer, mechanism):
        for _ in range(STEPS):
            engine.accumulate(inputs, targets)
            engine.finish()
    return [p.detach() for p in module.parameters()]


def test_adam_moves_by_the_learning_rate_whatever_the_clip_norm():
    for clip_norm in (0.1, 5.0):
        plan = {"optimizer": "adam", "learning_rate": 0.01, "clip_norm": clip_norm}
        moved = canary_update(**plan) * 0.01 * clip_norm * MARGIN / N_REF
        assert moved == pytest.approx(STEPS * 0.01, rel=0.02)


def test_two_rounds_share_no_state_of_the_optimiser():
    first, second = (canary_update(momentum=0.9) for _ in range(2))
    assert first == pytest.approx(second, rel=0.01)


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": "adam", "momentum": 0.5},
        {"momentum": 1.0},
        {"learning_rate": 2.0, "proximal": 0.6},
        {"proximal": 0.1, "momentum": 0.5},
        {"proximal": 0.1, "optimizer": "adam"},
        {"proximal": -0.1},
        {"average": 1.0},
        {"optimizer": "lion"},
    ],
)
def test_impossible_combinations_are_refused(changes):
    with pytest.raises(ValueError):
        bench.plan(**changes)


def test_the_plan_travels_in_one_spelling():
    plan = bench.plan(momentum=0.9, average=0.5)
    assert TrainingPlan.from_json(plan.to_json()) == plan
    assert b'"momentum":"0.9","noise_multiplier"' in plan.to_json()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"training__momentum": 0.9},
        {"training__average": 0.9},
        {"training__optimizer": "adam", "training__learning_rate": 0.01},
    ],
)
def test_the_quantiser_holds_what_the_optimiser_can_reach(changes):
    """Every record pulls the one weight the same way, with the noise of the plan on top."""
    plan = plan_for(3, secagg__n_ref_max=1000, **changes)
    proposal = training_plan(plan)
    segment = secagg_params(plan, proposal, 1).segments[1]
    options = bench.CanaryOptions(1)
    examples = bench.canary_examples(np.ones(1, dtype=bool))
    crowd = type(examples)(
        np.repeat(examples.inputs, N_REF, axis=0), np.zeros(N_REF, dtype=np.int64), ("only",)
    )
    start = np.zeros(1, dtype=np.float32)
    found = train(TASK, options, crowd, start, TASK.tensors(options), proposal, N_REF)
    weight = N_REF if plan.weights == "declared" else 1
    assert weight * abs(float(found.update[0])) < segment.bound * segment.step
    noise = weight * noise_of(proposal)
    assert segment.step <= noise / 4 * (1 + 1e-9)


def noise_of(proposal):
    """Spread of an update of no record, over many coordinates."""
    options = bench.CanaryOptions(2000)
    empty = bench.canary_examples(np.zeros(2000, dtype=bool))
    start = np.zeros(2000, dtype=np.float32)
    found = train(TASK, options, empty, start, TASK.tensors(options), proposal, N_REF)
    assert math.isfinite(float(found.update.std()))
    return float(found.update.std())


def test_a_plan_file_with_both_is_refused_with_its_reason():
    with pytest.raises((ConfigError, ValueError), match="momentum belongs to sgd"):
        plan_for(3, training__optimizer="adam", training__momentum=0.5)
