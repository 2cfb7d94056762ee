"""Shards: how a cohort is cut, what their results add up to, and that a shard is an attempt of its own."""

import hashlib

import pytest
from secagg_bench import CTX, Bench, identities, params

from edgeveil.shared.secagg.agreement.sharding import combine, partition, shard_size
from edgeveil.shared.secagg.primitives.canonical import digest, list_bytes, u32
from edgeveil.shared.secagg.primitives.errors import Infeasible, Refused
from edgeveil.shared.secagg.primitives.solver import solve

SEED = b"one attempt"
IDS = [one.id for one in identities(23)]


@pytest.mark.parametrize("most", range(4, 24))
def test_shards_are_disjoint_complete_and_equal_up_to_one(most):
    shards = partition(IDS, most=most, least=1, seed=SEED)
    assert sorted(agent for shard in shards for agent in shard) == IDS
    sizes = [len(shard) for shard in shards]
    assert max(sizes) <= most
    assert max(sizes) - min(sizes) <= 1
    assert len(shards) == -(-len(IDS) // most)
    assert all(list(shard) == sorted(shard) for shard in shards)


def test_the_cut_follows_from_the_seed_and_the_ids_alone():
    one = partition(IDS, most=8, least=3, seed=SEED)
    assert one == partition(reversed(IDS), most=8, least=3, seed=SEED)
    assert one == partition([*IDS, *IDS], most=8, least=3, seed=SEED)
    assert one != partition(IDS, most=8, least=3, seed=b"another attempt")
    order = sorted(IDS, key=lambda agent: digest("shard-order", SEED, agent))
    assert one[0] == tuple(sorted(order[::3]))
    assert one[2] == tuple(sorted(order[2::3]))


def test_a_whole_cohort_is_one_shard():
    assert partition(IDS, most=23, least=23, seed=SEED) == (tuple(IDS),)


@pytest.mark.parametrize(("most", "least"), [(22, 12), (8, 8), (30, 24)])
def test_no_shard_is_below_the_minimum(most, least):
    with pytest.raises(Infeasible, match="23 members") as error:
        partition(IDS, most=most, least=least, seed=SEED)
    assert error.value.code == "COHORT_TOO_SMALL"


def test_two_shards_of_the_minimum_are_allowed():
    sizes = [len(shard) for shard in partition(IDS[:16], most=15, least=8, seed=SEED)]
    assert sizes == [8, 8]


def _feasible(gamma, delta):
    def ask(n):
        try:
            solve(n, gamma, delta, sigma=80, eta=20, c_min=1)
        except Infeasible:
            return False
        return True

    return ask


@pytest.mark.parametrize(
    ("cohort", "gamma", "delta", "size"),
    [
        (100, 100_000, 100_000, 100),
        (1000, 100_000, 100_000, 1000),
        (1001, 100_000, 100_000, 500),
        (10_000, 100_000, 100_000, 500),
        (1000, 200_000, 200_000, 500),
        (1000, 330_000, 100_000, 500),
        (500, 330_000, 200_000, 300),
    ],
)
def test_large_or_infeasible_cohorts_are_cut(cohort, gamma, delta, size):
    assert shard_size(cohort, _feasible(gamma, delta)) == size


def test_a_cohort_that_no_size_serves_is_infeasible():
    with pytest.raises(Infeasible, match="neither whole nor in shards of 100") as error:
        shard_size(2000, lambda _: False)
    assert error.value.code == "GRAPH_MISMATCH"
    with pytest.raises(Infeasible):
        shard_size(100, lambda n: n == 100 and n > 100)


def test_a_shard_is_never_as_large_as_the_cohort_it_replaces():
    assert shard_size(400, lambda n: n != 400) == 300


def _results(*numbers):
    results = {}
    for number in numbers:
        ctx = hashlib.sha256(CTX + u32(number)).digest()
        results[number] = Bench.of(5, params(5), ctx=ctx).play({"masked": [number]})
    return results


def test_sums_and_sets_of_shards_are_added():
    results = _results(0, 1, 2)
    whole = combine(results)
    assert whole.segment("params").tolist() == [2, 2, 2, 3, 3]
    assert whole.segment("weight").tolist() == [12]
    assert len(whole.u3) == 12
    assert len(whole.u1) == len(whole.u2) == 15
    assert list(whole.u3) == sorted(whole.u3)
    assert results[0].segment("params").tolist() == [0, 1, 1, 1, 1], "the parts stay as they were"
    for name in ("u1_hash", "u2_hash", "u3_hash", "result_hash"):
        listed = list_bytes(u32(number) + getattr(results[number], name) for number in range(3))
        assert getattr(whole, name) == digest("shards", listed)
    assert whole.params is results[0].params
    assert whole.liars == ()


def test_a_lone_shard_is_its_own_result_and_a_survivor_of_several_is_not():
    results = _results(0, 1)
    assert combine({0: results[0]}) is results[0]
    left = combine({1: results[1]})
    assert left.lanes.tolist() == results[1].lanes.tolist()
    assert left.result_hash == digest("shards", list_bytes([u32(1) + results[1].result_hash]))


def test_messages_of_one_shard_do_not_fit_another():
    one, two = Bench.of(4), Bench.of(4, ctx=hashlib.sha256(CTX + b"shard 1").digest())
    stages = [bench.stage() for bench in (one, two)]
    for bench, stage in zip((one, two), stages, strict=True):
        bench.exchange("advert", stage)
    foreign = stages[1].close().requests()
    agent = one.agents[0].id
    with pytest.raises(Refused) as refusal:
        one.sessions[agent].share(foreign[agent])
    assert refusal.value.code == "U1_INVALID"
