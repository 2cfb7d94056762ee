"""The budget filter: the published examples, the exact boundary, the planner."""

import re

import privacy_bench as bench
import pytest

from edgeveil.shared.privacy.filter import (
    MOST_STEPS,
    admits,
    cap,
    choose_order,
    noise_multiplier_for,
    steps_left,
)
from edgeveil.shared.privacy.rdp import Segment, epsilon, rdp_step, rdp_total, to_epsilon

EXAMPLES = bench.VECTORS["filter_examples"]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda e: f"{e['epsilon_max']}-{e['sigma']}")
def test_the_published_examples_hold(example):
    planned = Segment(example["sigma"], example["q"], 1)
    order = choose_order(example["epsilon_max"], example["delta"], planned)
    limit = cap(example["epsilon_max"], example["delta"], order)
    step = rdp_step(example["sigma"], example["q"], order)
    assert order == example["alpha"]
    assert limit == pytest.approx(example["rdp_cap"], abs=1e-9)
    assert step == pytest.approx(example["rdp_per_step"], rel=1e-10)
    assert steps_left(0.0, step, limit) == example["max_steps"]
    spent = example["max_steps"] * step
    assert to_epsilon(spent, order, example["delta"]) == pytest.approx(
        example["epsilon_after_max_steps"], abs=1e-6
    )


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda e: f"{e['epsilon_max']}-{e['sigma']}")
def test_the_last_step_fits_and_one_more_does_not(example):
    step = rdp_step(example["sigma"], example["q"], example["alpha"])
    limit = cap(example["epsilon_max"], example["delta"], example["alpha"])
    spent = 0.0
    for _ in range(example["max_steps"]):
        assert admits(spent, step, limit)
        spent += step
    assert not admits(spent, step, limit)
    assert steps_left(spent, step, limit) == 0


def test_a_sum_that_rounding_hides_is_not_admitted():
    assert admits(0.5, 0.5 - 1e-11, 1.0)
    assert not admits(0.5, 0.5 - 1e-13, 1.0)


def test_steps_left_counts_up_to_an_exact_multiple():
    assert steps_left(0.0, 0.25, 1.0) == 3  # a fourth would reach the limit before rounding up
    assert steps_left(0.0, 0.25, 1.0 + 1e-9) == 4
    assert steps_left(2.0, 0.25, 1.0) == 0
    assert steps_left(0.0, 0.25, -1.0) == 0


@pytest.mark.parametrize("step", [1e-300, 1e-20, 1e-12, 4.9e-12])
def test_steps_that_cost_next_to_nothing_are_counted_at_once(step):
    assert steps_left(0.5, step, 4.9) <= MOST_STEPS


def test_without_a_plan_the_order_suits_full_batches():
    assert choose_order(8.0, 1e-5) == 4
    assert choose_order(3.0, 1e-5) == 8


def test_a_budget_worth_nothing_is_refused():
    with pytest.raises(ValueError, match="no budget"):
        choose_order(1e-6, 1e-30)


@pytest.mark.parametrize(
    ("budget", "steps", "sigma"),
    [
        (1, 20, 18.09), (1, 40, 25.59), (1, 100, 40.45), (1, 120, 44.32),
        (3, 20, 6.693), (3, 40, 9.465), (3, 100, 14.966), (3, 120, 16.394),
        (8, 20, 2.854), (8, 40, 4.036), (8, 100, 6.381), (8, 120, 6.990),
    ],
)  # fmt: skip
def test_the_planner_finds_the_published_noise(budget, steps, sigma):
    assert noise_multiplier_for(budget, 1e-5, steps, 1.0) == pytest.approx(sigma, abs=6e-3)


@pytest.mark.parametrize("q", [1.0, 0.25, 0.01])
def test_the_planned_noise_fits_and_a_little_less_does_not(q):
    spent = [Segment(10.0, 1.0, 40)]
    order = 4
    sigma = noise_multiplier_for(8.0, 1e-5, 60, q, spent, order=order)
    limit, used = cap(8.0, 1e-5, order), rdp_total(spent, order)
    assert admits(used, 60 * rdp_step(sigma, q, order), limit)
    assert not admits(used, 60 * rdp_step(sigma * (1 - 1e-6), q, order), limit)
    assert epsilon([*spent, Segment(sigma, q, 60)], 1e-5)[0] <= 8.0


def test_the_planner_says_when_the_budget_is_gone():
    with pytest.raises(ValueError, match="no noise_multiplier fits"):
        noise_multiplier_for(8.0, 1e-5, 1, 1.0, [Segment(1.0, 1.0, 100)], order=4)


def test_opacus_needs_slightly_less_noise_for_the_same_plan():
    """Integer orders cost at most two percent against the fractional ones of Opacus."""
    for name, theirs in bench.VECTORS["noise_multipliers"]["rdp"].items():
        budget, steps = (int(number) for number in re.findall(r"\d+", name))
        ours = noise_multiplier_for(budget, 1e-5, steps, 1.0)
        assert theirs * 0.995 <= ours <= theirs * 1.02
