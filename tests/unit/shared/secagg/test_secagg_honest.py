"""A session whose vector holds a share of the noise: no set that may have fewer honest members goes on."""

import numpy as np
import pytest
from secagg_bench import Bench, identities, params

from edgeveil.shared.secagg.agreement import messages
from edgeveil.shared.secagg.client.settings import Settings
from edgeveil.shared.secagg.primitives.errors import Code, Refused
from edgeveil.shared.secagg.primitives.solver import assumed_corrupt


def with_shares(n, honest, **changes):
    bench = Bench.of(n, params(n, **changes))
    for place, agent in enumerate(bench.agents):
        bench.sessions[agent.id] = bench.session(place, honest=honest)
    return bench


def codes(bench):
    return {refusal.code for refusal in bench.refusals.values()}


def test_the_sum_opens_where_exactly_h_honest_ones_are_sure():
    bench = with_shares(8, honest=6, c_min=1)
    result = bench.play(lost={"masked": [7]})
    assert (result.lanes == bench.expected(result)).all()
    assert len(result.u3) == 7


@pytest.mark.parametrize(
    ("stage", "honest", "lost"),
    [("share", 8, {}), ("masked", 7, {"share": [7]}), ("agree", 7, {"masked": [7]})],
)
def test_no_set_below_h_honest_members_is_agreed_to(stage, honest, lost):
    """U1 at M2, U2 at M3, U3 at M4: of 8 one may be corrupt, and every agent says no by itself."""
    bench = with_shares(8, honest=honest, c_min=1)
    with pytest.raises(Exception, match=r"."):
        bench.play(lost=lost)
    assert codes(bench) == {Code.COHORT_TOO_SMALL}
    assert {name for name, *_ in bench.traffic} < {"advert", "share", "masked", stage}
    assert stage not in {name for name, *_ in bench.traffic}


def test_the_corrupt_are_counted_in_all_who_were_asked_and_not_in_who_is_left():
    """Of 20 with γ = .1 two may be corrupt; of 15 left still two, and 14 honest ones are not sure."""
    assert assumed_corrupt(20, 100_000, 1) == 2
    assert assumed_corrupt(15, 100_000, 1) == 1
    bench = with_shares(20, honest=14, c_min=1)
    with pytest.raises(Exception, match=r"."):
        bench.play(lost={"masked": [15, 16, 17, 18, 19]})
    assert codes(bench) == {Code.COHORT_TOO_SMALL}


@pytest.mark.parametrize(("n", "corrupt"), [(13, 1), (40, 4), (100, 10)])
@pytest.mark.parametrize("honest", [2, 6, 30])
def test_h_is_asked_of_every_shard_by_itself_beside_the_corrupt_of_its_size(n, corrupt, honest):
    """With γ = .1: ten of a hundred would pass n_min, and none of them has to be honest."""
    if corrupt + honest > n:
        return
    people = identities(n)
    asked = params(n, c_min=1, n_min=3)
    given = (bytes(32), asked, {one.id: one.public for one in people}, people[0], bytes, 1)
    own = Settings.of(*given, honest=honest)
    everybody = [one.id for one in people]
    own.check_size(frozenset(everybody[: corrupt + honest]), "U3", n)
    with pytest.raises(Refused) as refusal:
        own.check_size(frozenset(everybody[: corrupt + honest - 1]), "U3", n)
    assert refusal.value.code == Code.COHORT_TOO_SMALL
    Settings.of(*given).check_size(frozenset(everybody[:10]), "U3", n)


def test_who_vanishes_before_unmasking_still_counts():
    bench = with_shares(8, honest=7, c_min=1)
    result = bench.play(lost={"unmask": [7]})
    assert len(result.u3) == 8
    assert (result.lanes == bench.expected(result)).all()


def test_a_server_that_names_more_survivors_than_there_are_learns_nothing():
    """The eighth never submitted. Named in U3 all the same, its pair masks stay in the sum: it has no share there."""
    bench = with_shares(8, honest=7, c_min=1)
    absent = bench.agents[7].id

    def named(bodies):
        whole = bytes([0xFF])
        return {agent: messages.AgreeRequest(whole).encode() for agent in bodies}

    stage = bench.stage()
    for name in ("advert", "share"):
        bench.exchange(name, stage)
        stage = stage.close()
    bench.exchange("masked", stage, lost=[7])
    packed = {agent: bulk for name, agent, _, _, bulk in bench.traffic if name == "masked"}
    stage = stage.close()
    bench.exchange("agree", stage, requests=named)
    assert absent not in packed
    # All seven agreed to eight: what they would reveal of the eighth is its self-mask, never its pair masks.
    assert not bench.refusals
    for agent in packed:
        session = bench.sessions[agent]
        assert session.state == "AGREED"
        assert absent in session._state.u3  # so a share of its seed is due, and none of its secret


def test_noise_beyond_the_bound_wraps_and_is_not_refused():
    """A refusal would tell what was in the vector; the sum modulo the ring stays exact."""
    bench = with_shares(4, honest=3, c_min=1, lanes=5, bits=16)
    far = bench.vectors[0].copy()
    far[1:] = 150  # its bound is 100, the sum's is 400
    bench.sessions[bench.agents[0].id] = bench.session(0, vector=far, honest=3)
    result = bench.play()
    expected = sum(bench.vectors[1:]) + far
    assert ((result.lanes - expected) % (1 << 16) == 0).all()
    with pytest.raises(Refused) as refusal:
        bench.session(0, vector=far)
    assert refusal.value.code == Code.POLICY_VECTOR


def test_without_shares_nothing_is_asked_of_the_number_of_honest_ones():
    bench = Bench.of(3, params(3, c_min=1))
    result = bench.play()
    assert np.array_equal(result.lanes, bench.expected(result))
