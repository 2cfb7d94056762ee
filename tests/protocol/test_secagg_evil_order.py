"""A coordinator that sends twice, too early, too late, or junk: the agent answers alike or refuses, and is erased."""

import pytest
from secagg_bench import STAGES, Bench
from secagg_lies_bench import N, altered, honest_request, replace

from edgeveil.shared.secagg.agreement import messages
from edgeveil.shared.secagg.primitives.errors import Refused


@pytest.mark.parametrize("name", STAGES[1:])
def test_an_identical_request_gets_the_identical_reply(name):
    bench = Bench.of(N)
    session, body = honest_request(bench, name)
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
    session, body = honest_request(bench, name)
    getattr(session, name)(body)
    with pytest.raises(Refused) as refusal:
        getattr(session, name)(altered(name, body, change))
    assert refusal.value.code == "EQUIVOCATION"
    assert session.state == "ABORTED"


def test_a_past_request_altered_later_is_equivocation():
    bench = Bench.of(N)
    session, _ = honest_request(bench, "unmask")
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
    session, body = honest_request(bench, "unmask")
    share_request = next(t[2] for t in bench.traffic if t[:2] == ("share", bench.agents[0].id))
    reply = session.unmask(body)
    with pytest.raises(Refused, match="the attempt is over"):
        session.share(share_request)
    assert session.unmask(body) == reply, "a stale retry must not cost the last reply"


@pytest.mark.parametrize("name", STAGES[1:])
@pytest.mark.parametrize("body", [b"", b"\x00", b"\xff" * 300], ids=["empty", "zero", "noise"])
def test_junk_is_malformed_and_erases(name, body):
    bench = Bench.of(N)
    session, _ = honest_request(bench, name)
    with pytest.raises(Refused) as refusal:
        getattr(session, name)(body)
    assert refusal.value.code == "MALFORMED"
    assert session.state == "ABORTED"


def test_another_attempt_s_messages_do_not_fit():
    bench, other = Bench.of(N), Bench.of(N, ctx=bytes(32))
    session, _ = honest_request(bench, "share")
    _, foreign = honest_request(other, "share")
    with pytest.raises(Refused) as refusal:
        session.share(foreign)
    assert refusal.value.code == "U1_INVALID"


def test_a_fair_session_refuses_nothing():
    bench = Bench.of(N)
    result = bench.play()
    assert not bench.refusals
    assert {session.state for session in bench.sessions.values()} == {"DONE"}
    assert (result.lanes == bench.expected(result)).all()
