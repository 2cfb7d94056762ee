import dataclasses
import math

import numpy as np
import pytest
from secagg_bench import identities, params

from edgeveil.shared.secagg.agreement import context
from edgeveil.shared.secagg.agreement.cohort import Cohort
from edgeveil.shared.secagg.agreement.graph import Graph
from edgeveil.shared.secagg.client.policy import ClientPolicy, small_cohort_notices
from edgeveil.shared.secagg.primitives.canonical import Malformed
from edgeveil.shared.secagg.primitives.errors import Infeasible, Refused
from edgeveil.shared.secagg.primitives.parameters import SIGNED, UNSIGNED, Params, Segment, solve


def _solve(n, gamma, delta, sigma=80, c_min=1):
    return solve(n, gamma, delta, sigma=sigma, c_min=c_min)


@pytest.mark.parametrize(
    ("n", "c_min", "t", "quorum"),
    [
        (3, 1, 2, 3),
        (4, 1, 3, 3),
        (4, 0, 2, 3),
        (5, 1, 3, 4),
        (6, 1, 4, 4),
        (8, 1, 5, 5),
        (10, 1, 6, 6),
        (10, 3, 7, 7),
        (20, 2, 11, 12),
        (2, 0, 1, 2),
    ],
)
def test_small_cohorts_have_the_documented_thresholds(n, c_min, t, quorum):
    found = _solve(n, 0.05, 0.0, c_min=c_min)
    assert (found.k, found.t, found.quorum, found.h) == (n - 1, t, quorum, None)


def test_a_dense_cohort_above_128_falls_back_to_the_complete_graph():
    found = _solve(150, 0.33, 0.33)
    assert (found.k, found.h) == (149, None)


@pytest.mark.parametrize(
    ("n", "gamma", "delta", "c_min"),
    [(1, 0, 0, 0), (3, 0, 0, 3), (3, 0, 0, 2), (5, 1.0, 0, 0), (5, 0, 1.0, 0), (1000, 0.2, 0.2, 1)],
)
def test_cohorts_without_a_quorum_are_infeasible(n, gamma, delta, c_min):
    with pytest.raises(Infeasible) as error:
        _solve(n, gamma, delta, c_min=c_min)
    assert error.value.code == "GRAPH_MISMATCH"


@pytest.mark.parametrize("n", [2, 3, 4, 8, 50, 128, 130, 300])
def test_the_two_walls_hold_for_every_solution(n):
    for c_min in range(min(n, 4)):
        try:
            found = _solve(n, 0.1, 0.1, c_min=c_min)
        except Infeasible:
            continue
        assert 2 * found.t > found.k + found.c
        assert 2 * found.quorum > n + max(n // 10, c_min)
        assert found.t <= found.k <= 254


GOOD = {"name": "params", "kind": SIGNED, "count": 4, "limbs": 1, "bound": 7, "step": 0.5}


@pytest.mark.parametrize(
    "bad",
    [
        {"name": ""},
        {"name": "-x"},
        {"name": "UPPER"},
        {"name": "x" * 41},
        {"kind": 2},
        {"count": 0},
        {"limbs": 0},
        {"limbs": 256},
        {"limbs": 3},
        {"limbs": 2},
        {"count": (1 << 31) + 1},
        {"bound": 0},
        {"bound": 1 << 32},
        {"step": 0.0},
        {"step": -1.0},
        {"step": math.inf},
        {"step": math.nan},
    ],
    ids=str,
)
def test_unusable_segments_are_malformed(bad):
    with pytest.raises(Malformed):
        Segment(**(GOOD | bad))


@pytest.mark.parametrize(
    "bad",
    [
        {"prg": 3},
        {"bits": 8},
        {"n_min": 1},
        {"n_min": 9, "n_max": 8},
        {"n_max": 65_536},
        {"gamma_ppm": 1_000_001},
        {"delta_ppm": -1},
        {"c_min": 65_536},
        {"sigma": 256},
        {"eta": 256},
        {"segments": ()},
        {"segments": (Segment("a", UNSIGNED, 1),) * 2},
        {"segments": tuple(Segment(f"s{i}", UNSIGNED, 1) for i in range(17))},
        {"segments": tuple(Segment(f"s{i}", UNSIGNED, 1 << 31) for i in range(2))},
    ],
    ids=str,
)
def test_unusable_parameters_are_malformed(bad):
    with pytest.raises(Malformed):
        params(5, **bad)


def test_decode_wants_the_exact_bytes():
    encoded = params(5).encode()
    assert Params.decode(encoded) == params(5)
    for wrong in (encoded[:-1], encoded + b"\x00", encoded.replace(b"params", b"qarams", 1)):
        with pytest.raises(Malformed):
            Params.decode(wrong)


def test_a_segment_with_a_short_step_or_a_foreign_name_is_malformed():
    encoded = Segment(**GOOD).encode()
    with pytest.raises(Malformed):
        Segment.decode(encoded.replace(b"\x06params", b"\x06p\xe4rams"))
    with pytest.raises(Malformed):
        Segment.decode(encoded[:-12] + b"\x00\x00\x00\x04" + bytes(4))
    with pytest.raises(Malformed):
        Segment.decode(encoded.replace(b"\x00\x00\x00\x06params", b"\x00\x00\x00\x06p\xe4rams"))


POLICY = ClientPolicy(n_max=16, gamma_ppm=100_000, c_min=1, sigma=80, bits=(16, 24), prg=(1,))
OFFER = params(5, c_min=1)


def test_a_fair_offer_passes_the_policy():
    POLICY.check(OFFER)


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"n_min": 2}, "n_min is 2"),
        ({"n_max": 17}, "n_max is 17"),
        ({"gamma_ppm": 99_999}, "gamma_ppm"),
        ({"c_min": 0}, "c_min"),
        ({"sigma": 79}, "sigma"),
        ({"bits": 32}, "bits"),
        ({"prg": 2}, "prg"),
    ],
    ids=str,
)
def test_each_floor_of_the_device_holds(change, rule):
    with pytest.raises(Refused, match=rule) as refusal:
        POLICY.check(dataclasses.replace(OFFER, **change))
    assert refusal.value.code == "POLICY_SECAGG"


WEIGHT, PARAMS = Segment("weight", UNSIGNED, 1), Segment("params", SIGNED, 3, 1, 10)


@pytest.mark.parametrize(
    "segments",
    [
        (PARAMS,),
        (WEIGHT,),
        (PARAMS, WEIGHT),
        (Segment("weight", SIGNED, 1), PARAMS),
        (Segment("weight", UNSIGNED, 2), PARAMS),
        (WEIGHT, Segment("params", UNSIGNED, 3, 1, 10)),
        (WEIGHT, Segment("params", SIGNED, 3, 1, 30_000)),
    ],
)
def test_other_layouts_are_refused(segments):
    with pytest.raises(Refused) as refusal:
        POLICY.check(dataclasses.replace(OFFER, segments=segments))
    assert refusal.value.code == "POLICY_VECTOR"


def test_two_agents_need_an_explicit_consent():
    two = params(2, n_min=2, c_min=0)
    lax = {"n_max": 16, "gamma_ppm": 0, "c_min": 0, "sigma": 40}
    ClientPolicy(n_min=2, allow_two=True, **lax).check(two)
    with pytest.raises(Refused):
        ClientPolicy(n_min=2, **lax).check(two)
    with pytest.raises(Refused):
        ClientPolicy(n_min=10, allow_two=True, **lax).check(two)


@pytest.mark.parametrize(
    ("least", "c_min", "words"),
    [
        (2, 0, ("each agent computes the other's update", "tolerates no loss")),
        (3, 0, ("hides among 3 honest ones", "tolerates no loss")),
        (3, 1, ("hides among 2 honest ones", "tolerates no loss")),
        (3, 5, ("hides among 1 honest ones", "tolerates no loss")),
        (4, 1, ("with c_min = 1 tolerates no loss after its adverts; five do",)),
        (4, 0, ()),
        (5, 1, ()),
    ],
)
def test_small_cohorts_are_explained_in_plain_words(least, c_min, words):
    notices = small_cohort_notices(least, c_min)
    assert len(notices) == len(words)
    assert all(word in notice for word, notice in zip(words, notices, strict=True))


def test_fractions_are_parts_per_million():
    assert solve(1000, 0.1, 0.1) == solve(1000, 0.100_000_4, 0.099_999_6)
    assert solve(1000, 0.1, 0.1).quorum < solve(1000, 0.102, 0.1).quorum
    assert solve(1000, 0.1, 0.1).d < solve(1000, 0.1, 0.12).d
    for wrong in ((-0.1, 0.1), (0.1, 1.1), (100_000, 0.1)):
        with pytest.raises(ValueError, match="fractions of the cohort"):
            solve(1000, *wrong)


def test_model_hash_ignores_the_order_of_tensors_but_not_their_names():
    a, b = ("a", "float32", (1,), b"\x00" * 4), ("b", "float32", (1,), b"\x01" * 4)
    assert context.model_hash([a, b]) == context.model_hash([b, a])
    assert context.model_hash([a, b]) != context.model_hash([("a", *b[1:]), ("b", *a[1:])])
    with pytest.raises(ValueError, match="two tensors"):
        context.model_hash([a, a])


def test_code_hash_depends_on_path_and_content():
    one = [("a.py", b"x"), ("b.py", b"y")]
    assert context.code_hash(one) == context.code_hash(one[::-1])
    assert context.code_hash(one) != context.code_hash([("a.py", b"y"), ("b.py", b"x")])


@pytest.mark.parametrize("n", [131, 200])
def test_the_ring_is_symmetric_regular_and_counted_right(n):
    k = _solve(n, 0.1, 0.1).k
    graph = Graph([one.id for one in identities(n)], bytes(32), bytes(32), k)
    near = [set(graph.neighbours(rank)) for rank in range(n)]
    assert all(len(each) == k and rank not in each for rank, each in enumerate(near))
    assert all(rank in near[other] for rank in range(n) for other in near[rank])
    members = [rank % 3 == 0 for rank in range(n)]
    chosen = np.array(members)
    counts = graph.count(chosen)
    assert counts.tolist() == [sum(members[other] for other in near[rank]) for rank in range(n)]
    after, before = graph.windows(chosen)
    place = {rank: position for position, rank in enumerate(graph.order.tolist())}
    for rank in range(n):
        ahead = [graph.order[(place[rank] + step) % n] for step in range(1, k // 2 + 1)]
        behind = [graph.order[(place[rank] - step) % n] for step in range(1, k // 2 + 1)]
        assert after[rank] == sum(members[other] for other in ahead)
        assert before[rank] == sum(members[other] for other in behind)
        assert set(ahead) | set(behind) == near[rank]


@pytest.mark.parametrize("n", [5, 130])
def test_share_indices_are_places_among_the_owner_s_neighbours(n):
    ids = [one.id for one in identities(n)]
    cohort = Cohort(bytes(32), [(one, bytes(32)) for one in ids], params(n))
    for owner in ids[:7]:
        near = cohort.neighbours(owner)
        assert list(near) == sorted(near)
        assert [cohort.share_index(owner, holder) for holder in near] == list(
            range(1, len(near) + 1)
        )


def test_the_solver_assumes_one_corrupt_member_80_bits_and_20_unless_told_otherwise():
    assert solve(375, 0.1, 0.1) == solve(375, 0.1, 0.1, sigma=80, eta=20, c_min=1)
    assert solve(375, 0.1, 0.1) != solve(375, 0.1, 0.1, sigma=81)
    assert solve(500, 0.1, 0.1) != solve(500, 0.1, 0.1, eta=21)
    assert solve(5, 0, 0) == solve(5, 0, 0, c_min=1) != solve(5, 0, 0, c_min=2)
