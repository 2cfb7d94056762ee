"""A coordinator that lies about who shared, survived and signed: the agent refuses by the rule, and is erased.

Every lie starts from an honest attempt of five agents (or 130 on the sparse graph) and alters one
message to one victim (secagg_lies_bench).
"""

import dataclasses

import numpy as np
import pytest
from secagg_bench import Bench, params
from secagg_lies_bench import VICTIM, N, honest_request, refuses, replace, swap_first, until

from edgeveil.shared.secagg.agreement import messages
from edgeveil.shared.secagg.primitives.errors import Aborted, Refused


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
            message, sealed=swap_first(message.sealed, (sender, sealed, bytes(wrong)))
        )

    return change


def _bit_flipped(message):
    sender, sealed, both = message.sealed[0]
    broken = bytes([sealed[0] ^ 1]) + sealed[1:]
    return dataclasses.replace(message, sealed=swap_first(message.sealed, (sender, broken, both)))


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
    refuses(Bench.of(N), "masked", change, code)


def test_refuses_a_u2_in_which_nobody_could_unmask_it():
    bench = Bench.of(7)  # t = 4
    session, body = honest_request(bench, "masked")
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
    refuses(bench, "agree", replace(u3=u3), code, {"share": [4]})


def test_refuses_a_u3_in_which_nobody_could_unmask_it():
    bench = Bench.of(7)
    refuses(bench, "agree", replace(u3=b"\x0f"), "QUORUM")


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
    refuses(Bench.of(N), "unmask", change, code, {"masked": [4]})


def test_signers_who_leave_an_agent_of_u2_too_few_neighbours_are_refused():
    bench = Bench.of(4, params(4, c_min=1))  # t = 3, Q = 3
    session, body = honest_request(bench, "unmask")
    message = messages.UnmaskRequest.decode(body, 4)
    with pytest.raises(Refused, match="too few signers") as refusal:
        session.unmask(messages.UnmaskRequest(message.signatures[:3]).encode())
    assert refusal.value.code == "QUORUM"


def test_two_views_of_the_survivors_cannot_both_reach_a_quorum():
    bench = Bench.of(N)
    stage = until(bench, "agree")
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


def test_emptied_windows_are_refused_on_the_sparse_graph():
    bench = Bench.of(130, params(130, bits=32, n_min=60))
    session, body = honest_request(bench, "unmask")
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


def test_an_honest_coordinator_stops_where_a_window_is_too_thin():
    bench = Bench.of(130, params(130, bits=32))
    stage = until(bench, "agree")
    cohort = bench.sessions[bench.agents[0].id]._state.cohort
    gone = cohort.graph.order[: cohort.graph.k // 2 - cohort.solution.h].tolist()
    assert len(gone) < 130 - cohort.solution.quorum
    bench.exchange("agree", stage, lost=gone)
    assert not stage.quorate
    with pytest.raises(Aborted) as abort:
        stage.close()
    assert abort.value.code == "WINDOW"
