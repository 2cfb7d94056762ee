"""The limits themselves are allowed, and the largest sums come out whole."""

import math

import numpy as np
import pytest
from secagg_bench import params
from secagg_values_bench import IDS, a_cohort, a_segment, summed

from edgeveil.shared.secagg.agreement.result import make_result
from edgeveil.shared.secagg.primitives import ring
from edgeveil.shared.secagg.primitives.errors import Infeasible
from edgeveil.shared.secagg.primitives.parameters import UNSIGNED, Params, Segment, solve


def test_the_limits_themselves_are_allowed():
    for edge in (
        {"name": "x"}, {"name": "x" * 40}, {"name": "0-"},
        {"name": "abcdefghijklmnopqrstuvwxyz0123456789-"},
        {"count": 1}, {"count": 1 << 31}, {"count": 255, "limbs": 255, "kind": UNSIGNED},
        {"bound": 1}, {"bound": (1 << 32) - 1}, {"step": 5e-324},
    ):  # fmt: skip
        segment = a_segment(**edge)
        assert Segment.decode(segment.encode()) == segment
    for edge in (
        {"n_min": 2, "n_max": 2}, {"n_max": 65_535}, {"gamma_ppm": 0, "delta_ppm": 0},
        {"gamma_ppm": 1_000_000, "delta_ppm": 1_000_000}, {"c_min": 65_535, "sigma": 255, "eta": 255},
        {"c_min": 0, "sigma": 0, "eta": 0}, {"segments": (a_segment(count=1 << 31),)},
        {"segments": tuple(a_segment(name=f"s{i}") for i in range(16))}, {"prg": 2, "bits": 24},
    ):  # fmt: skip
        wanted = params(5, **edge)
        assert Params.decode(wanted.encode()) == wanted
    assert solve(5, 0, 0).k == solve(5, 0.0, 0.2).k == 4
    with pytest.raises(Infeasible):
        solve(5, 1, 0)
    with pytest.raises(Infeasible):
        solve(5, 0, 1)


@pytest.mark.parametrize("bound", range(1, 70))
def test_limbs_use_the_largest_power_of_two_whose_digits_fit_the_bound(bound):
    base = ring.limb_base(a_segment(kind=UNSIGNED, bound=bound))
    assert base - 1 <= bound < 2 * base - 1
    assert base == 2 ** math.floor(math.log2(bound + 1))


def test_wide_sums_keep_their_top_bits():
    for bits, total in ((24, 1 << 30), (32, 1 << 24)):
        wanted = params(5, bits=bits, bound=1 << 20 if bits == 24 else 1 << 24, lanes=1)
        lanes = np.array([5, total + 3], np.uint32)
        found = make_result(
            lanes, wanted, a_cohort(), u2=frozenset(IDS), u3=frozenset(IDS), weights=dict.fromkeys(IDS, 1),
            liars=frozenset(),
        )  # fmt: skip
        assert found.lanes.tolist() == [5, 3 if bits == 24 else total + 3]


def test_the_largest_possible_sums_are_accepted():
    summed(5, 500, -500)
