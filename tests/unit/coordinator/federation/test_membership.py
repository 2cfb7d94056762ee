"""approve, revoke, rename, hold: in the database, at the desk and on the exported roster."""

import pytest
from enrollment_bench import Bench, Device
from events_bench import read_events
from store_bench import add_agent

from edgeveil.coordinator.federation.membership import agents_of, change_in
from edgeveil.coordinator.federation.roster_files import RosterFile, is_due, sign_roster
from edgeveil.coordinator.machine.transport import Presence
from edgeveil.coordinator.store.store import Store
from edgeveil.shared.base.errors import ConfigError, EnrollmentError


@pytest.fixture
def bench(tmp_path):
    made = Bench(tmp_path)
    yield made
    made.close()


def change(bench, kind, *names, new=""):
    return change_in(bench.store, bench.events, kind, names, new)


def enrol(bench, *names, hold=False):
    devices = [Device() for _ in names]
    for token, device in zip(bench.invite(*names, hold=hold), devices, strict=True):
        assert bench.post(device.request(token))[0] == 200
    return devices


def states(bench, presence=None):
    return {agent["name"]: agent["state"] for agent in agents_of(bench.store, presence or {})}


def test_a_held_device_is_on_no_roster_until_it_is_approved(bench):
    (token,) = bench.invite("held", hold=True)
    device = Device()
    assert bench.post(device.request(token))[1]["approved"] is False
    enrol(bench, "free")
    assert states(bench) == {"held": "held", "free": "pending"}
    assert set(RosterFile.decode(bench.export()).names.values()) == {"free"}
    change(bench, "approve", "held")
    assert bench.post(device.request(token))[1]["approved"] is True
    assert set(RosterFile.decode(bench.export()).names.values()) == {"free", "held"}


def test_a_signed_roster_does_not_replace_the_operators_approval(bench):
    enrol(bench, "a", "held", hold=True)
    change(bench, "approve", "a", "held")
    signed = sign_roster(bench.export(), bench.federation)
    with bench.store._database.writing() as connection:
        connection.exec_driver_sql("UPDATE members SET held = 1 WHERE name = 'held'")
    from edgeveil.coordinator.federation.roster_files import import_roster

    with pytest.raises(EnrollmentError, match="agents approve held"):
        import_roster(bench.store, signed, bench.federation.public, clock=bench.clock)


def test_a_revoked_name_is_free_and_its_key_is_not(bench):
    device, _ = enrol(bench, "a", "b")
    bench.sign_and_import()
    change(bench, "revoke", "a")
    (token,) = bench.invite("a")
    assert bench.post(device.request(token))[1]["code"] == "revoked"
    assert bench.post(Device().request(token))[0] == 200
    assert sorted(agent["state"] for agent in agents_of(bench.store, {})) == [
        "offline", "pending", "revoked",
    ]  # fmt: skip


def test_the_last_member_can_be_taken_off_the_roster(bench):
    enrol(bench, "a")
    bench.sign_and_import()
    change(bench, "revoke", "a")
    assert is_due(bench.store, clock=bench.clock)
    bench.sign_and_import()
    assert bench.store.roster().roster.members == {}
    assert not is_due(bench.store, clock=bench.clock)


def test_a_roster_is_due_when_it_misses_somebody_or_a_third_is_over(bench):
    assert not is_due(bench.store, clock=bench.clock)
    enrol(bench, "a")
    assert is_due(bench.store, clock=bench.clock)
    bench.sign_and_import()
    assert not is_due(bench.store, clock=bench.clock)
    bench.clock.seconds += 31 * 86_400
    assert is_due(bench.store, clock=bench.clock)


def test_a_renamed_device_is_the_same_device(bench):
    (token,) = bench.invite("old")
    device = Device()
    bench.post(device.request(token))
    change(bench, "rename", "old", new="new")
    status, answer = bench.post(device.request(token))
    assert (status, answer["name"]) == (200, "new")
    assert states(bench) == {"new": "pending"}


def test_a_name_in_use_is_not_given_twice(bench):
    enrol(bench, "a", "b")
    with pytest.raises(EnrollmentError, match="another agent is called b"):
        change(bench, "rename", "a", new="b")
    assert states(bench) == {"a": "pending", "b": "pending"}


@pytest.mark.parametrize("kind", ["approve", "revoke", "rename"])
def test_an_unknown_name_changes_nothing(bench, kind):
    enrol(bench, "a")
    with pytest.raises(ConfigError, match="no agent named 'nobody'"):
        change(bench, kind, *(["nobody"] if kind == "rename" else ["a", "nobody"]), new="x")
    assert states(bench) == {"a": "pending"}


@pytest.mark.parametrize("name", ["../a", "a\nb", "a\x1b[31m", "", "A", "a" * 41, "\u202ea", "a\0"])
def test_a_name_is_a_name(bench, name):
    enrol(bench, "a")
    with pytest.raises(ConfigError):
        change(bench, "rename", "a", new=name)
    with pytest.raises(ConfigError):
        change(bench, "revoke", name)


def test_every_change_is_logged_by_name(bench):
    enrol(bench, "a", hold=True)
    change(bench, "approve", "a")
    change(bench, "rename", "a", new="b")
    change(bench, "revoke", "b")
    found = [(line.event, line.agent) for line in read_events(bench.events_path)]
    assert found[-3:] == [("agent.approve", "a"), ("agent.rename", "a"), ("agent.revoke", "b")]


def test_presence_wins_over_the_roster_but_not_over_revocation(bench):
    a, b = enrol(bench, "a", "b")
    bench.sign_and_import()
    change(bench, "revoke", "b")
    seen = {device.agent_id: Presence(True, 1.0) for device in (a, b)}
    assert states(bench, seen) == {"a": "connected", "b": "revoked"}


def test_a_database_of_the_first_schema_is_migrated_and_holds_nobody(tmp_path):
    with Store.open(tmp_path, create=True) as store:
        add_agent(store, Device().enrolled("old"))
    import sqlite3

    with sqlite3.connect(tmp_path / "state.db") as plain:
        plain.execute("DROP TABLE charges")
        plain.execute("DROP INDEX rounds_totals")
        for name in ("seconds", "bytes_up", "bytes_down", "survivors"):
            plain.execute(f"ALTER TABLE rounds DROP COLUMN {name}")
        plain.execute("ALTER TABLE members DROP COLUMN held")
        plain.execute("ALTER TABLE invites DROP COLUMN hold")
        plain.execute("UPDATE alembic_version SET version_num = '0001'")
    with Store.open(tmp_path) as store:
        assert [(agent.name, agent.held) for agent in store.agents()] == [("old", False)]
