"""The integers of shared noise have exactly the distribution that the accounting claims."""

import math
from random import Random
from statistics import NormalDist

import numpy as np
import pytest

from edgeveil.shared.vector import integer_noise
from edgeveil.shared.vector.integer_noise import discrete_gaussian, from_words

SEED = 20260101
FEWEST = 8  # expected in a cell of a chi-square test


def drawn(count, scale_bits, seed=SEED):
    return discrete_gaussian(count, scale_bits, random=Random(seed).randbytes)


def probabilities(scale, reach):
    """P[x] for x in ±reach, from the definition."""
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / scale) ** 2)
    return weights / weights.sum()


def chi_square(found, expected):
    """The statistic in standard deviations above its mean; cells with few expected are put together."""
    rare = expected < FEWEST
    if rare.any():
        found = np.append(found[~rare], found[rare].sum())
        expected = np.append(expected[~rare], expected[rare].sum())
    freedom = len(expected) - 1
    return (float(((found - expected) ** 2 / expected).sum()) - freedom) / math.sqrt(2 * freedom)


@pytest.mark.parametrize("scale_bits", [4, 5, 7])
def test_every_integer_comes_as_often_as_the_formula_says(scale_bits):
    scale, count = 1 << scale_bits, 400_000
    reach = 8 * scale
    values = drawn(count, scale_bits)
    assert np.abs(values).max() <= reach
    found = np.bincount(values + reach, minlength=2 * reach + 1)
    expected = count * probabilities(scale, reach)
    assert abs(chi_square(found, expected)) < 4
    assert abs(chi_square(found, count * probabilities(1.02 * scale, reach))) > 4  # it can tell


@pytest.mark.parametrize("scale_bits", [12, 20, 28])
def test_wide_noise_falls_into_equal_parts_of_a_gaussian(scale_bits):
    """At such a scale the two differ by 10^-7 at most, far below what so many draws can show."""
    count, cells, normal = 200_000, 64, NormalDist()
    borders = [(1 << scale_bits) * normal.inv_cdf(i / cells) for i in range(1, cells)]
    found = np.bincount(np.searchsorted(borders, drawn(count, scale_bits)), minlength=cells)
    assert abs(chi_square(found, np.full(cells, count / cells))) < 4


@pytest.mark.parametrize("scale_bits", [4, 13, 28])
def test_its_moments_are_those_of_a_gaussian(scale_bits):
    count = 400_000
    values = drawn(count, scale_bits) / float(1 << scale_bits)
    for power, moment, spread in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96), (6, 15, 10_170)):
        assert abs((values**power).mean() - moment) < 4 * math.sqrt(spread / count)
    assert abs((values[1:] * values[:-1]).mean()) < 4 / math.sqrt(count)


def test_the_tail_does_not_end_where_floats_would():
    """Beyond 5 standard deviations lie 5.7 of 10^7; float32 normals of torch end at 5.8."""
    values = np.abs(drawn(10_000_000, 10)) / 1024
    beyond = int((values > 5).sum())
    assert 1 <= beyond <= 16


def test_the_same_key_gives_the_same_noise_and_another_one_other_noise():
    assert np.array_equal(drawn(10_000, 9), drawn(10_000, 9))
    assert not np.array_equal(drawn(10_000, 9), drawn(10_000, 9, seed=1))
    assert not np.array_equal(discrete_gaussian(1000, 9), discrete_gaussian(1000, 9))


@pytest.mark.parametrize("count", [0, 1, 7, 8191, 30_000])
def test_any_number_can_be_drawn_and_a_shorter_draw_is_the_start_of_a_longer_one(count):
    assert np.array_equal(drawn(count, 12), drawn(30_000, 12)[:count])


@pytest.mark.parametrize("scale_bits", [3, 29, -1, 64])
def test_a_scale_that_no_proof_or_lane_holds_is_refused(scale_bits):
    with pytest.raises(ValueError, match="outside"):
        discrete_gaussian(10, scale_bits)


def test_exact_arithmetic_and_floats_decide_alike_where_floats_are_sure(monkeypatch):
    """All proposals by decimals of over a hundred digits: the same are accepted."""
    words = np.frombuffer(Random(SEED).randbytes(3 * 4 * 300), "<u4").reshape(3, 300)
    by_floats = from_words(words, 11, lambda _: pytest.fail("floats were not sure"))
    monkeypatch.setattr(integer_noise, "_SURE", np.float32(2))
    monkeypatch.setattr(integer_noise, "_table", lambda: np.full(1 << 16, -1, np.int8))
    assert np.array_equal(from_words(words, 11, Random(1).randbytes), by_floats)


@pytest.mark.parametrize("more", [0x00, 0xFF], ids=["below", "above"])
def test_a_uniform_on_a_border_of_the_table_is_decided_by_its_next_bits(more):
    weights = [math.exp(-(k**2) / 2) for k in range(40)]
    for k in range(4):
        border = sum(weights[: k + 1]) / sum(weights)
        word = np.array([int(border * 2**31) << 1], np.uint32)
        assert integer_noise._blocks(word, lambda n: bytes([more]) * n) == k + (more == 0xFF)


@pytest.mark.parametrize("more", [0x00, 0xFF], ids=["accepted", "rejected"])
def test_a_uniform_on_the_border_of_acceptance_is_decided_by_its_next_bits(more):
    """j = s/2 and k = 0: accepted with probability exp(−1/8), whose first 32 bits the uniform has."""
    word = int(math.exp(-1 / 8) * 2**32)
    words = np.array([[0], [1 << 31], [word]], np.uint32)
    found = from_words(words, 6, lambda n: bytes([more]) * n)
    assert list(found) == ([32] if more == 0x00 else [])


def test_the_rarest_blocks_are_not_cut_off():
    """The last word stands for all that is left: its next bits decide how far out."""
    last = np.array([0xFFFFFFFE], np.uint32)
    far = [integer_noise._blocks(last, lambda n, m=more: bytes([m]) * n)[0] for more in (0x00, 0x80, 0xF0, 0xFE)]  # fmt: skip
    assert far == sorted(far)
    assert far[0] >= 6
    assert (
        integer_noise._block_of((1 << 31) - 1, _ones_then_zeros()) == 14
    )  # e^(−15²/2) is below 2^-159, e^(−14²/2) above


def _ones_then_zeros():
    """A source whose first answer is all ones: a uniform within 2^-159 of 1."""
    answers = iter([b"\xff" * 16, bytes(16), bytes(16)])
    return lambda _: next(answers)
