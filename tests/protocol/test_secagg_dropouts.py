"""Agents lost anywhere: the sum is exactly that of the reported survivors, or stays hidden.

Agent i uploads a one-hot vector, so any wrong summand shows. Whether an attempt may survive is
computed here a second time, from sets and the published t and Q.
"""

import random
from itertools import combinations, combinations_with_replacement, product

import pytest
from protocol import sim
from protocol.patterns import NEVER, check
from secagg_bench import STAGES, Bench, params

pytestmark = pytest.mark.timeout(900)  # tens of seconds of work, on however busy a machine


@pytest.fixture
def _reused(monkeypatch):
    """What parties of one process signed or agreed on stays known; put back after the test."""
    sim.reuse_until_the_test_ends(monkeypatch)
    yield
    sim._SIGNED.clear()
    sim._AGREED.clear()


@pytest.mark.parametrize("n", [2, 3, 4])
def test_every_pattern_of_losses_in_a_tiny_cohort(n):
    outcomes = [check(n, list(pattern)) for pattern in product(range(NEVER + 1), repeat=n)]
    assert any(outcomes)
    assert not all(outcomes)


@pytest.mark.long
@pytest.mark.usefixtures("_reused")
def test_every_pattern_of_losses_among_five_agents():
    outcomes = [check(5, list(pattern)) for pattern in product(range(NEVER + 1), repeat=5)]
    assert any(outcomes)
    assert not all(outcomes)


@pytest.mark.parametrize("n", range(5, 13))
def test_sampled_patterns_of_losses(n):
    """Agents are mostly kept, so that about half of the samples survive; the seed is the cohort size."""
    rng = random.Random(n)
    stages, chances = range(NEVER + 1), [1] * NEVER + [4 * n]
    outcomes = [check(n, rng.choices(stages, chances, k=n), c_min=i % 2) for i in range(40)]
    assert any(outcomes)


@pytest.mark.parametrize("n", [6])
@pytest.mark.parametrize("stage", range(NEVER))
def test_every_set_of_agents_lost_at_one_stage(n, stage):
    for size in range(n + 1):
        for gone in combinations(range(n), size):
            check(n, [stage if i in gone else NEVER for i in range(n)])


@pytest.mark.parametrize("c_min", [0, 1])
def test_every_pattern_among_six_agents_up_to_their_order(c_min):
    """462 of 46,656; who of the six gets which place is drawn. scripts/simulate_protocol.py --patterns 6 plays all."""
    rng = random.Random(6 + c_min)
    patterns = combinations_with_replacement(range(NEVER + 1), 6)
    outcomes = [check(6, rng.sample(pattern, k=6), c_min) for pattern in patterns]
    assert any(outcomes)
    assert not all(outcomes)


@pytest.mark.parametrize(
    ("n", "c_min", "survived"),
    [
        (3, 1, set()),
        (4, 0, set(STAGES)),
        (4, 1, {"advert"}),
        (5, 1, set(STAGES)),
    ],
)
def test_one_loss_is_survived_as_documented(n, c_min, survived):
    outcomes = {
        name
        for stage, name in enumerate(STAGES)
        if all(
            check(n, [stage if i == gone else NEVER for i in range(n)], c_min) for gone in range(n)
        )
    }
    assert outcomes == survived


@pytest.mark.parametrize("bits", [16, 24, 32])
@pytest.mark.parametrize("prg", [1, 2])
@pytest.mark.parametrize("n", [8, 12])
def test_larger_cohorts_in_every_ring(n, bits, prg):
    bench = Bench.of(n, params(n, bits=bits, prg=prg, lanes=40_000))
    result = bench.play({"share": [0], "masked": [1], "unmask": [2]})
    assert len(result.u3) == n - 2
    assert (result.lanes == bench.expected(result)).all()


@pytest.mark.parametrize("n", [130, pytest.param(200, marks=pytest.mark.long)])
def test_sparse_graphs_lose_agents_at_every_stage(n):
    bench = Bench.of(n, params(n, bits=32, delta_ppm=100_000))
    result = bench.play({"share": [0, 1], "masked": [5, 6, 7], "agree": [20], "unmask": [30, 31]})
    assert bench.params.solve(n).k < n - 1
    assert not bench.refusals
    assert (result.lanes == bench.expected(result)).all()


@pytest.mark.long
def test_sparse_graph_of_500():
    bench = Bench.of(500, params(500, bits=32))
    result = bench.play({"share": range(5), "masked": range(10, 30), "unmask": range(40, 45)})
    assert (result.lanes == bench.expected(result)).all()
