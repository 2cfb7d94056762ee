"""Noise and sampling: the right law, no way to predict or repeat it."""

import math
import os
import threading

import numpy as np
import pytest
import torch
from scipy import stats

from edgeveil.agent.training import noise, sampler
from edgeveil.agent.training.noise import Words, gaussian
from edgeveil.agent.training.sampler import poisson_sample
from edgeveil.shared.base.errors import PolicyRefusal, RefusalCode

COUNT = 200_000  # standard error of the standard deviation: 0.16 %


def test_the_noise_is_gaussian_with_the_asked_standard_deviation():
    values = gaussian(COUNT, 3.0)
    assert values.dtype == np.float64
    assert values.std() == pytest.approx(3.0, rel=5 / math.sqrt(2 * COUNT))
    assert abs(values.mean()) < 5 * 3.0 / math.sqrt(COUNT)
    assert stats.kurtosis(values) == pytest.approx(0.0, abs=5 * math.sqrt(24 / COUNT))
    assert stats.kstest(values / 3.0, "norm").pvalue > 1e-6


def test_neighbouring_values_are_independent():
    values = gaussian(COUNT, 1.0)
    for lag in (1, 2, 4096, COUNT // 2):
        correlation = np.corrcoef(values[lag:], values[:-lag])[0, 1]
        squares = np.corrcoef(values[lag:] ** 2, values[:-lag] ** 2)[0, 1]
        assert abs(correlation) < 6 / math.sqrt(COUNT - lag)
        assert abs(squares) < 6 / math.sqrt(COUNT - lag)


def test_the_tail_reaches_beyond_what_float32_normals_can(monkeypatch):
    """With the largest radius and the right angle in all four draws: 17 sigma, not 5.8."""
    monkeypatch.setattr(Words, "uniform", lambda _self, count: np.full(count, 1 - 2.0**-53))
    first, _ = noise._normals(Words(), 4)
    assert abs(first).max() == pytest.approx(math.sqrt(-2 * math.log(2.0**-53)))
    assert abs(gaussian(1, 1.0)[0]) > 5.8


def test_the_half_angle_formulas_give_cosine_and_sine(monkeypatch):
    grid = np.linspace(0, 1, 4096, endpoint=False)
    monkeypatch.setattr(Words, "uniform", lambda _self, _count: grid.copy())
    cosine, sine = noise._normals(Words(), 4096)
    radius = np.sqrt(-2 * np.log1p(-grid))
    assert cosine == pytest.approx(-radius * np.cos(2 * np.pi * grid), abs=1e-12)
    assert sine == pytest.approx(-radius * np.sin(2 * np.pi * grid), abs=1e-12)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 8191, 8192, 8193, 20_001])
def test_any_number_of_values_is_filled(count):
    values = gaussian(count, 1.0)
    assert values.shape == (count,)
    assert np.isfinite(values).all()
    assert len(np.unique(values)) == count


def test_no_seed_reaches_the_noise_or_the_sampler():
    seen = []
    for _ in range(2):
        torch.manual_seed(1)
        np.random.seed(1)  # noqa: NPY002  the old global generator is the point
        seen.append((gaussian(8, 1.0).tobytes(), poisson_sample(64, 0.5).tobytes()))
    assert seen[0][0] != seen[1][0]
    assert seen[0][1] != seen[1][1]


def test_a_forked_child_draws_other_noise():
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.write(writer, gaussian(4, 1.0).tobytes())
        os._exit(0)
    mine = gaussian(4, 1.0).tobytes()
    os.wait()
    assert os.read(reader, 64) != mine


def test_words_are_a_fresh_chacha20_stream_without_zero_padding():
    words = Words().take(10_000)
    assert len(np.unique(words)) == 10_000
    bits = np.unpackbits(words.view(np.uint8)).mean()
    assert bits == pytest.approx(0.5, abs=5 * 0.5 / math.sqrt(640_000))


@pytest.mark.parametrize("q", [0.01, 0.25, 0.9])
def test_each_record_is_drawn_with_the_asked_probability(q):
    drawn = poisson_sample(COUNT, q)
    error = math.sqrt(q * (1 - q) / COUNT)
    assert len(drawn) / COUNT == pytest.approx(q, abs=5 * error)
    assert (np.diff(drawn) > 0).all()


def test_draws_of_different_records_and_steps_are_independent():
    rows = np.zeros((2000, 16), dtype=bool)
    for row in rows:
        row[poisson_sample(16, 0.5)] = True
    correlation = np.corrcoef(rows, rowvar=False) - np.eye(16)
    assert abs(correlation).max() < 6 / math.sqrt(2000)
    steps = np.corrcoef(rows[:-1].ravel(), rows[1:].ravel())[0, 1]
    assert abs(steps) < 6 / math.sqrt(16 * 2000)


def test_a_rate_of_one_takes_all_and_a_tiny_one_may_take_none():
    assert poisson_sample(5, 1.0).tolist() == [0, 1, 2, 3, 4]
    assert len(poisson_sample(5, 1e-18)) == 0
    assert len(poisson_sample(0, 0.5)) == 0


@pytest.mark.parametrize("q", [0.0, 1.5, -0.1, math.nan])
def test_an_impossible_rate_is_refused(q):
    with pytest.raises(ValueError):
        poisson_sample(5, q)


def test_honest_generators_pass_their_self_tests():
    noise.self_test()
    sampler.self_test()


@pytest.mark.parametrize(
    "broken",
    [
        lambda count, std: gaussian(count, std * 0.9),
        lambda count, std: gaussian(count, std) + 0.2,
        lambda count, _std: np.zeros(count),
        lambda count, std: np.random.default_rng(1).normal(scale=std, size=count),
    ],
    ids=["scale", "centre", "nothing", "seeded"],
)
def test_a_broken_noise_generator_fails_its_self_test(monkeypatch, broken):
    monkeypatch.setattr(noise, "gaussian", broken)
    with pytest.raises(PolicyRefusal) as caught:
        noise.self_test()
    assert caught.value.code is RefusalCode.SELF_TEST_FAILED


@pytest.mark.parametrize(
    "broken",
    [
        lambda n, q: poisson_sample(n, q * 0.9),
        lambda n, q: np.arange(int(n * q)),
    ],
    ids=["rate", "fixed"],
)
def test_a_broken_sampler_fails_its_self_test(monkeypatch, broken):
    monkeypatch.setattr(sampler, "poisson_sample", broken)
    with pytest.raises(PolicyRefusal) as caught:
        sampler.self_test()
    assert caught.value.code is RefusalCode.SELF_TEST_FAILED


class Counted:
    """Draws 0, 1, 2, … and remembers the threads they were made on."""

    def __init__(self):
        self.threads = []

    def __call__(self):
        self.threads.append(threading.current_thread().name)
        return np.array([len(self.threads) - 1.0])


def test_noise_drawn_ahead_is_used_once_in_order_and_never_too_much(monkeypatch):
    monkeypatch.setattr(noise.os, "sched_getaffinity", lambda _pid: {0, 1})
    draw = Counted()
    ahead = noise.Ahead(draw, 3)
    assert [float(ahead.take()[0]) for _ in range(3)] == [0, 1, 2]
    assert len(draw.threads) == 3
    assert all(name.startswith("noise") for name in draw.threads)
    assert float(ahead.take()[0]) == 3, "a step more than announced still gets noise of its own"
    ahead.close()
    assert not any(thread.name.startswith("noise") for thread in threading.enumerate())


@pytest.mark.parametrize(("steps", "processors"), [(0, {0, 1}), (3, {0})])
def test_without_a_second_processor_or_a_number_of_steps_noise_is_drawn_when_asked_for(
    monkeypatch, steps, processors
):
    monkeypatch.setattr(noise.os, "sched_getaffinity", lambda _pid: processors)
    draw = Counted()
    ahead = noise.Ahead(draw, steps)
    assert draw.threads == []
    ahead.take()
    assert draw.threads == [threading.current_thread().name]
    ahead.close()


def test_a_draw_that_fails_fails_the_step(monkeypatch):
    monkeypatch.setattr(noise.os, "sched_getaffinity", lambda _pid: {0, 1})

    def broken():
        raise OSError("no entropy")

    ahead = noise.Ahead(broken, 2)
    with pytest.raises(OSError, match="no entropy"):
        ahead.take()
    ahead.close()
