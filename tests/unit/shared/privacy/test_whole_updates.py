"""The device as the unit: how far its updates lie apart, and that one ledger holds both kinds of round.

Distances by trying, distributions by convolution of the definition; nothing of the proof in docs/privacy.md.
"""

import itertools
import math

import numpy as np
import pytest
from scipy.signal import fftconvolve
from scipy.stats import norm

from edgeveil.shared.privacy.rdp import Segment, epsilon, rdp_step
from edgeveil.shared.privacy.shared_noise import rounded_sensitivity
from edgeveil.shared.privacy.whole_updates import (
    APART,
    absent,
    devices_needed,
    noise_length,
)
from edgeveil.shared.vector.quantization import round_with

GRID = 1e-3
ORDERS = (2, 3, 5, 8, 16)


def rounded(update, uniforms):
    return round_with(np.array(update, float), np.array(uniforms), 1.0, 1 << 20)


@pytest.mark.parametrize("clip", [0.4, 1.0, 3.7])
@pytest.mark.parametrize("parameters", [1, 2, 3])
def test_no_two_updates_in_the_ball_are_rounded_further_apart_than_is_charged(clip, parameters):
    """Every pair of a fine set of updates within the clip, every one of a grid of uniforms shared by both."""
    axis = np.linspace(-clip, clip, 9 if parameters < 3 else 5)
    ball = [u for u in itertools.product(axis, repeat=parameters) if np.linalg.norm(u) <= clip]
    apart = from_none = 0.0
    for uniforms in itertools.product((0.0, 0.31, 0.62, 0.99), repeat=parameters):
        made = np.array([rounded(update, uniforms) for update in ball])
        gaps = np.linalg.norm(made[:, None] - made[None], axis=2)
        apart, from_none = (
            max(apart, gaps.max()),
            max(from_none, np.linalg.norm(made, axis=1).max()),
        )
    charged = rounded_sensitivity(APART * clip, parameters)
    assert apart <= charged
    assert from_none <= rounded_sensitivity(clip, parameters)
    if clip > parameters:
        assert apart > rounded_sensitivity(clip, parameters), "C alone would do"


def law(scale, middle, reach):
    """P[x] of middle + noise for x in ±reach."""
    weights = np.exp(-0.5 * ((np.arange(-reach, reach + 1) - middle) / scale) ** 2)
    return weights / weights.sum()


def sums(scale, update, number):
    """The law of a rounded update with the noise of `number` devices, the uniform left random."""
    reach = math.ceil(60 * scale)
    low, part = math.floor(update), update - math.floor(update)
    found = (1 - part) * law(scale, low, reach) + part * law(scale, low + 1, reach)
    noise = law(scale, 0, reach)
    for _ in range(number - 1):
        found = np.convolve(found, noise)[reach:-reach]
    return found


def renyi(p, q, order):
    both = (p > 1e-290) & (q > 1e-290)
    return float(np.logaddexp.reduce(order * np.log(p[both]) + (1 - order) * np.log(q[both]))) / (order - 1)  # fmt: skip


@pytest.mark.parametrize("number", [1, 3, 13])
def test_the_divergence_of_any_two_updates_is_at_most_what_is_charged(number):
    """One parameter, C of 10.3 lanes: opposite updates, and one beside none; `number` devices' noise in the sum."""
    clip, scale = 10.3, 32
    sigma = scale / rounded_sensitivity(APART * clip, 1) * math.sqrt(number)
    none = absent(scale / rounded_sensitivity(APART * clip, 1), 1 / (APART * clip + 1))
    assert none == pytest.approx(scale / (clip + 1))
    one, other, zero = (sums(scale, u, number) for u in (clip, -clip, 0.0))
    for order in ORDERS:
        bound = rdp_step(sigma, 1.0, order)
        assert 0.8 * bound < renyi(one, other, order) <= bound * (1 + 1e-9)
        assert renyi(one, zero, order) <= rdp_step(none * math.sqrt(number), 1.0, order)


def losses_of_gaussian(sigma):
    """The privacy loss N(µ²/2, µ²), µ = 1/σ, rounded up to the grid: (least step, probabilities)."""
    mu = 1 / sigma
    least, most = (math.floor((mu * mu / 2 + sign * 9 * mu) / GRID) for sign in (-1, 1))
    edges = (np.arange(least - 1, most + 1)) * GRID
    return least, np.diff(norm.cdf(edges, mu * mu / 2, mu))


def losses_of_whole(scale, clip):
    """The same of a whole update against the opposite one, from their laws."""
    p, q = sums(scale, clip, 1), sums(scale, -clip, 1)
    both = (p > 1e-20) & (q > 1e-290)
    steps = np.ceil(np.log(p[both] / q[both]) / GRID).astype(int)
    return int(steps.min()), np.bincount(steps - steps.min(), weights=p[both])


def delta_of(parts, claimed):
    least, whole = 0, np.ones(1)
    for start, one in parts:
        least, whole = least + start, np.maximum(fftconvolve(whole, one), 0)
    values = (least + np.arange(len(whole))) * GRID
    return float((whole * np.maximum(-np.expm1(claimed - values), 0)).sum())


@pytest.mark.parametrize(("records", "whole"), [(0, 10), (3, 9), (6, 6)])
def test_one_ledger_of_both_kinds_bounds_what_both_show_of_a_record(records, whole):
    """δ of the composed privacy loss of rounds per record and rounds of whole updates, at the ε that is charged."""
    clip, sigma = 10.3, 4.0
    scale = sigma * rounded_sensitivity(APART * clip, 1)
    parts = [losses_of_gaussian(sigma)] * records + [losses_of_whole(scale, clip)] * whole
    history = [Segment(sigma, 1.0, records + whole)]
    assert 1e-8 < delta_of(parts, epsilon(history, 1e-5)[0]) <= 1e-5
    half = sigma * APART  # as if C were the whole distance
    too_little = [Segment(half, 1.0, whole), *([Segment(sigma, 1.0, records)] if records else [])]
    assert delta_of(parts, epsilon(too_little, 1e-5)[0]) > 1e-5


def test_from_so_many_devices_on_the_noise_is_no_longer_than_the_way():
    for sigma, parameters, rounds in ((6.38, 650, 100), (40.0, 10, 3), (0.5, 7, 1)):
        needed = devices_needed(sigma, parameters, rounds)
        assert noise_length(sigma, parameters, needed, rounds) <= 1
        assert needed == 1 or noise_length(sigma, parameters, needed - 1, rounds) > 1


def test_the_length_of_the_noise_is_what_the_mean_of_so_many_updates_has():
    """Drawn: the mean of N vectors of noise σ·2·C in d places, added up over R rounds, in parts of R·C."""
    sigma, parameters, devices, rounds, clip = 3.0, 400, 50, 8, 0.7
    random = np.random.default_rng(1)
    noise = random.normal(0, sigma * 2 * clip, (rounds, devices, parameters)).mean(1).sum(0)
    drawn = np.linalg.norm(noise) / (rounds * clip)
    assert drawn == pytest.approx(noise_length(sigma, parameters, devices, rounds), rel=0.1)
