"""A coordinator that lies on the wire: the agent refuses by the rule, and is erased.

Every lie starts from an honest attempt of five agents (or 130 on the sparse graph) and alters one
message to one victim, or sends something the protocol forbids.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from secagg_bench import CTX, STAGES, Bench, Identity, identities, params

from edgeveil.shared.secagg.agreement import messages
from edgeveil.shared.secagg.agreement.cohort import Cohort, advert_hash, advert_message
from edgeveil.shared.secagg.primitives.errors import Aborted, Refused
from edgeveil.shared.secagg.primitives.keys import KeyPair, channel_keys
from edgeveil.shared.secagg.primitives.sealing import SharePair, seal

N = 5
SMALL_ORDER = b"\x01" + bytes(31)
VICTIM = 0


def _until(bench: Bench, last: str, lost: dict | None = None) -> object:
    """Play honestly before the exchange `last`; return the stage that is about to send it."""
    stage = bench.stage()
    gone: set[int] = set()
    for name in STAGES:
        if name == last:
            return stage
        gone |= set((lost or {}).get(name, ()))
        bench.exchange(name, stage, gone)
        stage = stage.close()
    raise AssertionError(last)


def _request(bench: Bench, name: str, lost: dict | None = None) -> tuple[object, bytes]:
    """The victim's session, ready for the honest request `name`, and that request."""
    victim = bench.agents[VICTIM].id
    return bench.sessions[victim], _until(bench, name, lost).requests()[victim]


DECODE = {
    "share": messages.ShareRequest,
    "masked": messages.MaskedRequest,
    "unmask": messages.UnmaskRequest,
}


def _altered(name: str, body: bytes, change: Callable) -> bytes:
    if name == "agree":
        return change(messages.AgreeRequest.decode(body)).encode()
    return change(DECODE[name].decode(body, 1000)).encode()


def _refuses(bench: Bench, name: str, change: Callable, code: str, lost: dict | None = None):
    session, body = _request(bench, name, lost)
    with pytest.raises(Refused) as refusal:
        getattr(session, name)(_altered(name, body, change))
    assert refusal.value.code == code
    assert session.state == "ABORTED"
    with pytest.raises(Refused, match="erased"):
        getattr(session, name)(body)


def replace(**fields):
    return lambda message: dataclasses.replace(message, **fields)


def _swap_first(items: tuple, new: object) -> tuple:
    return (new, *items[1:])


def _without_victim(message):
    victim = identities(N)[VICTIM].id
    return dataclasses.replace(
        message, cohort=tuple(entry for entry in message.cohort if entry[0] != victim)
    )


def _foreign_advert(message):
    """Give the first neighbour new keys, listed consistently, but signed by nobody who may."""
    peer = message.neighbours[0]
    forged = dataclasses.replace(
        peer, channel_key=b"\x09" + bytes(31), mask_key=b"\x0a" + bytes(31)
    )
    return _relist(message, forged)


def _relist(message, forged):
    listed = advert_hash(CTX, *dataclasses.astuple(forged)[:4])
    cohort = tuple(
        (agent, listed if agent == forged.agent_id else advert) for agent, advert in message.cohort
    )
    neighbours = tuple(
        forged if peer.agent_id == forged.agent_id else peer for peer in message.neighbours
    )
    return dataclasses.replace(message, cohort=cohort, neighbours=neighbours)


def _colluding_keys(channel: bytes | None, pairwise: bytes | None):
    """A colluding member, the first neighbour, signs whatever keys the coordinator places."""
    return lambda message: _sign_keys(message, message.neighbours[0].agent_id, channel, pairwise)


def _colluding_weight(weight: int):
    return lambda message: _sign_keys(
        message, message.neighbours[0].agent_id, None, None, weight=weight
    )


def _sign_keys(
    message,
    colluder: bytes,
    channel: bytes | None,
    pairwise: bytes | None,
    weight: int | None = None,
):
    identity = next(one for one in identities(N) if one.id == colluder)
    peer = next(one for one in message.neighbours if one.agent_id == colluder)
    told = peer.weight if weight is None else weight
    keys = (channel or peer.channel_key, pairwise or peer.mask_key, told)
    signature = identity.sign(advert_message(CTX, colluder, *keys))
    return _relist(message, messages.Neighbour(colluder, *keys, signature))


def _copied_keys(message):
    return _colluding_keys(message.neighbours[1].channel_key, None)(message)


def _with_stranger(message):
    stranger = Identity("not in the roster")
    entries = sorted([*message.cohort, (stranger.id, bytes(32))])
    return dataclasses.replace(message, cohort=tuple(entries))


M2_LIES = [
    ("echo of k", replace(k=3), "GRAPH_MISMATCH"),
    ("echo of t", replace(t=1), "GRAPH_MISMATCH"),
    ("echo of h", replace(h=9), "GRAPH_MISMATCH"),
    ("echo of Q", replace(quorum=2), "GRAPH_MISMATCH"),
    ("cohort of two", lambda m: dataclasses.replace(m, cohort=m.cohort[:2]), "COHORT_TOO_SMALL"),
    ("victim left out", _without_victim, "U1_INVALID"),
    ("a stranger in U1", _with_stranger, "U1_INVALID"),
    ("order of U1", lambda m: dataclasses.replace(m, cohort=m.cohort[::-1]), "MALFORMED"),
    (
        "an agent twice",
        lambda m: dataclasses.replace(m, cohort=(m.cohort[0], *m.cohort)),
        "MALFORMED",
    ),
    (
        "own advert replaced",
        lambda m: dataclasses.replace(m, cohort=_swap_first(m.cohort, (m.cohort[0][0], bytes(32)))),
        "U1_INVALID",
    ),
    (
        "a neighbour's hash replaced",
        lambda m: dataclasses.replace(m, cohort=(*m.cohort[:-1], (m.cohort[-1][0], bytes(32)))),
        "U1_INVALID",
    ),
    (
        "a neighbour withheld",
        lambda m: dataclasses.replace(m, neighbours=m.neighbours[1:]),
        "GRAPH_MISMATCH",
    ),
    ("keys signed by nobody", _foreign_advert, "ADVERT_SIGNATURE"),
    (
        "advert of another attempt",
        lambda m: _relist(
            m,
            dataclasses.replace(
                m.neighbours[0],
                signature=identities(N)[1].sign(
                    advert_message(bytes(32), *dataclasses.astuple(m.neighbours[0])[:4])
                ),
            ),
        ),
        "ADVERT_SIGNATURE",
    ),
    (
        "another weight than was signed",
        lambda m: _relist(m, dataclasses.replace(m.neighbours[0], weight=2)),
        "ADVERT_SIGNATURE",
    ),
    ("a weight beyond the bound, signed by a colluder", _colluding_weight(2), "U1_INVALID"),
    ("a weight of nothing, signed by a colluder", _colluding_weight(0), "U1_INVALID"),
    ("small-order channel key", _colluding_keys(SMALL_ORDER, None), "KEY_INVALID"),
    (
        "second spelling of a key",
        _colluding_keys(((1 << 255) - 10).to_bytes(32, "little"), None),
        "KEY_INVALID",
    ),
    ("keys of another agent", _copied_keys, "KEY_INVALID"),
]


@pytest.mark.parametrize(
    ("change", "code"), [lie[1:] for lie in M2_LIES], ids=[m[0] for m in M2_LIES]
)
def test_lies_about_the_cohort_are_refused(change, code):
    _refuses(Bench.of(N, params(N, n_max=8)), "share", change, code)


def _for(victim: bytes, reply: messages.ShareReply) -> tuple[bytes, bytes, bytes]:
    """What a reply holds for the victim: (its id, ciphertext, commitments)."""
    return next(entry for entry in reply.sealed if entry[0] == victim)


def _collude(mask_key: bytes | None, shift: int) -> tuple[bytes, Refused]:
    """Agent 1 helps the coordinator: chosen mask key, share index off by `shift`; agent 0 judges."""
    bench = Bench.of(N)
    victim, colluder = bench.agents[0].id, bench.agents[1].id
    channel = KeyPair(bytes(range(32)))
    honest = _until(bench, "share").requests()
    changed = {
        agent: _altered("share", body, lambda m: _sign_keys(m, colluder, channel.public, mask_key))
        for agent, body in honest.items()
        if agent != colluder
    }
    inbox = {}
    for agent, body in changed.items():
        reply = messages.ShareReply.decode(bench.sessions[agent].share(body), N)
        if agent != victim:
            inbox[agent] = _for(victim, reply)
    request = messages.ShareRequest.decode(changed[bench.agents[2].id], N)
    cohort = Cohort(CTX, request.cohort, bench.params)
    scope = {"ctx": CTX, "u1_hash": cohort.u1_hash}
    public = next(peer.channel_key for peer in request.neighbours if peer.agent_id == victim)
    key, _ = channel_keys(channel, public, **scope, own_id=colluder, other_id=victim)
    pair = SharePair(cohort.share_index(colluder, victim) + shift, bytes(32), bytes(32))
    commitments = cohort.commitments(colluder, victim, pair.seed, pair.secret)
    text = seal(key, pair, commitments, **scope, sender=colluder, receiver=victim)
    inbox[colluder] = (colluder, text, commitments)
    sealed = tuple((agent, *inbox[agent][1:]) for agent in sorted(inbox))
    with pytest.raises(Refused) as refusal:
        bench.sessions[victim].masked(messages.MaskedRequest(b"\x1f", sealed).encode())
    return colluder, refusal.value


def test_a_colluder_s_small_order_mask_key_is_refused_before_the_vector_leaves():
    colluder, refusal = _collude(SMALL_ORDER, 0)
    told = f"mask key: a public key of small order (agent {colluder.hex()})"
    assert (refusal.code, str(refusal)) == ("KEY_INVALID", told)


def test_a_share_with_a_foreign_index_is_refused_and_its_sender_named():
    colluder, refusal = _collude(None, 1)
    told = f"a share carries a foreign index (agent {colluder.hex()})"
    assert (refusal.code, str(refusal)) == ("SHARE_AUTH", told)


def test_a_cohort_for_which_no_parameters_exist_is_refused():
    bench = Bench.of(N, params(N, c_min=2))
    session, body = _request(bench, "share")
    message = messages.ShareRequest.decode(body, N)
    short = dataclasses.replace(message, cohort=message.cohort[:3])
    with pytest.raises(Refused) as refusal:
        session.share(short.encode())
    assert refusal.value.code == "GRAPH_MISMATCH"


def test_signers_who_leave_an_agent_of_u2_too_few_neighbours_are_refused():
    bench = Bench.of(4, params(4, c_min=1))  # t = 3, Q = 3
    session, body = _request(bench, "unmask")
    message = messages.UnmaskRequest.decode(body, 4)
    with pytest.raises(Refused, match="too few signers") as refusal:
        session.unmask(messages.UnmaskRequest(message.signatures[:3]).encode())
    assert refusal.value.code == "QUORUM"


def _open_shares_swapped(message):
    (one, *first), (two, *second), *rest = message.sealed
    return dataclasses.replace(message, sealed=((one, *second), (two, *first), *rest))


def _commitments_swapped(message):
    (one, first, a), (two, second, b), *rest = message.sealed
    return dataclasses.replace(message, sealed=((one, first, b), (two, second, a), *rest))


def _commitment_altered(kind):
    """One bit of the commitment to the share of the seed (0) or of the mask key (1)."""

    def change(message):
        sender, sealed, both = message.sealed[0]
        wrong = bytearray(both)
        wrong[16 * kind] ^= 1
        return dataclasses.replace(
            message, sealed=_swap_first(message.sealed, (sender, sealed, bytes(wrong)))
        )

    return change


def _bit_flipped(message):
    sender, sealed, both = message.sealed[0]
    broken = bytes([sealed[0] ^ 1]) + sealed[1:]
    return dataclasses.replace(message, sealed=_swap_first(message.sealed, (sender, broken, both)))


M3_LIES = [
    ("victim not in U2", replace(u2=b"\x1e"), "U2_INVALID"),
    ("U2 below n_min", lambda m: messages.MaskedRequest(b"\x03", m.sealed[:1]), "COHORT_TOO_SMALL"),
    ("U2 smaller than the senders", replace(u2=b"\x0f"), "U2_INVALID"),
    (
        "a share withheld",
        lambda m: dataclasses.replace(m, sealed=m.sealed[1:]),
        "U2_INVALID",
    ),
    ("padding bit", replace(u2=b"\x3f"), "MALFORMED"),
    ("long bitmap", replace(u2=b"\x1f\x00"), "MALFORMED"),
    ("shares swapped", _open_shares_swapped, "SHARE_AUTH"),
    ("share altered", _bit_flipped, "SHARE_AUTH"),
    ("commitments swapped", _commitments_swapped, "SHARE_AUTH"),
    ("commitment to a share of the seed altered", _commitment_altered(0), "SHARE_AUTH"),
    ("commitment to a share of the mask key altered", _commitment_altered(1), "SHARE_AUTH"),
]


@pytest.mark.parametrize(
    ("change", "code"), [lie[1:] for lie in M3_LIES], ids=[m[0] for m in M3_LIES]
)
def test_lies_about_the_sharers_are_refused(change, code):
    _refuses(Bench.of(N), "masked", change, code)


def test_refuses_a_u2_in_which_nobody_could_unmask_it():
    bench = Bench.of(7)  # t = 4
    session, body = _request(bench, "masked")
    honest = messages.MaskedRequest.decode(body, 7)
    with pytest.raises(Refused) as refusal:
        session.masked(messages.MaskedRequest(b"\x0f", honest.sealed[:3]).encode())
    assert refusal.value.code == "QUORUM"


M4_LIES = [
    ("victim not in U3", b"\x1e", "U3_INVALID"),
    ("only the victim", b"\x01", "COHORT_TOO_SMALL"),
    ("two agents", b"\x03", "COHORT_TOO_SMALL"),
    ("an agent outside U2", b"\x1f", "U3_INVALID"),
    ("padding bit", b"\x8f", "MALFORMED"),
]


@pytest.mark.parametrize(("u3", "code"), [lie[1:] for lie in M4_LIES], ids=[m[0] for m in M4_LIES])
def test_lies_about_the_survivors_are_refused(u3, code):
    bench = Bench.of(N)
    _refuses(bench, "agree", replace(u3=u3), code, {"share": [4]})


def test_refuses_a_u3_in_which_nobody_could_unmask_it():
    bench = Bench.of(7)
    _refuses(bench, "agree", replace(u3=b"\x0f"), "QUORUM")


def _forged_signature(message):
    return messages.UnmaskRequest(((0, bytes(64)), *message.signatures[1:]))


def _moved_signature(message):
    (a, one), (b, two), *rest = message.signatures
    return messages.UnmaskRequest(((a, two), (b, one), *rest))


M5_LIES = [
    ("signatures below Q", lambda m: messages.UnmaskRequest(m.signatures[:2]), "QUORUM"),
    ("no signature at all", lambda _: messages.UnmaskRequest(()), "QUORUM"),
    ("forged signature", _forged_signature, "QUORUM"),
    ("signatures exchanged", _moved_signature, "QUORUM"),
    (
        "signer outside U3",
        lambda m: messages.UnmaskRequest((*m.signatures, (4, bytes(64)))),
        "U3_INVALID",
    ),
    (
        "position beyond U1",
        lambda m: messages.UnmaskRequest((*m.signatures, (9, bytes(64)))),
        "U3_INVALID",
    ),
    (
        "one signature twice",
        lambda m: messages.UnmaskRequest((m.signatures[0], *m.signatures)),
        "MALFORMED",
    ),
]


@pytest.mark.parametrize(
    ("change", "code"), [lie[1:] for lie in M5_LIES], ids=[m[0] for m in M5_LIES]
)
def test_lies_about_the_signers_are_refused(change, code):
    _refuses(Bench.of(N), "unmask", change, code, {"masked": [4]})


def test_two_views_of_the_survivors_cannot_both_reach_a_quorum():
    bench = Bench.of(N)
    stage = _until(bench, "agree")
    one = messages.AgreeRequest(b"\x1f").encode()
    two = messages.AgreeRequest(b"\x0f").encode()
    ids = [agent.id for agent in bench.agents]
    signed = {
        agent: messages.AgreeReply.decode(bench.sessions[agent].agree(one if i < 2 else two))
        for i, agent in enumerate(ids[:4])
    }
    assert stage.requests()
    for agent in ids[:4]:
        listed = tuple((i, signed[ids[i]].signature) for i in range(4))
        with pytest.raises(Refused) as refusal:
            bench.sessions[agent].unmask(messages.UnmaskRequest(listed).encode())
        assert refusal.value.code == "QUORUM"


def test_two_views_of_the_cohort_end_when_shares_do_not_open():
    bench = Bench.of(6, params(6))
    stage = _until(bench, "share")
    honest = stage.requests()
    victim, left_out = bench.agents[0].id, bench.agents[5].id
    narrow = messages.ShareRequest.decode(honest[victim], 6)
    solution = bench.params.solve(5)
    narrow = messages.ShareRequest(
        narrow.cohort[:5], narrow.neighbours[:4], solution.k, solution.t, 0, solution.quorum
    )
    inbox = []
    for agent, body in honest.items():
        if agent == left_out:
            continue
        reply = bench.sessions[agent].share(narrow.encode() if agent == victim else body)
        if agent != victim:
            inbox.append((agent, *_for(victim, messages.ShareReply.decode(reply, 6))[1:]))
    with pytest.raises(Refused) as refusal:
        bench.sessions[victim].masked(messages.MaskedRequest(b"\x1f", tuple(inbox)).encode())
    assert refusal.value.code == "SHARE_AUTH"


@pytest.mark.parametrize("name", STAGES[1:])
def test_an_identical_request_gets_the_identical_reply(name):
    bench = Bench.of(N)
    session, body = _request(bench, name)
    ask = getattr(session, name)
    assert ask(body) == ask(body)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("share", replace(t=1)),
        ("masked", replace(u2=b"\x0f")),
        ("agree", replace(u3=b"\x0f")),
        ("unmask", lambda m: messages.UnmaskRequest(m.signatures[:3])),
    ],
)
def test_a_second_different_request_is_equivocation(name, change):
    bench = Bench.of(N)
    session, body = _request(bench, name)
    getattr(session, name)(body)
    with pytest.raises(Refused) as refusal:
        getattr(session, name)(_altered(name, body, change))
    assert refusal.value.code == "EQUIVOCATION"
    assert session.state == "ABORTED"


def test_a_past_request_altered_later_is_equivocation():
    bench = Bench.of(N)
    session, _ = _request(bench, "unmask")
    with pytest.raises(Refused) as refusal:
        session.masked(messages.MaskedRequest(b"\x0f", ()).encode())
    assert refusal.value.code == "EQUIVOCATION"


@pytest.mark.parametrize("name", ["masked", "agree", "unmask"])
def test_a_request_ahead_of_its_stage_is_refused(name):
    bench = Bench.of(N)
    session = bench.sessions[bench.agents[0].id]
    session.advert()
    with pytest.raises(Refused) as refusal:
        getattr(session, name)(b"anything")
    assert refusal.value.code == "STATE"
    assert session.state == "ABORTED"


def test_nothing_is_revealed_after_the_end():
    bench = Bench.of(N)
    session, body = _request(bench, "unmask")
    share_request = next(t[2] for t in bench.traffic if t[:2] == ("share", bench.agents[0].id))
    reply = session.unmask(body)
    with pytest.raises(Refused, match="the attempt is over"):
        session.share(share_request)
    assert session.unmask(body) == reply, "a stale retry must not cost the last reply"


@pytest.mark.parametrize("name", STAGES[1:])
@pytest.mark.parametrize("body", [b"", b"\x00", b"\xff" * 300], ids=["empty", "zero", "noise"])
def test_junk_is_malformed_and_erases(name, body):
    bench = Bench.of(N)
    session, _ = _request(bench, name)
    with pytest.raises(Refused) as refusal:
        getattr(session, name)(body)
    assert refusal.value.code == "MALFORMED"
    assert session.state == "ABORTED"


def test_another_attempt_s_messages_do_not_fit():
    bench, other = Bench.of(N), Bench.of(N, ctx=bytes(32))
    session, _ = _request(bench, "share")
    _, foreign = _request(other, "share")
    with pytest.raises(Refused) as refusal:
        session.share(foreign)
    assert refusal.value.code == "U1_INVALID"


def test_emptied_windows_are_refused_on_the_sparse_graph():
    bench = Bench.of(130, params(130, bits=32, n_min=60))
    session, body = _request(bench, "unmask")
    request = messages.UnmaskRequest.decode(body, 130)
    agreed = session._state
    graph, h = agreed.cohort.graph, agreed.cohort.solution.h
    assert graph.k // 2 > h > 0
    place = int(np.flatnonzero(graph.order == VICTIM)[0])
    window = graph.order[(place + 1 + np.arange(graph.k // 2 - h)) % graph.n].tolist()
    kept = tuple(entry for entry in request.signatures if entry[0] not in window)
    assert len(kept) >= agreed.cohort.solution.quorum
    with pytest.raises(Refused) as refusal:
        session.unmask(messages.UnmaskRequest(kept).encode())
    assert refusal.value.code == "WINDOW"


def test_a_fair_session_refuses_nothing():
    bench = Bench.of(N)
    result = bench.play()
    assert not bench.refusals
    assert {session.state for session in bench.sessions.values()} == {"DONE"}
    assert (result.lanes == bench.expected(result)).all()


def test_an_honest_coordinator_stops_where_a_window_is_too_thin():
    bench = Bench.of(130, params(130, bits=32))
    stage = _until(bench, "agree")
    cohort = bench.sessions[bench.agents[0].id]._state.cohort
    gone = cohort.graph.order[: cohort.graph.k // 2 - cohort.solution.h].tolist()
    assert len(gone) < 130 - cohort.solution.quorum
    bench.exchange("agree", stage, lost=gone)
    assert not stage.quorate
    with pytest.raises(Aborted) as abort:
        stage.close()
    assert abort.value.code == "WINDOW"
