"""A coordinator that lies about the cohort and its keys: the agent refuses by the rule, and is erased.

Every lie starts from an honest attempt of five agents and alters one message to one victim
(secagg_lies_bench). Lies about who shared, survived and signed: test_secagg_evil_sets.py; messages out of
turn: test_secagg_evil_order.py.
"""

import dataclasses

import pytest
from secagg_bench import CTX, Bench, Identity, identities, params
from secagg_lies_bench import (
    VICTIM,
    N,
    altered,
    honest_request,
    refuses,
    replace,
    share_for,
    swap_first,
    until,
)

from edgeveil.shared.secagg.agreement import messages
from edgeveil.shared.secagg.agreement.cohort import Cohort, advert_hash, advert_message
from edgeveil.shared.secagg.primitives.errors import Refused
from edgeveil.shared.secagg.primitives.keys import KeyPair, channel_keys
from edgeveil.shared.secagg.primitives.sealing import SharePair, seal

SMALL_ORDER = b"\x01" + bytes(31)


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
        lambda m: dataclasses.replace(m, cohort=swap_first(m.cohort, (m.cohort[0][0], bytes(32)))),
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
    refuses(Bench.of(N, params(N, n_max=8)), "share", change, code)


def _collude(mask_key: bytes | None, shift: int) -> tuple[bytes, Refused]:
    """Agent 1 helps the coordinator: chosen mask key, share index off by `shift`; agent 0 judges."""
    bench = Bench.of(N)
    victim, colluder = bench.agents[0].id, bench.agents[1].id
    channel = KeyPair(bytes(range(32)))
    honest = until(bench, "share").requests()
    changed = {
        agent: altered("share", body, lambda m: _sign_keys(m, colluder, channel.public, mask_key))
        for agent, body in honest.items()
        if agent != colluder
    }
    inbox = {}
    for agent, body in changed.items():
        reply = messages.ShareReply.decode(bench.sessions[agent].share(body), N)
        if agent != victim:
            inbox[agent] = share_for(victim, reply)
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
    session, body = honest_request(bench, "share")
    message = messages.ShareRequest.decode(body, N)
    short = dataclasses.replace(message, cohort=message.cohort[:3])
    with pytest.raises(Refused) as refusal:
        session.share(short.encode())
    assert refusal.value.code == "GRAPH_MISMATCH"


def test_two_views_of_the_cohort_end_when_shares_do_not_open():
    bench = Bench.of(6, params(6))
    stage = until(bench, "share")
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
            inbox.append((agent, *share_for(victim, messages.ShareReply.decode(reply, 6))[1:]))
    with pytest.raises(Refused) as refusal:
        bench.sessions[victim].masked(messages.MaskedRequest(b"\x1f", tuple(inbox)).encode())
    assert refusal.value.code == "SHARE_AUTH"
