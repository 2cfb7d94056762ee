"""Agents lost anywhere: the sum is exactly that of the reported survivors, or stays hidden.

Agent i uploads a one-hot vector, so any wrong summand shows. Whether an attempt may survive is
computed here a second time, from sets and the published t and Q.
"""

from itertools import combinations, product

import pytest
from secagg_bench import STAGES, Bench, params

from shared.secagg.errors import Aborted

NEVER = len(STAGES)


def _survives(n: int, lost_at: list[int], bench: Bench) -> bool:
    """The rules of the protocol for a complete graph, on plain sets."""
    sets = [{i for i in range(n) if lost_at[i] > stage} for stage in range(NEVER)]
    if len(sets[0]) < bench.params.n_min:
        return False
    solution = bench.params.solve(len(sets[0]))
    u2 = sets[1]
    for stage, live in enumerate(sets[1:], start=1):
        if STAGES[stage] in {"share", "masked"} and len(live) < bench.params.n_min:
            return False
        if STAGES[stage] != "unmask" and len(live) < solution.quorum:
            return False
        if any(len(live - {i}) < solution.t for i in u2):
            return False
    return True


def _check(n: int, lost_at: list[int], c_min: int = 0) -> bool:
    bench = Bench.of(n, params(n, c_min=c_min))
    lost = {name: [i for i in range(n) if lost_at[i] == stage] for stage, name in enumerate(STAGES)}
    if _survives(n, lost_at, bench):
        result = bench.play(lost)
        survivors = {bench.agents[i].id for i in range(n) if lost_at[i] > STAGES.index("masked")}
        assert set(result.u3) == survivors
        assert (result.lanes == bench.expected(result)).all()
        assert result.liars == ()
        return True
    with pytest.raises(Aborted) as abort:
        bench.play(lost)
    assert abort.value.code in {"COHORT_TOO_SMALL", "QUORUM", "GRAPH_MISMATCH"}
    counts = {name: sum(entry[0] == name for entry in bench.traffic) for name in STAGES}
    if counts["unmask"]:
        t = bench.params.solve(counts["advert"]).t
        assert counts["unmask"] <= t, "enough shares for every secret were released"
    return False


@pytest.mark.parametrize("n", [2, 3])
def test_every_pattern_of_losses_in_a_tiny_cohort(n):
    outcomes = [_check(n, list(pattern)) for pattern in product(range(NEVER + 1), repeat=n)]
    assert any(outcomes)
    assert not all(outcomes)


@pytest.mark.parametrize("n", [4, 5, 6])
@pytest.mark.parametrize("stage", range(NEVER))
def test_every_set_of_agents_lost_at_one_stage(n, stage):
    for size in range(n + 1):
        for gone in combinations(range(n), size):
            _check(n, [stage if i in gone else NEVER for i in range(n)])


@pytest.mark.parametrize("n", [4, 5])
def test_every_pair_of_agents_lost_at_two_stages(n):
    for one, two in combinations(range(n), 2):
        for first, second in product(range(NEVER), repeat=2):
            pattern = [NEVER] * n
            pattern[one], pattern[two] = first, second
            _check(n, pattern)


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
            _check(n, [stage if i == gone else NEVER for i in range(n)], c_min) for gone in range(n)
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
