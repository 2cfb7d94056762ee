"""Agents that lie: the attempt completes without them and exactly, or aborts with a reason.

Six agents (t = 3, Q = 4, no assumed corruption), of which the last one lies at one exchange.
"""

import dataclasses
import random

import numpy as np
import pytest
from lying_bench import common_lie, deal, noise, off, reveal
from secagg_bench import STAGES, Bench, Identity, ask, identities, params

from edgeveil.shared.secagg.agreement import messages
from edgeveil.shared.secagg.agreement.cohort import advert_message
from edgeveil.shared.secagg.primitives.errors import Aborted, PeerFault
from edgeveil.shared.secagg.primitives.keys import KeyPair
from edgeveil.shared.secagg.primitives.parameters import UNSIGNED, Segment
from edgeveil.shared.secagg.server.stages import ServerSetup

N = 6
LIAR = 5


def _liar(change):
    """A reply hook that lets only the liar's answer through `change(body, bulk)`."""
    liar = identities(N)[LIAR]

    def hook(agent, body, bulk):
        return change(body, bulk) if agent == liar.id else (body, bulk)

    return hook


def _completes_without_the_liar(name, change, code):
    bench = Bench.of(N)
    result = bench.play(replies={name: _liar(change)})
    liar = bench.agents[LIAR].id
    assert {agent: fault.code for agent, fault in bench.faults.items()} == {liar: code}
    assert isinstance(bench.faults[liar], PeerFault)
    assert not bench.refusals
    assert (result.lanes == bench.expected(result)).all()
    assert (liar in result.u3) == (name in {"agree", "unmask"})


def _advert(**changes):
    """The liar's advert with other fields, signed again by the liar."""

    def change(body, bulk):
        advert = dataclasses.replace(messages.Advert.decode(body), **changes)
        message = advert_message(*dataclasses.astuple(advert)[:5])
        signature = identities(N)[LIAR].sign(message)
        return dataclasses.replace(advert, signature=signature).encode(), bulk

    return change


def _plainly(decode, **changes):
    """Other fields, old signature."""
    return lambda body, bulk: (dataclasses.replace(decode(body), **changes).encode(), bulk)


def _junk(_body, bulk):
    return b"\x00junk", bulk


M1 = [
    ("another's id", _advert(agent_id=identities(N)[0].id), "NOT_MEMBER"),
    ("another attempt", _advert(ctx=bytes(32)), "CTX_MISMATCH"),
    ("small-order key", _advert(mask_key=b"\x01" + bytes(31)), "KEY_INVALID"),
    ("zero key", _advert(channel_key=bytes(32)), "KEY_INVALID"),
    (
        "one key for two uses",
        _advert(channel_key=b"\x09" + bytes(31), mask_key=b"\x09" + bytes(31)),
        "KEY_INVALID",
    ),
    ("second spelling", _advert(channel_key=b"\xff" * 32), "KEY_INVALID"),
    ("wrong signature", _plainly(messages.Advert.decode, signature=bytes(64)), "ADVERT_SIGNATURE"),
    (
        "unsigned key",
        _plainly(messages.Advert.decode, mask_key=KeyPair(b"7" * 32).public),
        "ADVERT_SIGNATURE",
    ),
    ("a weight of nothing", _advert(weight=0), "POLICY_VECTOR"),
    ("a weight beyond the bound", _advert(weight=2), "POLICY_VECTOR"),
    ("junk", _junk, "MALFORMED"),
    ("a vector too early", lambda body, _: (body, b"vector"), "MALFORMED"),
]


@pytest.mark.parametrize(("change", "code"), [lie[1:] for lie in M1], ids=[lie[0] for lie in M1])
def test_bad_adverts_are_left_out(change, code):
    _completes_without_the_liar("advert", change, code)


def test_keys_copied_from_another_agent_are_left_out():
    bench = Bench.of(N)
    stage = bench.stage()
    first, liar = bench.agents[0].id, bench.agents[LIAR].id
    honest = bench.sessions[first].advert()
    stage.accept(first, honest)
    stolen = messages.Advert.decode(honest).channel_key
    stage.accept(bench.agents[1].id, bench.sessions[bench.agents[1].id].advert())
    body, _ = _advert(channel_key=stolen)(bench.sessions[liar].advert(), None)
    with pytest.raises(PeerFault) as fault:
        stage.accept(liar, body)
    assert fault.value.code == "KEY_INVALID"
    assert liar in stage.waiting


def _shares(body):
    return messages.ShareReply.decode(body, N)


M2 = [
    (
        "a neighbour left out",
        lambda b, k: (dataclasses.replace(_shares(b), sealed=_shares(b).sealed[1:]).encode(), k),
        "GRAPH_MISMATCH",
    ),
    ("no shares", _plainly(_shares, sealed=()), "GRAPH_MISMATCH"),
    (
        "unsigned commitments",
        lambda b, k: (
            dataclasses.replace(
                _shares(b),
                sealed=tuple((to, text, bytes(32)) for to, text, _ in _shares(b).sealed),
            ).encode(),
            k,
        ),
        "KEY_INVALID",
    ),
    ("wrong signature", _plainly(_shares, signature=bytes(64)), "KEY_INVALID"),
    (
        "a neighbour twice",
        lambda b, k: (
            dataclasses.replace(
                _shares(b), sealed=(_shares(b).sealed[0], *_shares(b).sealed)
            ).encode(),
            k,
        ),
        "MALFORMED",
    ),
    ("junk", _junk, "MALFORMED"),
    ("a vector too early", lambda body, _: (body, b"vector"), "MALFORMED"),
]


@pytest.mark.parametrize(("change", "code"), [lie[1:] for lie in M2], ids=[lie[0] for lie in M2])
def test_bad_shares_are_left_out(change, code):
    _completes_without_the_liar("share", change, code)


M3 = [
    ("short vector", lambda body, y: (body, y[:-1]), "MALFORMED"),
    ("long vector", lambda body, y: (body, bytes(y) + b"\x00"), "MALFORMED"),
    ("huge vector", lambda body, y: (body, bytes(y) * 1000), "MALFORMED"),
    ("no vector", lambda body, _: (body, None), "MALFORMED"),
    ("another vector than signed", lambda body, y: (body, bytes(len(y))), "KEY_INVALID"),
    ("wrong signature", _plainly(messages.MaskedReply.decode, signature=bytes(64)), "KEY_INVALID"),
    ("junk", _junk, "MALFORMED"),
]


@pytest.mark.parametrize(("change", "code"), [lie[1:] for lie in M3], ids=[lie[0] for lie in M3])
def test_bad_vectors_are_left_out(change, code):
    _completes_without_the_liar("masked", change, code)


M4 = [
    ("wrong signature", _plainly(messages.AgreeReply.decode, signature=bytes(64)), "KEY_INVALID"),
    ("junk", _junk, "MALFORMED"),
    ("a vector too late", lambda body, _: (body, b"vector"), "MALFORMED"),
]


@pytest.mark.parametrize(("change", "code"), [lie[1:] for lie in M4], ids=[lie[0] for lie in M4])
def test_bad_agreements_are_left_out(change, code):
    _completes_without_the_liar("agree", change, code)


def _unmask(body):
    return messages.UnmaskReply.decode(body, N)


def _other_kind(body, bulk):
    reply = _unmask(body)
    (owner, kind, share), *rest = reply.shares
    return dataclasses.replace(reply, shares=((owner, 3 - kind, share), *rest)).encode(), bulk


def _both_kinds(body, bulk):
    reply = _unmask(body)
    (owner, kind, share), *rest = reply.shares
    both = ((owner, kind, share), (owner, 3 - kind, share), *rest)
    return dataclasses.replace(reply, shares=both).encode(), bulk


M5 = [
    ("other kind of share", _other_kind, "GRAPH_MISMATCH"),
    ("both kinds of one peer", _both_kinds, "MALFORMED"),
    ("no shares", _plainly(_unmask, shares=()), "GRAPH_MISMATCH"),
    ("wrong signature", _plainly(_unmask, signature=bytes(64)), "KEY_INVALID"),
    ("junk", _junk, "MALFORMED"),
    ("a vector too late", lambda body, _: (body, b"vector"), "MALFORMED"),
]


@pytest.mark.parametrize(("change", "code"), [lie[1:] for lie in M5], ids=[lie[0] for lie in M5])
def test_bad_unmasking_answers_are_left_out(change, code):
    _completes_without_the_liar("unmask", change, code)


@pytest.mark.parametrize("places", [(0,), (1, 4), (0, 1)])
@pytest.mark.parametrize("lost", [{}, {"masked": [3]}], ids=["nobody lost", "one lost"])
def test_wrong_shares_are_worked_around_and_their_senders_named(monkeypatch, places, lost):
    bench = Bench.of(N)
    liars = {bench.agents[place].id for place in places[: 2 - len(lost)]}
    reveal(monkeypatch, liars, common_lie(noise()))
    result = bench.play(lost)
    assert (result.lanes == bench.expected(result)).all()
    assert set(result.liars) == liars == set(bench.faults)
    assert {fault.code for fault in bench.faults.values()} == {"SHARE_AUTH"}


def test_too_many_wrong_shares_abort_with_all_names(monkeypatch):
    bench = Bench.of(N)
    liars = {bench.agents[place].id for place in (0, 1, 2, 3)}
    reveal(monkeypatch, liars, common_lie(noise()))
    with pytest.raises(Aborted) as abort:
        bench.play()
    assert abort.value.code == "QUORUM"
    assert abort.value.guilty == liars


KINDS = {"seed": {"seed": noise()}, "mask key": {"secret": noise()}}


@pytest.mark.parametrize("whom", ["one", "all"])
@pytest.mark.parametrize("kind", KINDS)
def test_holders_refuse_shares_that_are_not_those_committed_to_before_they_upload(
    monkeypatch, kind, whom
):
    """The dealer commits to its true shares and seals others; each refusal names it."""
    bench = Bench.of(N)
    dealer = bench.agents[LIAR].id

    def alter(place, _holder, pair):
        cheat = whom == "all" or place == 0
        return dataclasses.replace(pair, **KINDS[kind]) if cheat else pair, pair

    deal(monkeypatch, {dealer}, alter)
    if whom == "all":
        with pytest.raises(Aborted) as abort:
            bench.play()
        assert abort.value.code == "COHORT_TOO_SMALL"
    else:
        result = bench.play()
        assert (result.lanes == bench.expected(result)).all()
        assert result.liars == ()
    assert len(bench.refusals) == (N - 1 if whom == "all" else 1)
    told = f"a share is not the one its sender committed to (agent {dealer.hex()})"
    for refusal in bench.refusals.values():
        assert (refusal.code, refusal.agent, str(refusal)) == ("SHARE_AUTH", dealer, told)


@pytest.mark.parametrize("n", [6, 13, 14, 40])
def test_a_dealer_of_inconsistent_shares_is_named_by_the_coordinator(monkeypatch, n):
    """Its holders cannot see it: each share is the one committed to. A liar among them changes nothing."""
    bench = Bench.of(n)
    dealer, holder = bench.agents[n // 2].id, bench.agents[-1].id
    rng = random.Random(n)

    def alter(_place, _holder, pair):
        other = off(pair, rng.randbytes(32)) if rng.random() < 0.5 else pair
        return other, other

    deal(monkeypatch, {dealer}, alter)
    reveal(monkeypatch, {holder}, common_lie(noise()))
    with pytest.raises(Aborted) as abort:
        bench.play()
    assert not bench.refusals
    assert abort.value.guilty == {dealer, holder}


def test_a_lost_dealer_of_inconsistent_shares_ends_the_attempt_and_is_named(monkeypatch):
    bench = Bench.of(N)
    dealer = bench.agents[LIAR].id
    deal(monkeypatch, {dealer}, lambda place, _, pair: (off(pair, noise(32, place)),) * 2)
    with pytest.raises(Aborted) as abort:
        bench.play({"masked": [LIAR]})
    assert (abort.value.code, abort.value.agent) == ("SHARE_AUTH", dealer)
    assert abort.value.guilty == {dealer}


def _playing(vector: np.ndarray) -> Bench:
    """The liar skips its own bound check and puts any residue into the ring."""
    bench = Bench.of(N)
    liar = bench.sessions[bench.agents[LIAR].id]
    liar._state.vector[:] = vector.astype(np.uint16)
    return bench


@pytest.mark.parametrize(
    ("lane", "value"),
    [(0, 2), (0, 0), (0, -1), (0, 30_000), (1, 700), (1, -700), (3, 32_767), (6, -32_768)],
)
def test_residues_beyond_the_bounds_abort_the_sum(lane, value):
    vector = np.zeros(N + 1, np.int64)
    vector[0] = 1
    vector[lane] = value
    with pytest.raises(Aborted) as abort:
        _playing(vector).play()
    assert abort.value.code == "SUM_RANGE"


def _weighing(weights):
    """A bench whose agents declare these weights and mask vectors of them."""
    weight = Segment("weight", UNSIGNED, 1, 1, 50, 1.0)
    wanted = params(N, segments=(weight, params(N).segments[1]))
    bench = Bench.of(N, wanted)
    for place, declared in enumerate(weights):
        bench.vectors[place][0] = declared
        bench.sessions[bench.agents[place].id] = bench.session(place)
    return bench


def test_declared_weights_add_up_exactly_over_the_survivors():
    declared = [1, 3, 10, 30, 50, 7]
    bench = _weighing(declared)
    result = bench.play(lost={"masked": [0]})
    assert result.weights == {
        agent.id: weight for agent, weight in zip(bench.agents, declared, strict=True)
    }
    assert result.segment("weight").tolist() == [sum(declared[1:])]


@pytest.mark.parametrize("told", [2, 4, 50])
def test_a_weight_that_is_not_the_one_in_the_vector_aborts_the_sum(told):
    bench = _weighing([3] * LIAR + [told])
    bench.sessions[bench.agents[LIAR].id]._state.vector[0] = 3
    with pytest.raises(Aborted) as abort:
        bench.play()
    assert abort.value.code == "SUM_RANGE"


def test_junk_ciphertexts_stop_the_receivers_who_name_the_sender():
    bench = Bench.of(N)
    liar = bench.agents[LIAR].id

    def lie(bodies):
        changed = {}
        for agent, body in bodies.items():
            request = messages.MaskedRequest.decode(body, N)
            sealed = tuple(
                (sender, bytes(81) if sender == liar else text, both)
                for sender, text, both in request.sealed
            )
            changed[agent] = dataclasses.replace(request, sealed=sealed).encode()
        return changed

    with pytest.raises(Aborted):
        bench.play(requests={"masked": lie})
    assert {refusal.agent for refusal in bench.refusals.values()} == {liar}
    assert {refusal.code for refusal in bench.refusals.values()} == {"SHARE_AUTH"}


@pytest.mark.parametrize("name", STAGES)
def test_a_second_answer_is_refused_and_the_first_one_stays(name):
    bench = Bench.of(N)
    stage = bench.stage()
    for current in STAGES:
        if current == name:
            agent = bench.agents[0].id
            body = b"" if name == "advert" else stage.requests()[agent]
            answer, bulk = ask(bench.sessions[agent], name, body)
            stage.accept(agent, answer, bulk)
            with pytest.raises(PeerFault) as fault:
                stage.accept(agent, answer, bulk)
            assert fault.value.code == "STATE"
        waiting = stage.waiting
        bench.exchange(current, stage, lost=[0] if current == name else [])
        assert current != name or bench.agents[0].id not in waiting
        stage = stage.close()
    assert len(stage.u3) == N
    assert (stage.lanes == bench.expected(stage)).all()


def test_an_answer_after_the_drop_or_the_close_is_refused():
    bench = Bench.of(N)
    stage = bench.stage()
    late = bench.agents[2].id
    stage.drop(late)
    with pytest.raises(PeerFault):
        stage.accept(late, bench.sessions[late].advert())
    bench.exchange("advert", stage, lost=[2, 3])
    stage.close()
    with pytest.raises(PeerFault):
        stage.accept(bench.agents[3].id, bench.sessions[bench.agents[3].id].advert())
    with pytest.raises(Aborted):
        stage.close()
    assert not stage.quorate


def test_a_stranger_is_refused():
    bench = Bench.of(N)
    with pytest.raises(PeerFault) as fault:
        bench.stage().accept(Identity("stranger").id, b"")
    assert fault.value.code == "STATE"


def test_quorate_says_what_close_does():
    bench = Bench.of(N)
    stage = bench.stage()
    for agent in bench.agents:
        assert stage.quorate == (len(stage.waiting) <= N - 3)
        stage.accept(agent.id, bench.sessions[agent.id].advert())
    assert not stage.waiting
    stage = stage.close()
    with pytest.raises(Aborted):
        stage.close()
    assert not stage.quorate


def test_an_impossible_attempt_is_not_opened():
    members = {agent.id: agent.public for agent in identities(N)}
    with pytest.raises(Aborted) as abort:
        ServerSetup(bytes(32), params(N, n_max=5), members)
    assert abort.value.code == "POLICY_SECAGG"
    with pytest.raises(Aborted) as abort:
        ServerSetup(bytes(32), params(N, bound=6000), members)
    assert abort.value.code == "POLICY_VECTOR"


def test_a_cohort_without_parameters_aborts():
    bench = Bench.of(N, params(N, c_min=6))
    stage = bench.stage()
    bench.exchange("advert", stage)
    assert len(bench.traffic) == N
    assert not stage.quorate
    with pytest.raises(Aborted) as abort:
        stage.close()
    assert abort.value.code == "GRAPH_MISMATCH"
