"""`[privacy] noise = "shared"`: what it needs, the noise that both limits take, and lanes that hold it."""

import math

import pytest
from fakes_federation import plan_for
from pydantic import ValidationError

from edgeveil.agent.rounds.upload import check_share, clip_in_lanes
from edgeveil.coordinator.plan.derived import secagg_params, training_plan
from edgeveil.coordinator.plan.plan import Plan
from edgeveil.shared.base.errors import ConfigError, PolicyRefusal
from edgeveil.shared.privacy.rdp import epsilon
from edgeveil.shared.privacy.shared_noise import rounded_sensitivity, shares

SHARED = {
    "training__steps": 1, "training__epsilon": 12.0, "privacy__noise": "shared", "privacy__honest": 6,
    "privacy__epsilon_sum": 1.0, "rounds__count": 100, "rounds__goal": 10, "rounds__minimum": 7,
    "secagg__n_max": 12, "secagg__n_ref_max": 1000,
}  # fmt: skip


def shared(agents=10, **changes):
    return plan_for(agents, **SHARED | changes)


def test_the_noise_of_a_share_is_the_larger_need_of_both_limits():
    by_sums, by_share = (training_plan(shared(training__epsilon=limit)) for limit in (12.0, 1.5))
    assert by_sums.noise_multiplier < by_share.noise_multiplier
    for plan, most in ((by_sums, 12.0), (by_share, 1.5)):
        summed, alone = (
            part._replace(steps=plan.rounds) for part in shares(plan.noise_multiplier, plan.honest)
        )
        assert epsilon([summed], plan.delta)[0] <= 1.0
        assert epsilon([alone], plan.delta)[0] <= most
    local = training_plan(plan_for(10, training__steps=1, training__epsilon=1.0, rounds__count=100))
    ratio = by_sums.noise_multiplier / (local.noise_multiplier / math.sqrt(6))
    assert (
        1 <= ratio < 1.15
    )  # a count that was charged under the larger limit weighs more under the smaller


@pytest.mark.parametrize("parameters", [10, 650, 100_000])
@pytest.mark.parametrize("weights", ["declared", "uniform"])
def test_every_size_of_device_finds_its_share_wide_enough_with_rounding_counted(
    parameters, weights
):
    plan = shared(secagg__weights=weights, secagg__n_ref_min=30)
    proposal = training_plan(plan)
    params = secagg_params(plan, proposal, parameters)
    scale = 1 << proposal.noise_bits
    for n_ref in (30, 100, 1000):
        check_share(proposal, params, n_ref)
    worst = rounded_sensitivity(clip_in_lanes(proposal, params, 30), parameters)
    assert scale / worst == pytest.approx(proposal.noise_multiplier, rel=1e-6)
    assert math.sqrt(parameters) / worst < 0.05  # spent on rounding


def test_a_step_too_fine_for_the_claim_is_refused_by_the_device():
    """A coordinator that makes lanes finer makes a record move them further than the share covers."""
    plan = shared()
    proposal = training_plan(plan)
    params = secagg_params(plan, proposal, 650)
    weight, values = params.segments
    from dataclasses import replace

    for wrong in (
        replace(values, step=values.step * 0.999),
        replace(values, bound=9 << proposal.noise_bits),
    ):
        with pytest.raises(PolicyRefusal, match=r"share of scale|leave no room"):
            check_share(proposal, replace(params, segments=(weight, wrong)), 1000)


@pytest.mark.parametrize(
    "wrong",
    [
        {"privacy__honest": None}, {"privacy__epsilon_sum": None}, {"privacy__epsilon_sum": 13.0},
        {"privacy__noise": "local"}, {"training__steps": 2}, {"training__momentum": 0.5},
        {"training__optimizer": "adam"}, {"privacy__honest": 7}, {"server__strategy": "scaffold"},
        {"training__privacy": "none", "training__epsilon": None}, {"privacy__honest": 1},
    ],
    ids=str,
)  # fmt: skip
def test_a_plan_that_means_nothing_is_a_mistake(wrong):
    with pytest.raises(ValidationError):
        shared(**wrong)


def test_so_many_parameters_that_rounding_would_eat_the_noise_are_a_mistake():
    plan = shared(
        secagg__n_max=200, secagg__n_ref_max=100_000, rounds__goal=100, rounds__minimum=90
    )
    with pytest.raises(ConfigError, match="rounding"):
        secagg_params(plan, training_plan(plan), 10_000_000)


def test_a_plan_with_local_noise_has_the_bytes_it_always_had():
    plan = plan_for(4)
    assert '"privacy":{' not in plan.model_dump_json().replace(" ", "")
    assert Plan.model_validate_json(plan.model_dump_json()) == plan
    other = shared()
    assert Plan.model_validate_json(other.model_dump_json()) == other
