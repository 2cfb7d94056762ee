"""Whose fault a refusal or a fault on the wire is, in which words, and which agent it names.

The tests of lies look at codes; an owner reads these sentences in the log of the device, an operator
in the coordinator's.
"""

import dataclasses

import pytest
from secagg_bench import CTX, STAGES, Bench, Identity, ask, identities, params

from edgeveil.shared.secagg.agreement import messages
from edgeveil.shared.secagg.agreement.cohort import advert_hash, advert_message
from edgeveil.shared.secagg.primitives.errors import Aborted, PeerFault, Refused
from edgeveil.shared.secagg.primitives.sealing import SEALED_BYTES

N = 5
IDS = [agent.id for agent in identities(N)]
OWN, PEER = IDS[0], IDS[1]
SMALL_ORDER = b"\x01" + bytes(31)
REQUESTS = {
    "share": lambda body: messages.ShareRequest.decode(body, N),
    "masked": lambda body: messages.MaskedRequest.decode(body, N),
    "agree": messages.AgreeRequest.decode,
    "unmask": lambda body: messages.UnmaskRequest.decode(body, N),
}
REPLIES = {
    "advert": messages.Advert.decode,
    "share": lambda body: messages.ShareReply.decode(body, N),
    "masked": messages.MaskedReply.decode,
    "agree": messages.AgreeReply.decode,
    "unmask": lambda body: messages.UnmaskReply.decode(body, N),
}


def _until(bench: Bench, last: str, lost: dict | None = None) -> object:
    stage = bench.stage()
    for name in STAGES[: STAGES.index(last)]:
        bench.exchange(name, stage, (lost or {}).get(name, ()))
        stage = stage.close()
    return stage


def _told(error: Refused | PeerFault | Aborted) -> tuple[str, str, bytes | None]:
    """(code, sentence without the agent's id, agent)."""
    sentence = str(error)
    if error.agent is not None:
        assert sentence.endswith(f" (agent {error.agent.hex()})")
        sentence = sentence.removesuffix(f" (agent {error.agent.hex()})")
    return error.code, sentence, error.agent


def _signed(message, *, channel: bytes | None = None, mask: bytes | None = None):
    """The first neighbour colludes: it signs other keys, and U1 lists them."""
    peer = message.neighbours[0]
    keys = (channel or peer.channel_key, mask or peer.mask_key, peer.weight)
    identity = identities(N)[1]
    signature = identity.sign(advert_message(CTX, PEER, *keys))
    cohort = tuple(
        (a, advert_hash(CTX, PEER, *keys) if a == PEER else h) for a, h in message.cohort
    )
    neighbours = (messages.Neighbour(PEER, *keys, signature), *message.neighbours[1:])
    return dataclasses.replace(message, cohort=cohort, neighbours=neighbours)


def _with_stranger(message):
    entries = (*message.cohort, (STRANGER, bytes(32)))
    return dataclasses.replace(message, cohort=tuple(sorted(entries)))


def _own_replaced(message):
    return dataclasses.replace(message, cohort=((OWN, bytes(32)), *message.cohort[1:]))


def _listed_otherwise(message):
    changed = tuple((a, bytes(32) if a == PEER else h) for a, h in message.cohort)
    return dataclasses.replace(message, cohort=changed)


def _unsigned(message):
    peer = dataclasses.replace(message.neighbours[0], signature=bytes(64))
    return dataclasses.replace(message, neighbours=(peer, *message.neighbours[1:]))


STRANGER = Identity("stranger").id
SOLUTION = params(N, c_min=1).solve(N)
REFUSED = [
    ("share", lambda m: dataclasses.replace(m, cohort=m.cohort[:2]),
     ("COHORT_TOO_SMALL", "U1 has 2 members, 3 are due", None)),
    ("share", _with_stranger, ("U1_INVALID", "U1 names one who is not in the roster", STRANGER)),
    ("share", _own_replaced, ("U1_INVALID", "U1 does not hold this agent's own advert", None)),
    ("share", lambda m: dataclasses.replace(m, k=9),
     ("GRAPH_MISMATCH", f"the coordinator computes (9, 3, 0, 4), we {SOLUTION}", None)),
    ("share", lambda m: dataclasses.replace(m, neighbours=m.neighbours[1:]),
     ("GRAPH_MISMATCH", "the adverts are not those of our neighbours", None)),
    ("share", _listed_otherwise, ("U1_INVALID", "an advert is not the one in U1", PEER)),
    ("share", _unsigned, ("ADVERT_SIGNATURE", "an advert's signature does not verify", PEER)),
    ("share", lambda m: _signed(m, mask=m.neighbours[0].channel_key),
     ("KEY_INVALID", "a public key occurs twice", PEER)),
    ("share", lambda m: _signed(m, mask=b"\xff" * 32),
     ("KEY_INVALID", "not the canonical spelling of an X25519 public key", PEER)),
    ("share", lambda m: _signed(m, channel=SMALL_ORDER),
     ("KEY_INVALID", "channel key: a public key of small order", PEER)),
    ("masked", lambda m: dataclasses.replace(m, u2=b"\x1e"),
     ("U2_INVALID", "U2 leaves this agent out and yet asks it", None)),
    ("masked", lambda m: messages.MaskedRequest(b"\x03", m.sealed[:1]),
     ("COHORT_TOO_SMALL", "U2 has 2 members, at least 3 are due", None)),
    ("masked", lambda m: dataclasses.replace(m, sealed=m.sealed[1:]),
     ("U2_INVALID", "the shares do not come from exactly N_i ∩ U2", None)),
    ("masked", lambda m: messages.MaskedRequest(b"\x07", m.sealed[:2]),
     ("QUORUM", "2 neighbours in U2, 3 are needed to unmask", None)),
    ("masked", lambda m: messages.MaskedRequest(m.u2, ((PEER, bytes(81), bytes(32)), *m.sealed[1:])),
     ("SHARE_AUTH", "a sealed share does not open; leave this attempt", PEER)),
    ("masked", lambda m: dataclasses.replace(m, u2=b"\x1f\x00"),
     ("MALFORMED", "masked: a bitmap of 2 bytes for 5 agents", None)),
    ("agree", lambda _: messages.AgreeRequest(b"\x1e"),
     ("U3_INVALID", "U3 is not a part of U2 that holds this agent", None)),
    ("agree", lambda _: messages.AgreeRequest(b"\x03"),
     ("COHORT_TOO_SMALL", "U3 has 2 members, at least 3 are due", None)),
    ("agree", lambda _: messages.AgreeRequest(b"\x07"),
     ("QUORUM", "too few neighbours in U3 to unmask this agent", None)),
    ("agree", lambda _: messages.AgreeRequest(b"\x3f"),
     ("MALFORMED", "agree: a bitmap with padding bits set", None)),
    ("unmask", lambda m: messages.UnmaskRequest(m.signatures[:1]),
     ("QUORUM", "1 signatures, 4 are due", None)),
    ("unmask", lambda m: messages.UnmaskRequest((m.signatures[0], (1, bytes(64)))),
     ("QUORUM", "a signature on (U2, U3) does not verify", PEER)),
    ("unmask", lambda m: messages.UnmaskRequest((*m.signatures, (5, bytes(64)))),
     ("U3_INVALID", "position 5 signs without being in U3", None)),
    ("unmask", lambda m: messages.UnmaskRequest((m.signatures[0], m.signatures[0])),
     ("MALFORMED", "unmask: a list is not strictly ascending", None)),
]  # fmt: skip


def _bench() -> Bench:
    return Bench.of(N, params(N, c_min=1, n_max=N + 1))  # k = 4, t = 3, Q = 4


def test_the_numbers_in_the_sentences_are_those_of_the_cohort():
    assert (SOLUTION.k, SOLUTION.t, SOLUTION.quorum) == (4, 3, 4)


@pytest.mark.parametrize(
    ("name", "change", "due"), REFUSED, ids=[row[2][1][:40] for row in REFUSED]
)
def test_an_agent_says_what_it_refuses_and_whose_fault_it_was(name, change, due):
    bench = _bench()
    body = _until(bench, name).requests()[OWN]
    lie = change(REQUESTS[name](body)).encode()
    with pytest.raises(Refused) as refusal:
        getattr(bench.sessions[OWN], name)(lie)
    assert _told(refusal.value) == due


@pytest.mark.parametrize("name", STAGES[1:])
def test_an_agent_says_which_stage_was_malformed_repeated_or_ahead(name):
    bench = _bench()
    session = bench.sessions[OWN]
    bodies = {}
    for current in STAGES[1:]:
        body = _until(bench := _bench(), current).requests()[OWN]
        bodies[current] = bench, body
    bench, body = bodies[name]
    getattr(bench.sessions[OWN], name)(body)
    with pytest.raises(Refused) as refusal:
        getattr(bench.sessions[OWN], name)(body + b"\x00")
    assert _told(refusal.value) == ("EQUIVOCATION", f"{name}: a second, different request", None)
    with pytest.raises(Refused) as refusal:
        getattr(bench.sessions[OWN], name)(body)
    erased = f"{name}: this session was erased; wait for a new attempt"
    assert _told(refusal.value) == ("STATE", erased, None)
    with pytest.raises(Refused) as refusal:
        getattr(session, name)(body)
    assert _told(refusal.value) == ("STATE", f"{name} does not fit the state TRAINED", None)


@pytest.mark.parametrize("name", STAGES[1:])
def test_an_agent_says_which_stage_it_could_not_read(name):
    bench = _bench()
    _until(bench, name)
    with pytest.raises(Refused) as refusal:
        getattr(bench.sessions[OWN], name)(b"junk")
    fields = {"share": 6, "masked": 2, "agree": 1, "unmask": 1}[name]
    label = f"m{STAGES.index(name) + 1}-request"
    sentence = f"{name}: not a edgeveil/secagg-v1/{label} message of {fields} fields"
    assert _told(refusal.value) == ("MALFORMED", sentence, None)


def test_an_agent_says_that_the_attempt_is_over():
    bench = _bench()
    stage = _until(bench, "unmask")
    bench.exchange("unmask", stage)
    for name in ("share", "masked", "agree"):
        body = next(entry[2] for entry in bench.traffic if entry[:2] == (name, OWN))
        with pytest.raises(Refused) as refusal:
            getattr(bench.sessions[OWN], name)(body)
        over = f"{name}: answered before, and the attempt is over"
        assert _told(refusal.value) == ("STATE", over, None)


def _advert(**changes):
    def change(advert):
        advert = dataclasses.replace(advert, **changes)
        signed = advert_message(*dataclasses.astuple(advert)[:5])
        return dataclasses.replace(advert, signature=identities(N)[1].sign(signed))

    return change


UNSIGNED = lambda reply: dataclasses.replace(reply, signature=bytes(64))  # noqa: E731
NOT_SIGNED = "a signature does not verify"
FAULTS = [
    ("advert", _advert(agent_id=OWN), ("NOT_MEMBER", "an advert under another's id")),
    ("advert", _advert(ctx=bytes(32)), ("CTX_MISMATCH", "an advert for another attempt")),
    ("advert", _advert(channel_key=b"\x09" + bytes(31), mask_key=b"\x09" + bytes(31)),
     ("KEY_INVALID", "a public key occurs twice")),
    ("advert", _advert(mask_key=SMALL_ORDER), ("KEY_INVALID", "a public key of small order")),
    ("advert", _advert(mask_key=b"\xff" * 32),
     ("KEY_INVALID", "not the canonical spelling of an X25519 public key")),
    ("advert", UNSIGNED, ("ADVERT_SIGNATURE", NOT_SIGNED)),
    ("share", UNSIGNED, ("KEY_INVALID", NOT_SIGNED)),
    ("share", lambda reply: dataclasses.replace(reply, sealed=reply.sealed[1:]),
     ("GRAPH_MISMATCH", "shares for others than the neighbours")),
    ("masked", UNSIGNED, ("KEY_INVALID", NOT_SIGNED)),
    ("agree", UNSIGNED, ("KEY_INVALID", NOT_SIGNED)),
    ("unmask", UNSIGNED, ("KEY_INVALID", NOT_SIGNED)),
    ("unmask", lambda reply: dataclasses.replace(reply, shares=reply.shares[1:]),
     ("GRAPH_MISMATCH", "shares of others than due")),
]  # fmt: skip


def _faulty(name: str, change) -> tuple[Bench, object, bytes, object]:
    """A stage waiting for PEER, and PEER's answer changed."""
    bench = _bench()
    stage = _until(bench, name)
    body = b"" if name == "advert" else stage.requests()[PEER]
    answer, bulk = ask(bench.sessions[PEER], name, body)
    return bench, stage, change(REPLIES[name](answer)).encode(), bulk


@pytest.mark.parametrize(
    ("name", "change", "due"), FAULTS, ids=[f"{r[0]} {r[2][1][:30]}" for r in FAULTS]
)
def test_the_server_says_what_an_agent_did(name, change, due):
    _, stage, answer, bulk = _faulty(name, change)
    with pytest.raises(PeerFault) as fault:
        stage.accept(PEER, answer, bulk)
    assert _told(fault.value) == (*due, PEER)
    assert PEER in stage.waiting


@pytest.mark.parametrize("name", STAGES)
def test_the_server_says_which_answers_carry_a_vector(name):
    bench, stage, answer, bulk = _faulty(name, lambda reply: reply)
    with pytest.raises(PeerFault) as fault:
        stage.accept(PEER, answer, None if name == "masked" else b"vector")
    due = (
        "a masked reply without its vector" if name == "masked" else "this reply carries no vector"
    )
    assert _told(fault.value) == ("MALFORMED", due, PEER)
    stage.accept(PEER, answer, bulk)
    with pytest.raises(PeerFault) as fault:
        stage.accept(PEER, answer, bulk)
    assert _told(fault.value) == ("STATE", "no answer of this agent is waited for", PEER)
    stage.drop(OWN)
    with pytest.raises(PeerFault) as fault:
        stage.accept(OWN, answer, bulk)
    assert _told(fault.value) == ("STATE", "no answer of this agent is waited for", OWN)
    assert bench.agents[0].id not in stage.waiting


@pytest.mark.parametrize("name", STAGES)
def test_the_server_says_what_it_lacks_and_that_a_stage_is_closed(name):
    bench = _bench()
    stage = _until(bench, name)
    due = {
        "advert": ("COHORT_TOO_SMALL", "U1 has 0 of at least 3 agents", None),
        "share": ("COHORT_TOO_SMALL", "U2 has 0 of at least 3 agents", None),
        "masked": ("COHORT_TOO_SMALL", "U3 has 0 of at least 3 agents", None),
        "agree": ("QUORUM", "V: 0 agents, 4 are needed", None),
        "unmask": ("QUORUM", "5 agents lack shares to unmask them", OWN),
    }[name]
    with pytest.raises(Aborted) as abort:
        stage.close()
    told = _told(abort.value)
    assert told[:2] == due[:2]
    assert (told[2] in IDS) == (due[2] is not None)
    bench.exchange(name, stage)
    stage.close()
    with pytest.raises(Aborted) as abort:
        stage.close()
    assert _told(abort.value) == ("STATE", "this stage is closed", None)


def test_the_server_says_that_a_cohort_has_no_parameters():
    bench = Bench.of(N, params(N, c_min=6))
    stage = bench.stage()
    bench.exchange("advert", stage)
    with pytest.raises(Aborted) as abort:
        stage.close()
    due = "5 members with 6 corrupt and 0 lost have no quorum"
    assert _told(abort.value) == ("GRAPH_MISMATCH", due, None)


def test_an_agent_says_that_a_cohort_has_no_parameters():
    bench = Bench.of(N, params(N, c_min=2))
    message = REQUESTS["share"](_until(bench, "share").requests()[OWN])
    with pytest.raises(Refused) as refusal:
        bench.sessions[OWN].share(dataclasses.replace(message, cohort=message.cohort[:3]).encode())
    due = "3 members of which 2 may be corrupt leave no honest threshold"
    assert _told(refusal.value) == ("GRAPH_MISMATCH", due, None)


def test_a_sealed_share_has_the_length_that_is_parsed():
    bench = _bench()
    reply = REPLIES["share"](bench.sessions[OWN].share(_until(bench, "share").requests()[OWN]))
    assert {len(sealed) for _, sealed, _ in reply.sealed} == {SEALED_BYTES}
    assert [receiver for receiver, *_ in reply.sealed] == IDS[1:]
