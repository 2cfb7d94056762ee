"""What a session keeps to itself: membership, erasure, secrets without a repr, its own randomness."""

import pickle

import numpy as np
import pytest
from secagg_bench import Bench, Identity, params

from edgeveil.shared.base.errors import RefusalCode
from edgeveil.shared.secagg.client.masking import Link
from edgeveil.shared.secagg.primitives import errors
from edgeveil.shared.secagg.primitives.errors import Refused
from edgeveil.shared.secagg.primitives.keys import KeyPair
from edgeveil.shared.secagg.primitives.parameters import SIGNED, UNSIGNED, Segment
from edgeveil.shared.secagg.primitives.sealing import SEALED_BYTES, SharePair, seal, unseal
from edgeveil.shared.secagg.server import recovery


def test_every_code_an_agent_may_give_is_on_the_wire_s_closed_list():
    known = {code.value for code in RefusalCode}
    assert {code.value for code in errors.Code} - known <= {"SUM_RANGE"}


def test_an_agent_outside_the_roster_opens_no_session():
    bench = Bench.of(5)
    members = dict(bench.members)
    del members[bench.agents[0].id]
    with pytest.raises(Refused) as refusal:
        bench.session(0, members=members)
    assert refusal.value.code == "NOT_MEMBER"
    members[bench.agents[0].id] = Identity("another").public
    with pytest.raises(Refused):
        bench.session(0, members=members)


def test_a_session_checks_the_policy_before_anything_else():
    bench = Bench.of(5)
    with pytest.raises(Refused) as refusal:
        bench.session(0, params=params(5, sigma=20))
    assert refusal.value.code == "POLICY_SECAGG"


def test_the_caller_s_vector_is_copied():
    bench = Bench.of(5)
    before = bench.vectors[0].copy()
    bench.play()
    assert (bench.vectors[0] == before).all()


def test_erase_zeroes_the_vector_and_ends_the_session():
    bench = Bench.of(5)
    session = bench.sessions[bench.agents[0].id]
    held = session._state.vector
    assert held.any()
    session.erase()
    session.erase()
    assert not held.any()
    assert session.state == "ABORTED"
    with pytest.raises(Refused) as refusal:
        session.advert()
    assert refusal.value.code == "STATE"
    assert str(refusal.value) == "advert: this session was erased; wait for a new attempt"


@pytest.mark.parametrize("last", ["advert", "share", "masked", "agree", "unmask"])
def test_erase_works_in_every_state(last):
    bench = Bench.of(5)
    stage = bench.stage()
    for name in ("advert", "share", "masked", "agree", "unmask"):
        bench.exchange(name, stage)
        if name == last:
            break
        stage = stage.close()
    session = bench.sessions[bench.agents[0].id]
    held = getattr(session._state, "vector", np.zeros(1))
    session.erase()
    assert session.state == "ABORTED"
    assert not session._answers
    assert not held.any()


def test_a_failure_of_the_signer_erases_too():
    bench = Bench.of(5)

    class _Broken:
        public = bench.agents[0].public

        def sign(self, message):
            raise OSError("the key store is gone")

    session = bench.session(0, signer=_Broken())
    with pytest.raises(OSError, match="key store"):
        session.advert()
    assert session.state == "ABORTED"


def test_states_follow_each_other_by_name():
    bench = Bench.of(3)
    session = bench.sessions[bench.agents[0].id]
    seen, stage = [session.state], bench.stage()
    for name in ("advert", "share", "masked", "agree", "unmask"):
        bench.exchange(name, stage)
        seen.append(session.state)
        stage = stage.close()
    assert seen == ["TRAINED", "ADVERTISED", "SHARED", "MASKED", "AGREED", "DONE"]


def test_two_sessions_of_one_agent_share_no_key():
    bench = Bench.of(5)
    assert bench.session(0).advert() != bench.session(0).advert()


def test_the_session_draws_exactly_its_keys_seed_and_coefficients():
    bench = Bench.of(5)
    sizes = []

    def random(size):
        sizes.append(size)
        return np.random.default_rng(len(sizes)).bytes(size)  # a test's randomness only

    agent = bench.agents[0].id
    bench.sessions[agent] = bench.session(0, random=random)
    bench.play()
    t = bench.params.solve(5).t
    assert sizes == [32, 32, 32, 64 * (t - 1)]


def test_secrets_have_no_repr_and_key_pairs_no_pickle():
    secret = b"\xab" * 32
    shown = [
        repr(KeyPair(secret)),
        repr(SharePair(1, secret, secret)),
        repr(Link(b"public", secret, secret)),
        repr(recovery.Recovered({b"a": secret}, {b"b": secret}, frozenset())),
    ]
    bench = Bench.of(3)
    bench.play()
    session = bench.session(0)
    shown += [repr(session), repr(session._state), repr(session._state.settings)]
    for text in shown:
        assert "ab" * 4 not in text.lower()
        assert "\\xab\\xab" not in text
        assert "array" not in text
    assert repr(KeyPair(secret)) == f"KeyPair({KeyPair(secret).public.hex()[:8]}…)"
    with pytest.raises(TypeError, match=r"^a key pair cannot be pickled$"):
        pickle.dumps(KeyPair(secret))


def test_an_error_names_its_agent_and_its_code():
    error = Refused("SHARE_AUTH", "a share does not open", agent=b"\x01" * 16)
    assert "01010101" in str(error)
    assert (error.code, error.agent) == ("SHARE_AUTH", b"\x01" * 16)
    assert str(Refused("STATE", "plain")) == "plain"


def test_a_result_recombines_limbs_and_knows_its_segments():
    segments = (
        Segment("weight", UNSIGNED, 1),
        Segment("metrics", UNSIGNED, 4, 2, 10),
        Segment("params", SIGNED, 2, 1, 10),
    )
    bench = Bench.of(3, params(3, segments=segments))
    for place, agent in enumerate(bench.agents):
        bench.vectors[place] = np.array([1, 7, 7, 1, 0, -3, 3], np.int64)
        bench.sessions[agent.id] = bench.session(place)
    result = bench.play()
    assert result.segment("metrics").tolist() == [3 * 63, 3]
    assert result.segment("params").tolist() == [-9, 9]
    with pytest.raises(KeyError, match="loss"):
        result.segment("loss")


def test_a_sealed_share_opens_only_as_what_it_was_sealed_as():
    pair = SharePair(3, bytes(32), b"\x01" * 32)
    scope = {"ctx": b"c" * 32, "u1_hash": b"u" * 32, "sender": b"a" * 16, "receiver": b"b" * 16}
    both = bytes(range(32))
    sealed = seal(bytes(32), pair, both, **scope)
    assert len(sealed) == SEALED_BYTES
    assert unseal(bytes(32), sealed, both, **scope) == pair
    with pytest.raises(Refused, match="does not open"):
        unseal(bytes(32), sealed, both[::-1], **scope)
    for name, value in scope.items():
        with pytest.raises(Refused) as refusal:
            unseal(bytes(32), sealed, both, **scope | {name: bytes(len(value))})
        assert refusal.value.code == "SHARE_AUTH"
    short = seal(bytes(32), SharePair(3, b"", b""), both, **scope)
    with pytest.raises(Refused, match="length"):
        unseal(bytes(32), short, both, **scope)
