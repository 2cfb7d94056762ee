import socket
import threading
import time
from dataclasses import replace

import pytest
from enrollment_bench import TurnableClock, running_coordinator, tls_server
from load_bench import Stopwatch

from edgeveil.agent.home.home import AgentHome
from edgeveil.agent.joining.authority import fetch_authority
from edgeveil.agent.joining.enrollment import JoinState, join, refresh, wait_until_member
from edgeveil.coordinator.federation.certificates import ensure_leaf
from edgeveil.shared.base.errors import EnrollmentError, TransportError
from edgeveil.shared.wire.certificates import pinned_context
from edgeveil.shared.wire.roster import agent_id

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def bench(tmp_path):
    with running_coordinator(tmp_path / "coordinator") as running:
        yield running


@pytest.fixture
def home(tmp_path):
    return AgentHome(tmp_path / "agent")


def test_a_device_joins_and_becomes_a_member(bench, home):
    (token,) = bench.invite("cam-1")
    state = join(home, token)
    assert state == JoinState("pending", agent_id(home.identity().public), "cam-1")
    pinned = home.pinned()
    assert pinned.ca_pem == (bench.folder / "tls" / "ca.pem").read_bytes()
    assert pinned.coordinator_public == bench.coordinator.public
    assert pinned.federation_public == bench.federation.public
    (agent,) = bench.store.agents()
    assert agent.identity_public == home.identity().public
    assert agent.node_public == home.node_public_pem()
    bench.sign_and_import()
    assert refresh(home) == replace(state, state="member")
    assert home.roster() == bench.store.roster()
    assert home.pinned().state == "member"


def test_the_secret_is_kept_until_the_device_is_a_member_and_no_longer(bench, home):
    (token,) = bench.invite("cam-1")
    join(home, token)
    assert home.join_token() == token
    bench.sign_and_import()
    refresh(home)
    for path in home.path.iterdir():
        assert token.secret not in path.read_bytes()
        assert token.secret.hex().encode() not in path.read_bytes()


def test_joining_again_with_the_same_token_changes_nothing(bench, home):
    (token,) = bench.invite("cam-1")
    first = join(home, token)
    assert join(AgentHome(home.path), token) == first
    bench.sign_and_import()
    member = join(home, token)
    assert member.state == "member"
    assert len(bench.store.agents()) == 1
    bench.store.close()
    assert join(home, token) == member


def test_a_join_whose_answer_was_lost_is_repeated_with_the_same_keys(bench, home):
    (token,) = bench.invite("cam-1")
    join(home, token)
    keys = (home.identity().public, home.node_public_pem())
    (home.path / "pinned.json").unlink()
    assert join(home, token).state == "pending"
    assert (home.identity().public, home.node_public_pem()) == keys


def test_a_home_belongs_to_one_token(bench, home):
    first, second = bench.invite("a", "b")
    join(home, first)
    with pytest.raises(EnrollmentError, match=r"already joined .* as a"):
        join(home, second)
    assert [agent.name for agent in bench.store.agents()] == ["a"]


def test_a_refused_token_can_be_followed_by_a_good_one(bench, home):
    (stale,) = bench.invite("a", ttl_s=10)
    bench.clock.seconds += 11
    with pytest.raises(EnrollmentError, match="expired; ask the operator"):
        join(home, stale)
    (fresh,) = bench.invite("a")
    assert join(home, fresh).state == "pending"


def test_a_token_with_a_wrong_secret_is_told(bench, home):
    (token,) = bench.invite("a")
    with pytest.raises(EnrollmentError, match="does not know this token"):
        join(home, replace(token, secret=b"?" * 16))


def test_a_used_token_is_told(bench, home, tmp_path):
    (token,) = bench.invite("a")
    join(home, token)
    with pytest.raises(EnrollmentError, match="another device has already joined"):
        join(AgentHome(tmp_path / "thief"), token)


def test_a_replaced_token_is_told(bench, home):
    (old,) = bench.invite("a")
    bench.invite("a")
    with pytest.raises(EnrollmentError, match="does not know this token"):
        join(home, old)


def test_a_revoked_device_is_told(bench, home):
    (token,) = bench.invite("a")
    join(home, token)
    bench.store.revoke("a")
    with pytest.raises(EnrollmentError, match="revoked"):
        refresh(home)


def test_a_server_with_another_authority_gets_nothing(bench, home, tmp_path):
    (token,) = bench.invite("a")
    chain, key = ensure_leaf(tmp_path / "other", ["localhost"])
    with tls_server(bench, chain, key) as port:
        impostor = replace(token, url=f"https://localhost:{port}")
        with pytest.raises(EnrollmentError, match="does not show the certificate authority"):
            join(home, impostor)
    assert list(home.path.iterdir()) == []
    assert bench.store.agents() == []


def test_the_right_authority_behind_a_foreign_leaf_is_not_trusted(bench, home, tmp_path):
    """Anybody can copy the public CA certificate into a chain; the fingerprint alone must not do."""
    (token,) = bench.invite("a")
    chain, key = ensure_leaf(tmp_path / "other", ["localhost"])
    leaf = chain.read_bytes().split(b"-----END CERTIFICATE-----\n")[0]
    pem = leaf + b"-----END CERTIFICATE-----\n" + (bench.folder / "tls" / "ca.pem").read_bytes()
    chain.write_bytes(pem)
    with tls_server(bench, chain, key) as port:
        impostor = replace(token, url=f"https://localhost:{port}")
        with pytest.raises(TransportError, match="certificate does not verify"):
            join(home, impostor)
    assert bench.store.agents() == []


def test_a_certificate_for_another_host_is_not_trusted(bench, home):
    (token,) = bench.invite("a")
    tls = bench.folder / "tls"
    with (
        tls_server(bench, tls / "server.pem", tls / "server.key", host="127.0.0.2") as port,
        pytest.raises(TransportError, match=r"does not verify: it is for another address"),
    ):
        join(home, replace(token, url=f"https://127.0.0.2:{port}"))
    assert bench.store.agents() == []


def test_an_expired_certificate_is_not_trusted(bench, home, tmp_path):
    (token,) = bench.invite("a")
    past = TurnableClock(time.time() - 100 * 86_400)
    folder = tmp_path / "late"
    folder.mkdir()
    for name in ("ca.pem", "ca.key"):
        (folder / name).write_bytes((bench.folder / "tls" / name).read_bytes())
        (folder / name).chmod(0o600)
    chain, key = ensure_leaf(folder, ["localhost"], clock=past)
    with (
        tls_server(bench, chain, key) as port,
        pytest.raises(TransportError, match="expired"),
    ):
        join(home, replace(token, url=f"https://localhost:{port}"))


def test_an_unreachable_coordinator_is_a_transport_error(bench, home):
    (token,) = bench.invite("a")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(TransportError, match="cannot be reached"):
        join(home, replace(token, url=f"https://localhost:{port}"))
    assert home.find_pinned() is None


def test_a_silent_server_is_given_up_at_the_deadline(bench, home):
    (token,) = bench.invite("a")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with Stopwatch() as watch, pytest.raises(TransportError):
            join(home, replace(token, url=f"https://127.0.0.1:{port}"), timeout_s=0.3)
        assert watch.within(5), watch


def test_a_server_that_speaks_no_tls_is_told(bench, home):
    (token,) = bench.invite("a")
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer():
            connection, _ = listener.accept()
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            connection.close()

        thread = threading.Thread(target=answer)
        thread.start()
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(TransportError):
            join(home, replace(token, url=url), timeout_s=60)
        thread.join(60)


def test_a_proxy_of_the_environment_is_ignored(bench, home, monkeypatch):
    for name in ("HTTPS_PROXY", "ALL_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert join(home, bench.invite("a")[0]).state == "pending"


def test_the_authority_is_found_by_its_fingerprint_alone(bench):
    pem = fetch_authority(bench.url, bench.authority, timeout_s=60)
    assert pem == (bench.folder / "tls" / "ca.pem").read_bytes()
    assert pinned_context(pem).check_hostname


def test_waiting_ends_with_the_signed_roster(bench, home):
    join(home, bench.invite("a")[0])
    said = []

    def on_status(sentence):
        said.append(sentence)
        if len(said) == 1:
            bench.sign_and_import()

    state = wait_until_member(home, threading.Event(), on_status, every_s=0.02)
    assert state.state == "member"
    assert [one.split(": ")[1][:7] for one in said] == ["waiting", "on the "]


def test_waiting_survives_a_coordinator_that_is_away(bench, home):
    join(home, bench.invite("a")[0])
    good = home.pinned()
    home.save_pinned(good.model_copy(update={"url": "https://localhost:1"}))
    said = []

    def on_status(sentence):
        said.append(sentence)
        if "cannot be reached" in sentence:
            home.save_pinned(good)
            bench.sign_and_import()

    assert wait_until_member(home, threading.Event(), on_status, every_s=0.02).state == "member"
    assert "trying again" in said[0]


def test_waiting_can_be_stopped(bench, home):
    join(home, bench.invite("a")[0])
    stop = threading.Event()
    state = wait_until_member(home, stop, lambda _: stop.set(), every_s=30)
    assert state.state == "pending"


def test_waiting_ends_when_the_device_is_revoked(bench, home):
    join(home, bench.invite("a")[0])
    bench.store.revoke("a")
    with pytest.raises(EnrollmentError, match="revoked"):
        wait_until_member(home, threading.Event(), lambda _: None, every_s=0.02)


def test_waiting_needs_a_join(home):
    with pytest.raises(EnrollmentError, match="not enrolled yet"):
        wait_until_member(home, threading.Event(), lambda _: None)


def test_a_roster_this_device_must_refuse_makes_no_member(bench, home):
    join(home, bench.invite("a")[0])
    bench.sign_and_import(TurnableClock(bench.clock.seconds - 200 * 86_400))
    with pytest.raises(EnrollmentError, match="ROSTER_EXPIRED"):
        refresh(home)
    assert home.pinned().state == "pending"
    assert home.join_token() is not None
