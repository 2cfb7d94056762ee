"""The accountant against the published vectors and an independent implementation."""

import math

import privacy_bench as bench
import pytest

from edgeveil.shared.privacy.rdp import (
    ORDERS,
    Segment,
    curve,
    epsilon,
    merge,
    rdp_step,
    rdp_total,
    to_epsilon,
)

VECTORS = bench.VECTORS["vectors"]
IDS = [vector["id"] for vector in VECTORS]
EXACT = [vector for vector in VECTORS if vector["dp_accounting_pld"] is not None]


@pytest.mark.parametrize("vector", VECTORS, ids=IDS)
def test_epsilon_and_order_match_the_vectors(vector):
    expected = vector["integer_orders_2_256"]
    value, order = epsilon(bench.history(vector), vector["delta"])
    assert value == pytest.approx(expected["epsilon"], abs=expected["abs_tol"])
    assert order == expected["best_order"]
    assert rdp_total(bench.history(vector), order) == pytest.approx(
        expected["rdp_at_best_order"], abs=1e-9, rel=1e-8
    )


@pytest.mark.parametrize("vector", EXACT, ids=[vector["id"] for vector in EXACT])
def test_our_epsilon_is_never_below_the_numerically_exact_one(vector):
    assert (
        epsilon(bench.history(vector), vector["delta"])[0] >= vector["dp_accounting_pld"]["epsilon"]
    )


@pytest.mark.parametrize(
    "point", bench.VECTORS["rdp_points"], ids=lambda p: f"{p['sigma']}-{p['q']}"
)
def test_divergence_per_step_matches_the_points(point):
    for order, expected in point["rdp_per_step"].items():
        found = rdp_step(point["sigma"], point["q"], int(order))
        assert found == pytest.approx(expected, rel=1e-10), order


@pytest.mark.parametrize("vector", VECTORS[:5], ids=IDS[:5])
def test_divergence_equals_an_independent_accountant(vector):
    dp_accounting = pytest.importorskip("dp_accounting")
    from dp_accounting.rdp import RdpAccountant

    accountant = RdpAccountant(list(ORDERS))
    for segment in bench.history(vector):
        event = dp_accounting.PoissonSampledDpEvent(
            segment.sample_rate, dp_accounting.GaussianDpEvent(segment.noise_multiplier)
        )
        accountant.compose(event, segment.steps)
    assert epsilon(bench.history(vector), vector["delta"])[0] == pytest.approx(
        accountant.get_epsilon(vector["delta"]), abs=1e-6
    )


def test_tiny_sampling_rates_keep_their_relative_precision():
    # second order of the exact sum at order 2: ln(1 + q²(e^{1/σ²} − 1))
    sigma, q = 50.0, 1e-9
    assert rdp_step(sigma, q, 2) == pytest.approx(q * q * math.expm1(1 / sigma**2), rel=1e-12)


def test_equal_segments_merge_whether_adjacent_or_not():
    case = bench.VECTORS["merge"]
    interleaved = [Segment(*s) for s in case["interleaved"]] * case["repeats"]
    assert merge(interleaved) == tuple(Segment(*s) for s in case["merged"])
    value = epsilon(interleaved, case["delta"])[0]
    assert value == epsilon([Segment(*s) for s in case["merged"]], case["delta"])[0]
    # the published figure uses fractional orders too, which gain at most two percent
    assert case["epsilon"] <= value <= case["epsilon"] * 1.02


def test_an_empty_history_costs_nothing():
    assert epsilon([], 1e-5) == (0.0, 2)


@pytest.mark.parametrize(
    "segment",
    [
        Segment(0.0, 0.5, 1),
        Segment(9e-4, 0.5, 1),
        Segment(1.1e6, 0.5, 1),
        Segment(-1.0, 0.5, 1),
        Segment(math.nan, 0.5, 1),
        Segment(math.inf, 0.5, 1),
        Segment(1.0, 0.0, 1),
        Segment(1.0, 1.1, 1),
        Segment(1.0, math.nan, 1),
        Segment(1.0, 0.5, 0),
    ],
)
def test_impossible_segments_are_refused_before_accounting(segment):
    with pytest.raises(ValueError):
        epsilon([segment], 1e-5)


@pytest.mark.parametrize("delta", [0.0, 1.0, -1e-5, math.nan])
def test_delta_must_be_a_probability(delta):
    with pytest.raises(ValueError):
        epsilon([Segment(1.0, 1.0, 1)], delta)


@pytest.mark.parametrize("order", [1, 257])
def test_orders_outside_the_range_are_refused(order):
    with pytest.raises(ValueError):
        rdp_step(1.0, 0.5, order)


def test_noise_far_too_small_gives_a_finite_huge_figure():
    value, _ = epsilon([Segment(0.3, 0.5, 1000)], 1e-5)
    assert value > 3000


@pytest.mark.parametrize(("sigma", "q"), [(1e6, 1e-300), (1e6, 5e-324), (1e-3, 1.0), (1e-3, 0.5)])
def test_the_ends_of_the_range_neither_overflow_nor_cost_nothing(sigma, q):
    for order in (2, 3, 256):
        assert 0 < rdp_step(sigma, q, order) < math.inf


def test_epsilon_is_never_negative():
    assert to_epsilon(0.0, 2, 0.9) == 0.0
    assert epsilon([Segment(1e5, 1e-6, 1)], 0.5)[0] == 0.0


@pytest.mark.parametrize(
    ("sigma", "q"),
    [
        *((5.0, 0.01), (1.0, 0.999), (0.3, 0.5), (50.0, 1e-9), (800.0, 0.2), (4.0, 1.0)),
        *((1e6, 1e-300), (1e6, 5e-324), (1e-3, 0.5)),
    ],
)
def test_a_curve_is_the_divergence_of_a_step_at_every_order(sigma, q):
    expected = [rdp_step(sigma, q, order) for order in ORDERS]
    assert curve(sigma, q).tolist() == pytest.approx(expected, rel=1e-13, abs=0)


def test_nobody_can_change_a_curve_for_the_others():
    with pytest.raises(ValueError, match="read-only"):
        curve(4.0, 1.0)[0] = 0.0
