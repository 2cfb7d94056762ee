"""First plans whose devices each add a share of the noise: the measured rule, and what cannot be is refused."""

import math

import pytest

from edgeveil.coordinator.plan.first import Wanted, first_plan
from edgeveil.coordinator.plan.first_rules import REACH, ROUNDS
from edgeveil.coordinator.plan.first_shared import honest_of
from edgeveil.shared.base.errors import ConfigError
from edgeveil.shared.secagg.primitives.solver import assumed_corrupt

DIGITS = tuple("0123456789")


def made(**changes):
    return first_plan(Wanted(DIGITS, (28, 28, 1), 10, 1000, 3.0, **{"honest": 6} | changes))


def test_the_rule_is_that_of_the_measured_table():
    plan, noise = made().plan, made().noise_multiplier
    assert (plan.rounds.count, plan.training.steps) == (100, 1)
    assert (plan.privacy.noise, plan.privacy.honest, plan.privacy.epsilon_sum) == ("shared", 6, 3.0)
    exact = REACH["orientation"] * 1000 * math.sqrt(10) / (0.1 * noise * math.sqrt(100))
    assert plan.training.learning_rate == pytest.approx(exact, rel=0.05)


@pytest.mark.parametrize(("agents", "honest"), [(4, 2), (10, 3), (10, 8), (300, 20)])
@pytest.mark.parametrize("epsilon", [2.0, 4.0])
def test_neither_figure_is_above_its_limit_and_sums_use_theirs(agents, honest, epsilon):
    found = first_plan(Wanted(DIGITS, (28, 28, 1), agents, 1000, epsilon, honest=honest))
    plan, cost = found.plan, found.cost
    assert cost.epsilon_sum < cost.epsilon <= plan.training.epsilon
    assert 0.85 * epsilon < cost.epsilon_sum <= epsilon


def test_a_sum_is_sure_of_so_many_honest_devices():
    plan = made().plan
    secagg = plan.secagg
    corrupt = assumed_corrupt(plan.sum_max, secagg.gamma_ppm, secagg.c_min)
    assert plan.rounds.minimum == 6 + corrupt
    assert made(honest=10 - corrupt).plan.rounds.minimum == plan.rounds.goal


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"honest": 9}, r"--honest 9: of a sum of 10 devices 2 may be corrupt, which leaves 8"),
        ({"agents": 5000, "honest": 900}, r"--honest 900: of a sum of .*shard"),
        ({"task": "anomaly", "columns": "a [m] 0..1", "labels": (), "shape": (1,)}, "sgd"),
        ({"epsilon": 1e-9}, "epsilon"),
    ],
)  # fmt: skip
def test_what_cannot_be_shared_is_refused_with_its_reason(changes, why):
    usual = {"labels": DIGITS, "shape": (28, 28, 1), "agents": 10, "epsilon": 3.0, "honest": 6}
    with pytest.raises(ConfigError, match=why):
        first_plan(Wanted(**usual | changes))


@pytest.mark.parametrize(
    ("shared", "honest"), [(True, None), (False, 3), (True, 1), (True, 0), (True, -2)]
)
def test_the_two_options_belong_together(shared, honest):
    with pytest.raises(ConfigError, match="--honest"):
        honest_of(shared=shared, honest=honest)


def test_without_shares_both_figures_are_one():
    cost = made(honest=None).cost
    assert cost.epsilon == cost.epsilon_sum
    assert made(honest=None).plan.rounds.count == ROUNDS
