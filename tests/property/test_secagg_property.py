"""Invariants over generated inputs: exact sums, one spelling, recovery, rounding."""

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lying_bench import Dealt, common_lie, random_lie
from secagg_bench import STAGES, Bench, params

from edgeveil.shared.secagg.primitives import ring, shamir
from edgeveil.shared.secagg.primitives.canonical import Malformed
from edgeveil.shared.secagg.primitives.errors import Aborted, PeerFault, Refused
from edgeveil.shared.secagg.primitives.parameters import SIGNED, UNSIGNED, Params, Segment
from edgeveil.shared.vector.quantization import round_with

FEW = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
MANY = settings(max_examples=200, deadline=None)


@FEW
@given(
    n=st.integers(3, 7),
    bits=st.sampled_from([16, 24, 32]),
    prg=st.sampled_from([1, 2]),
    data=st.data(),
)
def test_the_sum_is_exact_or_hidden_whatever_is_lost(n, bits, prg, data):
    bound = ((1 << (bits - 1)) - 1) // n
    bench = Bench.of(n, params(n, bits=bits, prg=prg, lanes=4, bound=bound))
    lane = st.integers(-bound, bound)
    for place, agent in enumerate(bench.agents):
        values = data.draw(st.lists(lane, min_size=4, max_size=4))
        bench.vectors[place] = np.array([1, *values], np.int64)
        bench.sessions[agent.id] = bench.session(place)
    lost_at = data.draw(st.lists(st.integers(0, 12), min_size=n, max_size=n))
    lost = {name: [i for i in range(n) if lost_at[i] == stage] for stage, name in enumerate(STAGES)}
    try:
        result = bench.play(lost)
    except Aborted:
        return
    assert (result.lanes == bench.expected(result)).all()
    assert not bench.refusals


@FEW
@given(
    name=st.sampled_from(STAGES[1:]),
    place=st.floats(0, 1, exclude_max=True),
    flip=st.integers(1, 255),
)
def test_no_altered_request_is_answered(name, place, flip):
    """Of all single-byte changes of an honest request, an agent answers none."""
    bench = Bench.of(4)
    stage = bench.stage()
    for current in STAGES:
        if current == name:
            break
        bench.exchange(current, stage)
        stage = stage.close()
    victim = bench.agents[0].id
    body = bytearray(stage.requests()[victim])
    body[int(place * len(body))] ^= flip
    session = bench.sessions[victim]
    try:
        getattr(session, name)(bytes(body))
    except Refused:
        assert session.state == "ABORTED"
        return
    # The only free choice a coordinator has is another admissible survivor set.
    assert name == "agree"
    assert session.state == "AGREED"


@MANY
@given(
    secret=st.binary(min_size=1, max_size=80),
    t=st.integers(1, 12),
    extra=st.integers(0, 12),
    data=st.data(),
)
def test_any_t_shares_recover_the_secret(secret, t, extra, data):
    xs = data.draw(
        st.lists(st.integers(1, 255), min_size=t + extra, max_size=t + extra, unique=True)
    )
    drawn = data.draw(st.binary(min_size=(t - 1) * len(secret), max_size=(t - 1) * len(secret)))
    shares = shamir.split(secret, t, xs, lambda _: drawn)
    chosen = data.draw(st.permutations(xs))[:t]
    assert shamir.combine({x: shares[x] for x in chosen}) == secret


@FEW
@given(n=st.integers(5, 12), seed=st.integers(0, 1 << 30), data=st.data())
def test_lies_about_shares_name_liars_and_nobody_else(n, seed, data):
    """Any holders and dealers lie in any way; the sum is exact unless a dealer's own shares spoil it."""
    dealt = Dealt(n, data.draw(st.integers(0, 1)), seed=seed)
    u3 = sorted(dealt.u3)
    holders = data.draw(st.sets(st.sampled_from(u3)))
    dealers = data.draw(st.sets(st.sampled_from(u3), max_size=2))
    for dealer in dealers:
        wrong = data.draw(st.sets(st.sampled_from(dealt.cohort.neighbours(dealer)), min_size=1))
        errors = {one: dealt.rng.randbytes(63) + b"\x01" for one in wrong}
        dealt.deal(dealer, dealt.seeds[dealer] + bytes(32), errors)
    lie = data.draw(st.sampled_from([random_lie(dealt.rng), common_lie(bytes(31) + b"\x01")]))
    stage = dealt.stage()
    for holder in u3:
        try:
            stage.accept(holder, dealt.answer(holder, lie if holder in holders else None))
        except PeerFault:
            assert holder in holders, "an honest holder was called a liar"
            stage.drop(holder)
    result, abort = None, None
    try:
        result = stage.close()
    except Aborted as error:
        abort = error
    if abort is not None:
        assert abort.code == "QUORUM" or dealers
        assert holders <= abort.guilty <= holders | dealers
        return
    assert set(result.liars) == holders | proved(dealt, dealers)
    assert dealers or (result.lanes == dealt.expected()).all()


def proved(dealt, dealers):
    """Of these, whose shares lie on no one polynomial: errors at all places may be another secret's."""
    found = set()
    for dealer in dealers:
        shares = dict(enumerate(dealt.pairs[dealer].values(), start=1))
        base = dict(list(shares.items())[: dealt.solution.t])
        part = {x: share[:32] for x, share in base.items()}
        if any(shamir.combine(part, at=x) != share[:32] for x, share in shares.items()):
            found.add(dealer)
    return found


@MANY
@given(bits=st.sampled_from([16, 24, 32]), data=st.data())
def test_packing_is_reversible(bits, data):
    values = data.draw(st.lists(st.integers(0, (1 << bits) - 1), min_size=1, max_size=50))
    lanes = np.array(values, np.uint16 if bits == 16 else np.uint32)
    packed = ring.pack(lanes, bits)
    assert len(packed) == len(values) * bits // 8
    assert ring.unpack(packed, len(values), bits).tolist() == values


SEGMENTS = st.builds(
    Segment,
    name=st.from_regex(r"[a-z0-9][a-z0-9-]{0,39}", fullmatch=True),
    kind=st.sampled_from([SIGNED, UNSIGNED]),
    count=st.integers(1, 1 << 20),
    limbs=st.just(1),
    bound=st.integers(1, (1 << 32) - 1),
    step=st.floats(min_value=1e-300, max_value=1e300),
)


@MANY
@given(
    segments=st.lists(SEGMENTS, min_size=1, max_size=4, unique_by=lambda one: one.name),
    n_min=st.integers(2, 100),
    more=st.integers(0, 100),
    ppm=st.integers(0, 1_000_000),
)
def test_parameters_have_one_spelling(segments, n_min, more, ppm):
    made = Params(1, 16, n_min, n_min + more, ppm, ppm, 1, 80, 20, tuple(segments))
    assert Params.decode(made.encode()) == made


@MANY
@given(place=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_altered_parameters_are_malformed_or_other_parameters(place, flip):
    honest = params(5).encode()
    body = bytearray(honest)
    body[int(place * len(body))] ^= flip
    try:
        found = Params.decode(bytes(body))
    except Malformed:
        return
    assert found.encode() == bytes(body) != honest


@MANY
@given(
    value=st.floats(allow_nan=False, allow_infinity=False),
    uniform=st.floats(0, 1, exclude_max=True),
    step=st.floats(min_value=1e-12, max_value=1e6),
    largest=st.integers(1, 1 << 20),
)
def test_rounding_stays_in_bounds_and_next_to_the_value(value, uniform, step, largest):
    rounded = round_with(np.array([value]), np.array([uniform]), step, largest)[0]
    assert -largest <= rounded <= largest
    clipped = min(max(value, -largest * step), largest * step)
    assert abs(rounded - clipped / step) <= 1 + 1e-6 * largest


@MANY
@given(data=st.data(), limbs=st.integers(1, 4), bound=st.integers(1, 1000))
def test_limbs_are_reversible_and_within_the_bound(data, limbs, bound):
    segment = Segment("counts", UNSIGNED, 3 * limbs, limbs, bound)
    most = ring.limb_base(segment) ** limbs - 1
    counts = np.array(data.draw(st.lists(st.integers(0, most), min_size=3, max_size=3)), np.int64)
    lanes = ring.split_limbs(counts, segment)
    assert lanes.max() <= bound
    assert (ring.join_limbs(lanes, segment) == counts).all()
