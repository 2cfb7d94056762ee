import multiprocessing
import stat

import pytest
from enrollment_bench import NOW, Device
from pydantic import ValidationError

from edgeveil.agent.home.home import AgentHome, Pinned
from edgeveil.shared.base.errors import (
    Busy,
    EnrollmentError,
    ProtocolError,
    RefusalCode,
    StateDamaged,
)
from edgeveil.shared.wire.identity import Identity
from edgeveil.shared.wire.messages import Attempt
from edgeveil.shared.wire.roster import Roster, SignedRoster, agent_id, federation_id
from edgeveil.shared.wire.tokens import Token

FEDERATION = Identity.generate()


TOKEN = Token(
    "https://localhost:8443", b"a" * 16, b"f" * 16, b"c" * 16, b"s" * 16, 2_000_000_000, "cam-1"
)


def pin(home, **changes):
    home.ensure_keys()
    values = {
        "url": "https://localhost:8443",
        "ca_pem": b"-----BEGIN CERTIFICATE-----\n",
        "coordinator_public": b"\x01" * 32,
        "federation_public": FEDERATION.public,
        "name": "cam-1",
        "agent_id": agent_id(home.identity().public),
        "token_id": b"\x02" * 16,
        "state": "pending",
    }
    pinned = Pinned(**(values | changes))
    home.save_pinned(pinned)
    return pinned


@pytest.fixture
def home(tmp_path):
    return AgentHome(tmp_path / "home")


@pytest.fixture
def joined(home):
    pin(home)
    return home


def roster(epoch, *members, expires=int(NOW) + 1000, issued=int(NOW), federation=FEDERATION):
    held = {agent_id(public): public for public in members}
    made = Roster(federation_id(federation.public), epoch, issued, expires, held)
    signed = SignedRoster.sign(made, federation)
    return made.body(), signed.signature


def refusal(caught):
    return caught.value.code


# Folder and keys


def test_everything_in_the_home_is_private(joined):
    joined.accept_roster(*roster(1, joined.identity().public), now=NOW)
    joined.next_session()
    joined.advance(Attempt("run-1", 1, 1))
    joined.save_join_token(TOKEN)
    with joined.lock():
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in joined.path.iterdir()}
    assert stat.S_IMODE(joined.path.stat().st_mode) == 0o700
    assert set(modes.values()) == {0o600}
    assert {"identity.key", "node.key", "pinned.json", "roster.json", "rounds.json"} <= set(modes)


def test_an_unusable_folder_is_named(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StateDamaged, match="file"):
        AgentHome(tmp_path / "file")


def test_keys_are_made_once(home):
    home.ensure_keys()
    first = (home.identity().public, home.node_public_pem())
    home.ensure_keys()
    assert (AgentHome(home.path).identity().public, home.node_public_pem()) == first


@pytest.mark.parametrize("name", ["identity.key", "node.key"])
def test_a_joined_device_never_replaces_a_lost_key(joined, name):
    (joined.path / name).unlink()
    with pytest.raises(StateDamaged, match=name):
        joined.ensure_keys()
    assert not (joined.path / name).exists()


def test_another_identity_than_the_one_that_joined_is_refused(joined):
    Identity.generate().save(joined.path / "identity.key")
    with pytest.raises(StateDamaged, match="not the key this agent joined with"):
        joined.identity()


@pytest.mark.parametrize("name", ["identity.key", "node.key", "pinned.json"])
def test_a_file_readable_by_others_or_a_symlink_is_refused(joined, name, tmp_path):
    path = joined.path / name
    path.chmod(0o644)
    with pytest.raises(StateDamaged, match="chmod 600"):
        joined.ensure_keys()
    path.chmod(0o600)
    path.rename(tmp_path / "moved")
    path.symlink_to(tmp_path / "moved")
    with pytest.raises(StateDamaged, match=name):
        joined.ensure_keys()


def test_a_damaged_node_key_is_named(joined):
    (joined.path / "node.key").write_bytes(b"garbage")
    with pytest.raises(StateDamaged, match=r"node\.key"):
        joined.node_key()


def _hold(path, ready, release):
    with AgentHome(path).lock():
        ready.set()
        release.wait(120)


def test_a_second_agent_on_one_home_is_turned_away(joined):
    context = multiprocessing.get_context("fork")
    ready, release = context.Event(), context.Event()
    holder = context.Process(target=_hold, args=(joined.path, ready, release))
    holder.start()
    try:
        assert ready.wait(60)
        with pytest.raises(Busy, match="agent run"), joined.lock():
            pass
    finally:
        release.set()
        holder.join(60)
    with joined.lock():
        pass


# Pins


def test_the_pins_come_back(home):
    with pytest.raises(EnrollmentError, match="agent join TOKEN"):
        home.pinned()
    pinned = pin(home)
    assert AgentHome(home.path).pinned() == pinned


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "http://localhost"},
        {"federation_public": b"short"},
        {"name": "../x"},
        {"state": "admin"},
        {"extra": 1},
    ],
)
def test_a_pin_that_cannot_be_is_not_written(home, wrong):
    with pytest.raises(ValidationError):
        pin(home, **wrong)
    assert home.find_pinned() is None


@pytest.mark.parametrize("name", ["pinned.json", "roster.json", "session.json", "rounds.json"])
@pytest.mark.parametrize("content", [b"", b"{}x", b"[]", b'{"a": 1}', b"\xff", b"[" * 100_000])
def test_a_damaged_file_stops_the_agent_and_is_named(joined, name, content):
    joined.accept_roster(*roster(1, joined.identity().public), now=NOW)
    joined.next_session()
    joined.advance(Attempt("run-1", 1, 1))
    (joined.path / name).write_bytes(content)
    use = {
        "pinned.json": joined.pinned,
        "roster.json": joined.roster,
        "session.json": joined.next_session,
        "rounds.json": lambda: joined.advance(Attempt("run-1", 2, 1)),
    }[name]
    with pytest.raises(StateDamaged, match=name.replace(".", r"\.")):
        use()
    assert (joined.path / name).read_bytes() == content


def test_the_join_token_can_be_erased(home):
    assert home.join_token() is None
    home.save_join_token(TOKEN)
    assert home.join_token() == TOKEN
    home.erase_join_token()
    home.erase_join_token()
    assert home.join_token() is None


def test_a_damaged_join_token_is_named(home):
    home.save_join_token(TOKEN)
    (home.path / "join.token").write_text("ev1.AAAA")
    with pytest.raises(StateDamaged, match=r"join\.token"):
        home.join_token()


# The roster


def test_a_newer_roster_is_kept(joined):
    me = joined.identity().public
    assert joined.roster() is None
    assert joined.accept_roster(*roster(1, me), now=NOW).epoch == 1
    assert joined.accept_roster(*roster(3, me, Device().identity.public), now=NOW).epoch == 3
    assert AgentHome(joined.path).roster().roster.epoch == 3


def test_the_same_roster_again_writes_nothing(joined):
    offered = roster(1, joined.identity().public)
    joined.accept_roster(*offered, now=NOW)
    before = (joined.path / "roster.json").stat().st_ino
    joined.accept_roster(*offered, now=NOW)
    assert (joined.path / "roster.json").stat().st_ino == before


def test_a_roster_signed_by_anybody_else_is_refused(joined):
    me, stranger = joined.identity().public, Identity.generate()
    body, signature = roster(1, me)
    forged = roster(1, me, federation=stranger)
    for wrong in (forged, (body, stranger.sign(body)), (body + b"x", signature), (b"", signature)):
        with pytest.raises(ProtocolError) as caught:
            joined.accept_roster(*wrong, now=NOW)
        assert refusal(caught) is RefusalCode.ROSTER_SIGNATURE
    assert joined.roster() is None


def test_an_older_roster_never_comes_back(joined):
    me = joined.identity().public
    joined.accept_roster(*roster(2, me), now=NOW)
    with pytest.raises(ProtocolError) as caught:
        joined.accept_roster(*roster(1, me), now=NOW)
    assert refusal(caught) is RefusalCode.ROSTER_STALE


def test_two_rosters_of_one_epoch_are_an_equivocation(joined):
    me = joined.identity().public
    joined.accept_roster(*roster(2, me), now=NOW)
    with pytest.raises(ProtocolError) as caught:
        joined.accept_roster(*roster(2, me, Device().identity.public), now=NOW)
    assert refusal(caught) is RefusalCode.EQUIVOCATION


def test_an_expired_roster_is_tolerated_for_a_day(joined):
    offered = roster(1, joined.identity().public, expires=int(NOW))
    joined.accept_roster(*offered, now=NOW + 86_400)
    with pytest.raises(ProtocolError) as caught:
        joined.accept_roster(*offered, now=NOW + 86_401)
    assert refusal(caught) is RefusalCode.ROSTER_EXPIRED


def test_a_roster_without_this_device_is_refused_and_bars_the_way_back(joined):
    me = joined.identity().public
    with_me = roster(1, me)
    joined.accept_roster(*with_me, now=NOW)
    with pytest.raises(ProtocolError) as caught:
        joined.accept_roster(*roster(2, Device().identity.public), now=NOW)
    assert refusal(caught) is RefusalCode.NOT_MEMBER
    with pytest.raises(ProtocolError) as caught:
        joined.accept_roster(*with_me, now=NOW)
    assert refusal(caught) is RefusalCode.ROSTER_STALE


def test_a_stored_roster_that_was_edited_is_found(joined):
    body, signature = roster(1, joined.identity().public)
    joined.accept_roster(body, signature, now=NOW)
    path = joined.path / "roster.json"
    other, _ = roster(9, joined.identity().public)
    path.write_bytes(path.read_bytes().replace(body.hex().encode(), other.hex().encode()))
    with pytest.raises(StateDamaged, match=r"roster\.json"):
        joined.roster()


# Counters


def test_sessions_count_up_over_restarts(joined):
    assert [AgentHome(joined.path).next_session() for _ in range(3)] == [1, 2, 3]


def test_an_attempt_is_taken_once_and_never_an_earlier_one(joined):
    joined.advance(Attempt("run-1", 2, 1))
    joined.advance(Attempt("run-1", 2, 2))
    for replay in ((2, 2), (2, 1), (1, 9)):
        with pytest.raises(ProtocolError) as caught:
            AgentHome(joined.path).advance(Attempt("run-1", *replay))
        assert refusal(caught) is RefusalCode.ROUND_REPLAY
    assert joined.last_attempt("run-1") == Attempt("run-1", 2, 2)
    joined.advance(Attempt("run-1", 3, 1))
    joined.advance(Attempt("run-2", 1, 1))
    assert joined.last_attempt("run-1") == Attempt("run-1", 3, 1)
    assert joined.last_attempt("run-3") is None


def test_what_could_not_be_saved_is_not_taken(joined):
    joined.advance(Attempt("run-1", 1, 1))
    joined.path.joinpath("rounds.json.tmp").mkdir()
    with pytest.raises(OSError, match="directory"):
        joined.advance(Attempt("run-1", 2, 1))
    assert joined.last_attempt("run-1") == Attempt("run-1", 1, 1)
