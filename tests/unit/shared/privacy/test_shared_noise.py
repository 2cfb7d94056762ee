"""What is charged for noise in shares bounds what a sum shows: checked on distributions made by convolution.

The sum's distribution is the n-fold convolution of the definition of one share, with nothing of the proof.
"""

import math

import numpy as np
import pytest
from scipy.signal import fftconvolve

from edgeveil.shared.privacy import shared_noise
from edgeveil.shared.privacy.gaussian import delta_at
from edgeveil.shared.privacy.rdp import Segment, epsilon, rdp_step
from edgeveil.shared.privacy.shared_noise import excess, rounded_sensitivity, share_for, shares

ORDERS = (2, 3, 5, 8, 16, 32)
TINY = 1e-290  # below, floats lose digits


def one_share(scale):
    """P[x] for x in ±reach."""
    reach = math.ceil(37 * scale)  # to 1e-297: floats hold no more
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / scale) ** 2)
    return weights / weights.sum()


def sum_of(scale, number):
    """The distribution of the sum of `number` shares, by doubling; cut where less than that lies."""
    found, power = np.ones(1), one_share(scale)
    while number:
        if number & 1:
            found = np.convolve(found, power)
        power, number = np.convolve(power, power) if number > 1 else power, number >> 1
        keep = max(1, np.count_nonzero(power > TINY) // 2 + 1)
        middle = len(power) // 2
        power = power[max(0, middle - keep) : middle + keep + 1]
    return found


def neighbours(scale, number, shift):
    """The sum of the one and of the other neighbour, on one axis."""
    found = sum_of(scale, number)
    return np.append(found, np.zeros(shift)), np.append(np.zeros(shift), found)


def renyi(p, q, order):
    both = (p > TINY) & (q > TINY)
    terms = order * np.log(p[both]) + (1 - order) * np.log(q[both])
    return float(np.logaddexp.reduce(terms)) / (order - 1)


@pytest.mark.parametrize("number", [3, 4, 6, 10, 31, 100])
@pytest.mark.parametrize(("scale", "shift"), [(16, 1), (16, 7), (16, 16), (24, 40), (32, 9)])
def test_the_divergence_of_a_sum_is_at_most_that_of_the_step_that_is_charged(number, scale, shift):
    p, q = neighbours(scale, number, shift)
    charged, alone = shares(scale / shift, number)
    single = neighbours(scale, 1, shift)
    for order in ORDERS:
        bound = rdp_step(charged.noise_multiplier, 1.0, order)
        assert renyi(q, p, order) <= bound * (1 + 1e-9) + 1e-12
        assert renyi(q, p, order) >= bound * 0.999  # nothing is given away either
        if order * shift < 8 * scale:  # else the array holds too little of the tail
            bound = rdp_step(alone.noise_multiplier, 1.0, order)
            assert renyi(*single, order) <= bound * (1 + 1e-9) + 1e-12


@pytest.mark.parametrize("number", [3, 10, 100])
@pytest.mark.parametrize("rate", [0.02, 0.3, 0.8])
def test_poisson_sampling_is_bounded_in_both_directions(number, rate):
    p, q = neighbours(16, number, 16)
    mixed = (1 - rate) * p + rate * q
    charged = shares(1.0, number, rate)[0]
    for order in ORDERS:
        bound = rdp_step(charged.noise_multiplier, rate, order)
        assert renyi(mixed, p, order) <= bound * (1 + 1e-9) + 1e-12
        assert renyi(p, mixed, order) <= renyi(mixed, p, order) + 1e-12


@pytest.mark.parametrize("shift", [(3, 4), (1, 40)])
@pytest.mark.parametrize("rate", [0.05, 0.5])
def test_sampling_is_bounded_for_a_shift_over_several_coordinates(shift, rate):
    """The mixture on the plane itself: a lattice cannot be turned so that the shift lies on one axis."""
    (p, q), (other_p, other_q) = (neighbours(16, 3, each) for each in shift)
    here, there = (np.outer(*each).ravel() for each in ((p, other_p), (q, other_q)))
    mixed = (1 - rate) * here + rate * there
    charged = shares(16 / math.hypot(*shift), 3, rate)[0]
    for order in (2, 3, 5, 8):
        bound = rdp_step(charged.noise_multiplier, rate, order)
        assert renyi(mixed, here, order) <= bound * (1 + 1e-9) + 1e-12
        assert renyi(mixed, here, order) >= 0.99 * bound
        assert renyi(here, mixed, order) <= bound * (1 + 1e-9) + 1e-12


@pytest.mark.parametrize("number", [3, 6, 100])
@pytest.mark.parametrize("rounds", [1, 8, 40])
def test_epsilon_of_many_rounds_bounds_their_privacy_loss(number, rounds):
    """δ(ε) of the composed privacy loss, each loss rounded up to a grid and convolved; no Rényi divergence in it."""
    p, q = neighbours(16, number, 16)
    charged = shares(1.0, number)[0]
    claimed, _ = epsilon([charged._replace(steps=rounds)], 1e-5)
    both = (p > TINY) & (q > 1e-16)
    left_out, grid = 1 - float(q[both].sum()), 1e-3
    losses = np.ceil(np.log(q[both] / p[both]) / grid).astype(int)
    least = losses.min()
    one = np.bincount(losses - least, weights=q[both])
    whole = one
    for _ in range(rounds - 1):
        whole = fftconvolve(whole, one)
    values = (rounds * least + np.arange(len(whole))) * grid
    delta = float((np.maximum(whole, 0) * np.maximum(-np.expm1(claimed - values), 0)).sum())
    assert delta + rounds * left_out <= 1e-5
    assert delta >= 1e-8  # the claim is no idle one


@pytest.mark.parametrize(("number", "rounds"), [(3, 1), (3, 8), (30, 8)])
def test_sums_are_as_private_as_a_gaussian_with_a_little_less_noise(number, rounds):
    """docs/privacy.md, "Gaussian-DP": δ of the composed privacy loss, convolved, beside the closed form."""
    p, q = neighbours(16, number, 16)
    mu = 16 * math.sqrt(rounds / (number * 16**2 - 4))
    both = (p > TINY) & (q > 1e-17)
    losses, grid = np.log(q[both] / p[both]), 1e-4
    for rounding, share in ((np.ceil, 1.01), (np.floor, 0.97)):
        steps = rounding(losses / grid).astype(int)
        one = np.bincount(steps - steps.min(), weights=q[both])
        whole = one
        for _ in range(rounds - 1):
            whole = np.maximum(fftconvolve(whole, one), 0)
        values = (rounds * steps.min() + np.arange(len(whole))) * grid
        for claimed in (0.25 * mu, mu, 2.5 * mu):
            delta = float((whole * np.maximum(-np.expm1(claimed - values), 0)).sum())
            exact = delta_at(claimed, mu)
            assert delta <= exact * share if share > 1 else delta >= exact * share


@pytest.mark.parametrize("scale", [2.0, 4.0])
def test_a_discrete_gaussian_is_made_of_a_continuous_one_by_drawing_integers_near_it(scale):
    """The same section, step 2, by quadrature: what is drawn is one up to 1e-13, and no rounding would do."""
    x, y = np.arange(-40, 41)[:, None], np.linspace(-60, 60, 24_001)[None, :]
    near = np.exp(-((x - y) ** 2) / 8)
    near /= np.exp(-((np.arange(-120, 121)[:, None] - y) ** 2) / 8).sum(axis=0)
    made = (near * np.exp(-((y - 3) ** 2) / (2 * (scale**2 * 4 - 4)))).sum(axis=1)
    wanted = np.exp(-((x[:, 0] - 3) ** 2) / (2 * scale**2 * 4))
    ratio = (made / wanted)[np.abs(x[:, 0] - 3) <= 8 * scale]
    assert np.ptp(np.log(ratio)) < 1e-12


@pytest.mark.parametrize("number", [2, 3, 5, 20, 100])
@pytest.mark.parametrize("scale", [0.55, 0.7, 1.0])
def test_a_sum_ripples_around_a_gaussian_by_no_more_than_the_derived_excess(number, scale):
    """At scales far below the least that is allowed, where the excess can be seen."""
    found = sum_of(scale, number)
    x = np.arange(len(found)) - len(found) // 2
    seen = np.abs(x) <= 6 * scale * math.sqrt(number)
    ripple = np.ptp(np.log(found[seen]) + x[seen] ** 2 / (2 * number * scale**2))
    assert ripple <= excess(scale, number, 1)
    if scale <= 0.7:
        assert ripple >= 1e-3  # a sum of discrete Gaussians is no discrete Gaussian


def test_at_the_least_scale_the_excess_is_far_below_what_the_slack_covers():
    """Order 2, σ of a million: there the slack covers least."""
    covered = shared_noise.SLACK / 1e6**2
    assert excess(shared_noise.LEAST_SCALE, 65_535, 1 << 31) < covered
    assert excess(2.0, 65_535, 1 << 31) > covered  # so a smaller scale is not simply allowed
    assert excess(0.2, 3, 1) == math.inf


def test_the_charges_are_a_root_of_h_apart_and_a_little_less_than_the_noise():
    total, alone = shares(2.5, 9)
    assert total == Segment(pytest.approx(7.5, rel=2e-9), 1.0, 1)
    assert alone == Segment(pytest.approx(2.5, rel=2e-9), 1.0, 1)
    assert total.noise_multiplier < 7.5
    assert alone.noise_multiplier < 2.5
    assert shares(share_for(7.5, 9), 9)[0].noise_multiplier >= 7.5
    assert shares(2.5, 1)[0] == shares(2.5, 1)[1]  # nobody else to lean on


@pytest.mark.parametrize("bad", [(2.5, 0), (2.5, -3), (0.0, 3), (math.nan, 3), (math.inf, 3)])
def test_impossible_shares_are_refused(bad):
    with pytest.raises(ValueError):
        shares(*bad)


def test_rounding_moves_neighbours_apart_by_at_most_the_root_of_the_parameters():
    """With one rounding randomness for both, as the proof has it; and nearly so much does happen."""
    random = np.random.default_rng(5)
    worst = 0.0
    for parameters in (1, 10, 400):
        for clip in (0.5, 3.0, 50.0):
            for _ in range(200):
                base = random.normal(size=parameters) * 20
                way = random.normal(size=parameters)
                way *= clip / np.linalg.norm(way)
                uniform = random.random(parameters)
                moved = np.floor(base + way + uniform) - np.floor(base + uniform)
                limit = rounded_sensitivity(clip, parameters)
                assert np.linalg.norm(moved) <= limit
                worst = max(worst, float(np.linalg.norm(moved)) / limit)
    assert worst > 0.6
    aligned = np.full(400, 0.02 + 1e-9)  # every coordinate crosses a border
    apart = np.floor(aligned) - np.floor(aligned - 0.03)
    assert np.linalg.norm(apart) > np.linalg.norm(np.full(400, 0.03))
    assert np.linalg.norm(apart) <= rounded_sensitivity(0.03 * 20, 400)
