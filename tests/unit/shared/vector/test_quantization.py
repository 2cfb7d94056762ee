import math

import numpy as np
import pytest

from edgeveil.shared.base.errors import ConfigError, PolicyRefusal
from edgeveil.shared.secagg.primitives.parameters import SIGNED, UNSIGNED, Segment
from edgeveil.shared.vector.quantization import beyond_reach, dequantise, plan_segments, quantise


def _segment(count, bound=127, step=1 / 128):
    return Segment("params", SIGNED, count, 1, bound, step)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_values_round_to_a_neighbouring_step(dtype):
    values = np.linspace(-0.99, 0.99, 200_000, dtype=dtype)
    segment = _segment(len(values))
    back = dequantise(quantise(values, segment), segment)
    assert np.abs(back - values).max() < segment.step


def test_rounding_is_unbiased():
    values = np.full(400_000, 0.3 / 128)
    segment = _segment(len(values))
    mean = quantise(values, segment).mean()
    assert abs(mean - 0.3) < 5 * math.sqrt(0.3 * 0.7 / len(values))


def test_values_beyond_the_reach_saturate():
    segment = _segment(4)
    values = np.array([1e30, -1e30, 5.0, -5.0])
    assert quantise(values, segment).tolist() == [127, -127, 127, -127]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_non_finite_update_is_refused(bad):
    with pytest.raises(PolicyRefusal) as refusal:
        quantise(np.array([0.0, bad]), _segment(2))
    assert refusal.value.code == "UPDATE_NON_FINITE"


def test_a_weight_multiplies_the_values_before_they_are_rounded_and_never_the_integers():
    segment = _segment(4000, bound=10_000, step=0.1)
    values = np.full(4000, 0.123)
    found = quantise(values, segment, weight=7)
    assert set(found.tolist()) == {8, 9}  # 7 · 0.123 / 0.1 = 8.61; multiples of 7 would be 7 and 14
    assert abs(found.mean() - 8.61) < 0.05
    assert beyond_reach(np.array([150.0, 100.0]), segment, weight=7) == 1
    with pytest.raises(ValueError, match="weight"):
        quantise(values, segment, weight=0)


@pytest.mark.parametrize(
    "segment",
    [_segment(4), Segment("params", UNSIGNED, 3, 1, 10), Segment("counts", UNSIGNED, 3, 3, 10)],
)
def test_other_shapes_and_kinds_are_refused(segment):
    with pytest.raises(ValueError, match="signed values"):
        quantise(np.zeros(3), segment)


def test_the_same_key_gives_the_same_integers_and_another_key_others():
    values = np.full(1000, 0.4 / 128)
    segment = _segment(1000)
    one = quantise(values, segment, random=lambda size: b"1" * size)
    same = quantise(values, segment, random=lambda size: b"1" * size)
    other = quantise(values, segment, random=lambda size: b"2" * size)
    assert (one == same).all()
    assert (one != other).any()


def test_chunks_do_not_repeat_their_uniforms():
    values = np.full(1 << 17, 0.5 / 128)
    rounded = quantise(values, _segment(len(values)))
    assert (rounded[: 1 << 16] != rounded[1 << 16 :]).any()


@pytest.mark.parametrize(
    ("step_wanted", "n_max", "bits"),
    [(1e-2, 16, 16), (1e-2, 258, 16), (1e-3, 258, 24), (1e-6, 16, 32)],
)
def test_the_narrowest_lanes_that_reach_far_enough_are_chosen(step_wanted, n_max, bits):
    found, (weight, segment) = plan_segments(7, bound_a=1.0, step_wanted=step_wanted, n_max=n_max)
    assert found == bits
    assert (weight.name, weight.kind, weight.count, weight.bound) == ("weight", UNSIGNED, 1, 1)
    assert (segment.name, segment.kind, segment.count) == ("params", SIGNED, 7)
    assert segment.step <= step_wanted
    assert segment.bound * segment.step >= 1.0
    assert n_max * segment.bound <= (1 << (bits - 1)) - 1


@pytest.mark.parametrize("bound_a", [1 / 3, 0.1, 7.7e-5, 123.456, 1e-300])
def test_the_reach_is_never_a_rounding_short(bound_a):
    _, (_, segment) = plan_segments(1, bound_a=bound_a, step_wanted=bound_a / 50, n_max=100)
    assert segment.bound * segment.step >= bound_a


def test_a_quotient_that_rounds_down_is_lifted():
    assert 49 * (1 / 49) < 1
    _, (_, segment) = plan_segments(1, bound_a=1.0, step_wanted=0.1, n_max=32_767 // 49)
    assert segment.bound == 49
    assert 49 * segment.step >= 1


@pytest.mark.parametrize(
    "numbers",
    [
        {"bound_a": 1.0, "step_wanted": 1e-12, "n_max": 16},
        {"bound_a": 0.0, "step_wanted": 0.1, "n_max": 16},
        {"bound_a": math.nan, "step_wanted": 0.1, "n_max": 16},
        {"bound_a": math.inf, "step_wanted": 0.1, "n_max": 16},
        {"bound_a": 1.0, "step_wanted": 0.1, "n_max": 0},
        {"bound_a": 1.0, "step_wanted": 0.1, "n_max": 1 << 40},
    ],
    ids=str,
)
def test_numbers_that_fit_no_ring_are_a_configuration_error(numbers):
    with pytest.raises(ConfigError):
        plan_segments(3, **numbers)
