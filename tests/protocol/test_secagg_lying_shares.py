"""Who lies about shares is named, at every size and in any number, and nobody else ever is.

docs/protocol.md, "Commitments to shares". Complete graphs up to 128, sparse ones above.
"""

import pytest
from lying_bench import Dealt, common_lie, noise, random_lie, xored

from edgeveil.shared.secagg.primitives.errors import Aborted, PeerFault

ONE = bytes(31) + b"\x01"
COMPLETE = (6, 13, 40, 60, 100, 128)
SPARSE = (200, *(pytest.param(n, marks=pytest.mark.long) for n in (500, 1000)))


def collect(dealt, liars, lie, silent=()):
    """The last stage after all answers; each liar was refused as it answered."""
    stage = dealt.stage()
    for holder in sorted(dealt.u3):
        if holder in silent:
            stage.drop(holder)
        elif holder not in liars:
            stage.accept(holder, dealt.answer(holder))
        else:
            with pytest.raises(PeerFault) as fault:
                stage.accept(holder, dealt.answer(holder, lie))
            assert (fault.value.code, fault.value.agent) == ("SHARE_AUTH", holder)
            stage.drop(holder)
    return stage


def close(dealt, liars, lie, silent=()):
    """The sum is exact and exactly the liars are named; or hidden, for want of t good answers."""
    stage = collect(dealt, liars, lie, silent)
    good = len(dealt.u3) - len(liars) - len(silent)
    try:
        result = stage.close()
    except Aborted as error:
        abort = error
    else:
        abort = None
    if abort is not None:
        named = abort.code, abort.guilty
        assert named == ("QUORUM", frozenset(liars))
        assert good <= dealt.solution.t or not dealt.cohort.graph.complete
        return False
    assert (result.lanes == dealt.expected()).all()
    assert result.liars == tuple(sorted(liars))
    return True


def lies(dealt):
    return random_lie(dealt.rng), common_lie(noise())


@pytest.mark.parametrize(
    ("n", "lost"), [*((n, 0) for n in COMPLETE), (6, 1), (13, 1), (40, 4), (100, 10)]
)
def test_every_liar_of_a_complete_graph_is_named_and_the_sum_is_exact_down_to_t_good_answers(
    n, lost
):
    dealt = Dealt(n, lost)
    spare = len(dealt.u3) - 1 - dealt.solution.t  # every owner is left t answers besides its own
    assert spare >= dealt.corrupt
    numbers = {*range(dealt.corrupt + 1), (dealt.corrupt + spare) // 2, spare}
    for turn, number in enumerate(sorted(numbers)):
        liars = frozenset(dealt.rng.sample(sorted(dealt.u3), number))
        assert close(dealt, liars, lies(dealt)[(turn + lost) % 2])
    liars = frozenset(dealt.rng.sample(sorted(dealt.u3), spare + 2))
    assert not close(dealt, liars, common_lie(ONE))


@pytest.mark.parametrize("n", SPARSE)
def test_every_liar_of_a_sparse_graph_is_named_and_the_sum_is_exact(n):
    dealt = Dealt(n, n // 20, gamma_ppm=50_000)
    assert not dealt.cohort.graph.complete
    for lie in lies(dealt):
        liars = frozenset(dealt.rng.sample(sorted(dealt.u3), max(1, dealt.corrupt // 3)))
        assert close(dealt, liars, lie)
    liars = frozenset(dealt.rng.sample(sorted(dealt.u3), dealt.corrupt))
    close(dealt, liars, lies(dealt)[0])


def test_liars_of_a_sparse_graph_are_named_where_too_few_good_answers_are_left():
    dealt = Dealt(200)
    near = dealt.cohort.neighbours(dealt.ids[0])
    liars = frozenset(near[: dealt.solution.k - dealt.solution.t + 1])
    assert not close(dealt, liars, common_lie(ONE))


@pytest.mark.parametrize("n", [6, 13, 100, 200])
@pytest.mark.parametrize("bit", [0, 7, 128, 255])
def test_one_wrong_bit_of_one_share_names_its_holder(n, bit):
    dealt = Dealt(n, 1)
    holder = dealt.ids[1]
    owner = dealt.cohort.neighbours(holder)[-1]
    error = (1 << bit).to_bytes(32, "big")
    assert close(dealt, {holder}, lambda of, share: xored(share, error) if of == owner else share)


def test_a_share_of_another_owner_kind_or_holder_is_a_lie():
    dealt = Dealt(6, 1)
    holder, other = dealt.ids[0], dealt.ids[1]
    for foreign in (
        lambda owner, _: dealt.pairs[owner][holder][32:] if owner in dealt.u3 else bytes(32),
        lambda owner, _: dealt.due(other if owner != other else dealt.ids[2], owner),
        lambda owner, share: dealt.due(holder, other) if owner != other else share,
    ):
        assert close(dealt, {holder}, foreign)


ALL = [6, 13, 14, 40, 100, *(pytest.param(n, marks=pytest.mark.long) for n in (60, 128, 200, 1000))]


@pytest.mark.parametrize("n", ALL)
@pytest.mark.parametrize("place", [0, -1], ids=["first holder", "last holder"])
def test_a_dealer_of_one_inconsistent_share_is_named_and_no_holder_is(n, place):
    dealt = Dealt(n)
    dealer = dealt.ids[n // 2]
    holder = dealt.cohort.neighbours(dealer)[place]
    dealt.deal(dealer, dealt.seeds[dealer] + bytes(32), {holder: ONE * 2})
    stage = collect(dealt, {}, None)
    if place == -1:  # not among the t that recover the seed, which is the one it masked with
        result = stage.close()
        assert result.liars == (dealer,)
        assert (result.lanes == dealt.expected()).all()
        return
    with pytest.raises(Aborted) as abort:
        stage.close()
    assert abort.value.code == "SUM_RANGE"
    assert abort.value.guilty == {dealer}


@pytest.mark.parametrize("n", ALL)
def test_a_dealer_is_named_by_what_it_committed_to_for_holders_that_are_gone_or_lie(n):
    """Exactly t good answers: whatever they are, they fit one polynomial."""
    dealt = Dealt(n)
    dealer, solution = dealt.ids[0], dealt.solution
    near = dealt.cohort.neighbours(dealer)
    dealt.deal(dealer, dealt.seeds[dealer] + bytes(32), {near[-1]: ONE * 2})
    stage = collect(dealt, {near[-1]}, common_lie(noise()), silent=near[-2:-1])
    if solution.k - 2 < solution.t:
        pytest.skip("too few are left to open anything")
    result = stage.close()
    assert result.liars == tuple(sorted([dealer, near[-1]]))
    assert (result.lanes == dealt.expected()).all()


@pytest.mark.parametrize("n", ALL)
def test_a_lost_dealer_whose_shares_miss_its_mask_key_is_named_with_all_other_liars(n):
    dealt = Dealt(n, 1)
    dealer, holder, inconsistent = dealt.ids[-1], dealt.ids[0], dealt.ids[1]
    dealt.deal(dealer, bytes(32) + noise())
    last = dealt.cohort.neighbours(inconsistent)[-1]
    dealt.deal(inconsistent, dealt.seeds[inconsistent] + bytes(32), {last: ONE * 2})
    with pytest.raises(Aborted) as abort:
        collect(dealt, {holder}, common_lie(ONE)).close()
    assert (abort.value.code, abort.value.agent) == ("SHARE_AUTH", dealer)
    assert abort.value.guilty == {dealer, holder, inconsistent}


@pytest.mark.parametrize("n", ALL)
def test_a_lost_dealer_is_named_although_its_mask_key_opens(n):
    dealt = Dealt(n, 1)
    dealer = dealt.ids[-1]
    near = dealt.cohort.neighbours(dealer)
    secret = b"".join(_recover(dealt, dealer))
    dealt.deal(dealer, secret, {near[-1]: ONE * 2})
    result = collect(dealt, {}, None).close()
    assert result.liars == (dealer,)
    assert (result.lanes == dealt.expected()).all()


def _recover(dealt, owner):
    from edgeveil.shared.secagg.primitives import shamir

    holders = dealt.cohort.neighbours(owner)
    points = {x: dealt.pairs[owner][one] for x, one in enumerate(holders, start=1)}
    whole = shamir.combine(points)
    return whole[:32], whole[32:]


@pytest.mark.parametrize("n", [6, 13, 40, 100])
def test_a_lying_dealer_and_a_lying_holder_together_frame_nobody(n):
    """The holder reveals what would lie on the dealer's other polynomial; only these two are named."""
    dealt = Dealt(n)
    dealer, holder = dealt.ids[0], dealt.ids[-1]
    near = dealt.cohort.neighbours(dealer)
    half = {one: dealt.rng.randbytes(64) for one in [near[0], *near[2::2]]}
    dealt.deal(dealer, dealt.seeds[dealer] + bytes(32), half)
    stage = collect(dealt, {holder}, common_lie(ONE))
    with pytest.raises(Aborted) as abort:
        stage.close()
    assert abort.value.guilty == {dealer, holder}


@pytest.mark.parametrize("n", ALL)
def test_shares_of_another_seed_than_was_masked_with_spoil_the_sum_as_any_residue_does(n):
    """The limit of all this: whoever masks with another seed adds noise, and nobody can say who."""
    dealt = Dealt(n)
    dealt.deal(dealt.ids[4], noise() + bytes(32))
    with pytest.raises(Aborted) as abort:
        collect(dealt, {}, None).close()
    assert abort.value.code == "SUM_RANGE"
    assert abort.value.guilty == frozenset()
