"""The noisy count that n_ref is taken from, and that what is charged for it bounds it."""

import math
from collections import Counter
from random import Random
from statistics import NormalDist

import pytest

from edgeveil.shared.privacy.counting import (
    LEAST_SCALE,
    SHARE,
    affordable_scale,
    charged,
    discrete_laplace,
    ladder_step,
    proposed_size,
)
from edgeveil.shared.privacy.filter import cap, choose_order
from edgeveil.shared.privacy.rdp import ORDERS, rdp_step, rdp_total


@pytest.mark.parametrize(
    ("value", "step"),
    [(-40, 1), (0, 1), (1, 1), (2, 3), (5, 3), (6, 10), (17, 10), (18, 30), (54, 30), (55, 100),
     (547, 300), (548, 1000), (99_999, 100_000)],
)  # fmt: skip
def test_the_ladder_gives_the_nearest_step_by_ratio(value, step):
    assert ladder_step(value) == step


def test_the_noise_is_discrete_laplace():
    draws = 20_000
    found = Counter(discrete_laplace(3) for _ in range(draws))
    ratio = math.exp(-1 / 3)
    for value in range(-6, 7):
        wanted = draws * (1 - ratio) / (1 + ratio) * ratio ** abs(value)
        assert abs(found[value] - wanted) < 5 * math.sqrt(wanted)


def test_every_draw_comes_from_the_source_that_is_handed_in():
    found = [
        [proposed_size(20, 10, Random(seed).randrange) for seed in range(20)] for _ in range(2)
    ]
    assert found[0] == found[1]
    assert len(set(found[0])) > 1


@pytest.mark.parametrize("scale", [10, 11, 40, 1000])
def test_the_gaussian_step_that_is_charged_bounds_a_pure_release_at_every_threshold(scale):
    """δ(ε) of the charged step is nowhere below that of the count, and neither is any Rényi divergence."""
    epsilon, normal = 1 / scale, NormalDist()
    mu = 1 / charged(scale).noise_multiplier
    assert mu >= 2 * normal.inv_cdf(math.exp(epsilon) / (1 + math.exp(epsilon)))
    for part in range(20):
        x = epsilon * part / 20
        gaussian = normal.cdf(mu / 2 - x / mu) - math.exp(x) * normal.cdf(-mu / 2 - x / mu)
        pure = (math.exp(epsilon) - math.exp(x)) / (1 + math.exp(epsilon))  # of randomised response
        assert gaussian >= pure
    ratio = math.exp(-epsilon)
    for order in (2, 4, 18, 256):
        up = math.exp(epsilon * (order - 1)) / (1 + ratio) + math.exp(-epsilon * order) / (
            1 + ratio
        )
        assert rdp_total([charged(scale)], order) >= math.log(up) / (order - 1)


def test_a_count_takes_at_most_a_twentieth_of_any_budget():
    for epsilon, delta in ((8.0, 1e-5), (1.0, 1e-5), (1 / 3, 1e-7)):
        order = choose_order(epsilon, delta)
        room = cap(epsilon, delta, order)
        scale = affordable_scale(room, order)
        assert scale >= LEAST_SCALE
        assert SHARE * rdp_step(charged(scale).noise_multiplier, 1.0, order) <= room
    assert affordable_scale(cap(8.0, 1e-5, 4), 4) == LEAST_SCALE
    assert order in ORDERS
