"""ε of a separation against scipy and numerical integration; the bound against the exact noncentral t."""

import math

import numpy as np
import pytest
from scipy import stats

from edgeveil.shared.privacy.gaussian import ODD, delta_at, epsilon_of, separation

SIGMA, STEPS, UNIT = 2.0, 4, 0.001  # µ = 1


def traces(count, random, *, mu=1.0, factor=1.0):
    included = random.random(count) < 0.5
    std = UNIT * SIGMA * math.sqrt(STEPS) * factor
    return included, std * (mu / factor * included + random.standard_normal(count))


def found(count, seed, **settings):
    included, values = traces(count, np.random.default_rng(seed), **settings)
    return separation(included, values, sigma=SIGMA, steps=STEPS, unit=UNIT)


@pytest.mark.parametrize("mu", [0.05, 0.25, 1.0, 3.0, 12.0])
@pytest.mark.parametrize("delta", [1e-9, 1e-5, 1e-2])
def test_epsilon_of_mu_is_the_integral_of_what_the_better_density_wins(mu, delta):
    epsilon = epsilon_of(mu, delta)
    if epsilon == 0:
        assert 2 * stats.norm.cdf(mu / 2) - 1 <= delta
        return
    x = np.linspace(-12, mu + 12, 400_001)
    won = np.maximum(0, stats.norm.pdf(x - mu) - math.exp(epsilon) * stats.norm.pdf(x))
    assert np.trapezoid(won, x) == pytest.approx(delta, rel=1e-3)


def test_epsilon_rises_with_mu_and_has_its_ends():
    rising = [epsilon_of(mu, 1e-5) for mu in (0.0, -1.0, 0.1, 1.0, 5.0, 25.0, math.inf)]
    assert rising[:2] == [0.0, 0.0]
    assert rising[-1] == math.inf
    assert rising[1:] == sorted(rising[1:])
    assert delta_at(0.0, 1.0) == pytest.approx(2 * stats.norm.cdf(0.5) - 1)


@pytest.mark.parametrize("count", [40, 400, 6000])
def test_the_bound_is_that_of_the_noncentral_t(count):
    included, values = traces(count, np.random.default_rng(count))
    one = separation(included, values, sigma=SIGMA, steps=STEPS, unit=UNIT)
    scale = 1 / math.sqrt(1 / included.sum() + 1 / (~included).sum())
    exact = stats.nct.sf(one.mu * scale, count - 2, one.least * scale)
    assert exact == pytest.approx(0.05, abs=0.006 if count < 100 else 0.002)


def test_in_one_run_of_twenty_the_bound_is_above_the_truth():
    """800 runs: 40 expected, standard deviation 6.2."""
    above = sum(found(200, seed).least > 1.0 for seed in range(800))
    assert 15 <= above <= 65


def test_an_honest_run_has_no_alarm_and_says_what_it_found():
    one = found(6000, 1)
    assert one.alarms == ()
    assert one.least < one.mu
    assert one.mu == pytest.approx(1.0, abs=0.1)
    assert (one.gain, one.spread) == (pytest.approx(1.0, abs=0.1), pytest.approx(1.0, abs=0.05))


@pytest.mark.parametrize(
    ("settings", "alarm"),
    [
        ({"factor": 0.8}, "too little noise"),
        ({"mu": 1.3}, "a record does not count as clipped"),
        ({"mu": 0.6}, "a record does not count as clipped"),
        ({"factor": 1.1}, "noise or divisor is not the declared one"),
    ],
)
def test_what_is_not_as_declared_is_named(settings, alarm):
    assert alarm in found(6000, 2, **settings).alarms


@pytest.mark.parametrize("shape", ["t", "uniform", "exponential"])
def test_noise_of_another_shape_and_the_same_size_is_named(shape):
    random = np.random.default_rng(3)
    draws = {
        "t": random.standard_t(5, 6000) / math.sqrt(5 / 3),
        "uniform": random.uniform(-1, 1, 6000) * math.sqrt(3),
        "exponential": random.exponential(1, 6000) - 1,
    }
    included = random.random(6000) < 0.5
    values = UNIT * SIGMA * 2 * (included + draws[shape])
    one = separation(included, values, sigma=SIGMA, steps=STEPS, unit=UNIT)
    assert max(abs(one.skew), abs(one.tails)) > ODD
    assert "the noise is not Gaussian" in one.alarms


def test_without_noise_everything_is_proven():
    included = np.arange(100) % 2 == 0
    one = separation(included, UNIT * 4 * included, sigma=SIGMA, steps=STEPS, unit=UNIT)
    assert one.least == math.inf
    assert "too little noise" in one.alarms
    assert epsilon_of(one.least, 1e-5) == math.inf
