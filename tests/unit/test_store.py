import multiprocessing
import os
import sqlite3
import stat
import subprocess
import sys
import threading
import traceback
from contextlib import ExitStack
from dataclasses import replace

import pytest
from enrollment_bench import NOW, Device, TurnableClock
from sqlalchemy.exc import IntegrityError

from coordinator.records import Invite, InviteState, Outcome, RoundRecord, RunState, Totals
from coordinator.store import Store, schema
from coordinator.store.database import Database
from coordinator.store.migrations.versions.v0003_totals import CHARGED
from shared.errors import Busy, ConfigError, EnrollmentError, StateDamaged
from shared.identity import Identity
from shared.roster import Roster, SignedRoster, federation_id

FEDERATION = Identity.generate()


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path, create=True, clock=TurnableClock()) as opened:
        yield opened


def record(run_id, round_number=1, attempt=1, outcome=Outcome.COMMITTED, **more):
    return RoundRecord(run_id, round_number, attempt, outcome, **more)


def invite(name, token_id=None):
    return Invite(token_id or os.urandom(16), name, b"k" * 32, 100, InviteState.OPEN)


def signed_roster(epoch, *devices):
    members = {device.agent_id: device.identity.public for device in devices}
    roster = Roster(federation_id(FEDERATION.public), epoch, 1, 2, members)
    return SignedRoster.sign(roster, FEDERATION)


# Opening


def test_an_absent_database_is_only_made_on_demand(tmp_path):
    for read_only in (False, True):
        with pytest.raises(ConfigError, match="coordinator init"):
            Store.open(tmp_path, read_only=read_only)
    assert list(tmp_path.iterdir()) == []


def test_every_file_of_the_database_is_private(tmp_path, store):
    store.set_meta("a", "b")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == dict.fromkeys(("state.db", "state.db-wal", "state.db-shm"), 0o600)


def test_each_connection_is_durable_and_strict(tmp_path, store):
    with store._database.reading() as connection:
        values = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "secure_delete")
        }
    assert values == {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "secure_delete": 1,
    }


def test_a_database_open_to_others_is_refused(tmp_path, store):
    (tmp_path / "state.db").chmod(0o640)
    with pytest.raises(StateDamaged, match="chmod 600"):
        Store.open(tmp_path)


def test_a_symlink_is_not_a_database(tmp_path, store):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "state.db").symlink_to(tmp_path / "state.db")
    with pytest.raises(StateDamaged, match="regular file"):
        Store.open(elsewhere)


@pytest.mark.parametrize("read_only", [False, True])
def test_garbage_is_reported_as_damage(tmp_path, read_only):
    path = tmp_path / "state.db"
    path.write_bytes(b"this is not a database" * 500)
    path.chmod(0o600)
    with pytest.raises(StateDamaged, match=r"state\.db.*backup"):
        Store.open(tmp_path, read_only=read_only)


def test_a_damaged_page_is_found_on_opening(tmp_path):
    with Store.open(tmp_path, create=True) as store:
        for number in range(200):
            store.create_run(f"plan {number} " + "x" * 500, "h")
    path = tmp_path / "state.db"
    data = bytearray(path.read_bytes())
    for page in range(5, len(data) // 4096):
        data[page * 4096 : page * 4096 + 200] = os.urandom(200)
    path.write_bytes(data)
    with pytest.raises(StateDamaged):
        Store.open(tmp_path)


def test_a_newer_schema_is_refused_with_the_way_out(tmp_path, store):
    with sqlite3.connect(tmp_path / "state.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StateDamaged, match=r"newer version.*upgrade again or restore"):
        Store.open(tmp_path)


def test_an_older_schema_is_migrated_by_a_writer_and_explained_to_a_reader(tmp_path):
    path = tmp_path / "state.db"
    path.touch(mode=0o600)
    with pytest.raises(ConfigError, match="older version"):
        Store.open(tmp_path, read_only=True)
    Store.open(tmp_path).close()
    Store.open(tmp_path, read_only=True).close()


def test_the_migrations_lead_to_the_declared_schema(tmp_path, store):
    from alembic.autogenerate import compare_metadata
    from alembic.config import Config
    from alembic.migration import MigrationContext
    from alembic.script import ScriptDirectory

    import coordinator.store.migrations

    config = Config()
    config.set_main_option("script_location", coordinator.store.migrations.__path__[0])
    assert ScriptDirectory.from_config(config).get_heads() == [schema.HEAD]
    with store._database.reading() as connection:
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, schema.metadata) == []
        for table in schema.metadata.tables.values():
            for index in table.indexes:
                query = "SELECT sql FROM sqlite_master WHERE type = 'index' AND name = ?"
                sql = connection.exec_driver_sql(query, (index.name,)).scalar()
                condition = index.dialect_options["sqlite"]["where"]
                assert condition is None or f"WHERE {condition}" in sql


def _open_and_leave(home):
    Store.open(home, create=True).close()


def test_several_processes_may_create_the_database_at_once(tmp_path):
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_open_and_leave, args=(tmp_path,)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0] * 4


def test_a_read_only_store_cannot_write(tmp_path, store):
    run = store.create_run("plan", "hash")
    with Store.open(tmp_path, read_only=True) as reader:
        assert reader.run(run.run_id) == run
        with pytest.raises(ConfigError, match="cannot be opened for writing"):
            reader.set_meta("a", "b")


def test_a_reader_sees_what_a_writer_left_after_both_closed(tmp_path):
    with Store.open(tmp_path, create=True) as store:
        run = store.create_run("plan", "hash")
    for _ in range(2):
        with Store.open(tmp_path, read_only=True) as reader:
            assert reader.last_run() == run


def test_opening_read_only_is_cheap_and_does_not_import_alembic(tmp_path, store):
    store.create_run("plan", "hash")
    code = (
        "import sys, time, pathlib\n"
        "from coordinator.store import Store\n"
        "store = Store.open(pathlib.Path(sys.argv[1]), read_only=True)\n"
        "assert len(store.runs()) == 1 and store.rounds() == []\n"
        "store.close()\n"
        "heavy = {'alembic', 'torch', 'flwr', 'opacus'} & set(sys.modules)\n"
        "print(time.process_time(), *heavy)\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    ).stdout.split()
    assert found[1:] == []
    assert float(found[0]) < 1.5  # 0.4 on a machine that shares its caches with twenty others


def test_a_writer_that_waits_too_long_is_told_that_another_one_is_busy(
    tmp_path, store, monkeypatch
):
    monkeypatch.setattr("coordinator.store.database.LOCK_TIMEOUT_S", 0.1)
    with (
        Store.open(tmp_path) as second,
        store._database.writing(),
        pytest.raises(Busy, match="locked"),
    ):
        second.set_meta("a", "b")


def test_more_callers_than_connections_are_told_to_try_again(tmp_path, store, monkeypatch):
    monkeypatch.setattr("coordinator.store.database.LOCK_TIMEOUT_S", 0.1)
    with Store.open(tmp_path) as crowded, ExitStack() as callers:
        for _ in range(15):
            callers.enter_context(crowded._database.reading())
        with pytest.raises(Busy, match="too many requests"):
            crowded.meta("a")


def test_a_full_disk_loses_nothing_and_is_temporary(tmp_path, store):
    store.set_meta("kept", "yes")
    with store._database.reading() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
    original = Database._connect

    def small(self):
        connection = original(self)
        connection.execute(f"PRAGMA max_page_count={pages}")
        return connection

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Database, "_connect", small)
        with Store.open(tmp_path) as full, pytest.raises(Busy, match="disk is full"):
            full.set_meta("big", "x" * 1_000_000)
    assert store.meta("kept") == "yes"
    assert store.meta("big") is None


def test_a_block_that_fails_leaves_no_trace(store):

    def half():
        with store._database.writing() as connection:
            connection.execute(schema.meta.insert().values(key="a", value="b"))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        half()
    assert store.meta("a") is None


def test_meta_keeps_the_last_value(store):
    store.set_meta("a", "1")
    store.set_meta("a", "2")
    assert (store.meta("a"), store.meta("b")) == ("2", None)


# Agents and roster


def test_a_new_invite_replaces_the_unused_one_of_its_name(store):
    first, second = invite("a"), invite("a")
    store.replace_invites([first, invite("b")])
    store.replace_invites([second])
    assert store.invite(first.token_id) is None
    assert {one.name: one.token_id for one in store.invites()}["a"] == second.token_id
    assert len(store.invites()) == 2


def test_inviting_an_enrolled_name_stores_none_of_the_batch(store):
    store.add_agent(Device().enrolled("taken"))
    with pytest.raises(EnrollmentError, match="taken"):
        store.replace_invites([invite("fresh"), invite("taken")])
    assert store.invites() == []


def test_an_invite_is_used_once_and_never_deleted_after(store):
    one, device = invite("a"), Device()
    store.replace_invites([one])
    store.redeem(one.token_id, device.enrolled("a"))
    used = store.invite(one.token_id)
    assert (used.state, used.agent_id) == (InviteState.USED, device.agent_id)
    with pytest.raises(EnrollmentError):
        store.redeem(one.token_id, Device().enrolled("b"))
    assert [agent.name for agent in store.agents()] == ["a"]


def test_a_void_invite_enrols_nobody(store):
    one = invite("a")
    store.replace_invites([one])
    assert [store.count_wrong_proof(one.token_id, limit=3) for _ in range(5)] == [
        False,
        False,
        True,
        False,
        False,
    ]
    with pytest.raises(EnrollmentError, match="not open"):
        store.redeem(one.token_id, Device().enrolled("a"))
    assert store.agents() == []


@pytest.mark.parametrize("same", ["name", "identity", "node_public"])
def test_no_two_agents_share_a_name_or_a_key(store, same):
    device, other = Device(), Device()
    store.add_agent(device.enrolled("a"))
    twin = other.enrolled("a" if same == "name" else "b")
    if same == "identity":
        twin = replace(device.enrolled("b"), node_public=other.node_public)
    elif same == "node_public":
        twin = replace(twin, node_public=device.node_public)
    with pytest.raises(EnrollmentError, match="enrolled already"):
        store.add_agent(twin)


def test_a_revoked_agent_stays_out_while_its_name_can_be_given_again(store):
    old, new = Device(), Device()
    store.add_agent(old.enrolled("cam"))
    assert store.revoke("cam").revoked == NOW
    store.add_agent(new.enrolled("cam"))
    assert [agent.agent_id for agent in store.agents()] == [new.agent_id]
    assert {agent.agent_id for agent in store.agents(include_revoked=True)} == {
        old.agent_id,
        new.agent_id,
    }
    with pytest.raises(EnrollmentError):
        store.add_agent(old.enrolled("cam-2"))
    with pytest.raises(ConfigError, match="no agent named 'x'"):
        store.revoke("x")


def test_members_are_those_on_the_roster_and_not_revoked(store):
    a, b, c = Device(), Device(), Device()
    for name, device in (("a", a), ("b", b), ("c", c)):
        store.add_agent(device.enrolled(name))
    assert store.members() == []
    store.save_roster(signed_roster(1, a, b))
    assert [agent.name for agent in store.members()] == ["a", "b"]
    store.revoke("a")
    assert [agent.name for agent in store.members()] == ["b"]


def test_the_roster_only_moves_forward(store):
    assert (store.roster(), store.next_epoch()) == (None, 1)
    second = signed_roster(2, Device())
    store.save_roster(second)
    store.save_roster(second)
    assert (store.roster(), store.next_epoch()) == (second, 3)
    for older in (signed_roster(1, Device()), signed_roster(2, Device())):
        with pytest.raises(EnrollmentError, match="not above the present 2"):
            store.save_roster(older)
    assert store.roster() == second


def test_a_ledger_head_is_kept_per_agent(store):
    a, b = Device(), Device()
    store.add_agent(a.enrolled("a"))
    store.add_agent(b.enrolled("b"))
    store.set_ledger_head(a.agent_id, b"head-1")
    store.set_ledger_head(a.agent_id, b"head-2")
    assert [store.ledger_head(x) for x in (a.agent_id, b.agent_id, b"?" * 16)] == [
        b"head-2",
        b"",
        b"",
    ]


# Runs and rounds


def test_runs_are_listed_in_the_order_of_their_creation(store):
    runs = [store.create_run(f"plan {n}", "hash") for n in range(3)]
    assert store.runs() == runs
    assert store.last_run() == runs[-1]
    store.set_run_state(runs[0].run_id, RunState.FAILED, "budget")
    assert store.run(runs[0].run_id) == replace(runs[0], state=RunState.FAILED, reason="budget")
    with pytest.raises(ConfigError, match="no run 'x'"):
        store.run("x")


def test_an_attempt_number_is_never_given_twice(tmp_path, store):
    run = store.create_run("plan", "hash").run_id
    assert store.last_attempt(run, 1) == 0
    assert store.open_attempt(run, 1) == 1
    with Store.open(tmp_path) as after_a_crash:
        assert after_a_crash.last_attempt(run, 1) == 1
        assert after_a_crash.open_attempt(run, 1) == 2
        assert after_a_crash.open_attempt(run, 2) == 1
    with pytest.raises(ConfigError, match="no run"):
        store.open_attempt("run-x", 1)


def test_threads_never_share_an_attempt(store):
    run = store.create_run("plan", "hash").run_id
    found = []

    def take():
        found.extend(store.open_attempt(run, 1) for _ in range(10))

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == list(range(1, 41))


def test_a_round_comes_back_as_it_was_recorded(store):
    run = store.create_run("plan", "hash").run_id
    store.open_attempt(run, 1)
    full = record(
        run,
        reason="",
        selected=("a", "b", "c"),
        survived=("a", "b"),
        dropped=("c",),
        dropped_reasons={"c": "deadline"},
        stage_seconds={"ROUND": 1.5},
        metrics={"accuracy": 0.9},
        seconds=2.5,
        bytes_up=10,
        bytes_down=20,
        model_sha256="ab",
        result_hash="cd",
        finished=5.0,
        extra={"epsilon": 1.25, "note": ["x"]},
    )
    assert store.record_round(full) == full
    assert store.rounds() == [full]
    assert store.last_committed(run) == full


def test_the_json_of_a_round_starts_with_the_promised_fields(store):
    values = record("run-1", selected=("a",), dropped_reasons={"b": "lost"}).as_json()
    promised = {"run", "round", "attempt", "outcome", "reason", "selected", "survived", "dropped"}
    promised |= {"metrics", "seconds", "bytes_up", "bytes_down", "model_sha256"}
    assert promised <= values.keys()
    assert values["outcome"] == "committed"
    assert values["selected"] == ["a"]
    assert RoundRecord.from_json(values | {"from": "a newer version"}) == record(
        "run-1", selected=("a",), dropped_reasons={"b": "lost"}
    )


def test_only_an_open_attempt_can_be_recorded_and_only_once(store):
    run = store.create_run("plan", "hash").run_id
    with pytest.raises(ValueError, match="not open"):
        store.record_round(record(run))
    store.open_attempt(run, 1)
    store.record_round(record(run))
    with pytest.raises(ValueError, match="not open"):
        store.record_round(record(run))


def test_a_round_cannot_be_committed_twice(store):
    run = store.create_run("plan", "hash").run_id
    for _ in range(2):
        store.open_attempt(run, 1)
    store.record_round(record(run, attempt=1))
    with pytest.raises(ValueError, match="committed already"):
        store.record_round(record(run, attempt=2))
    store.record_round(record(run, attempt=2, outcome=Outcome.ABORTED))


def test_a_number_that_is_not_finite_is_not_recorded(store):
    run = store.create_run("plan", "hash").run_id
    store.open_attempt(run, 1)
    with pytest.raises(ValueError, match="JSON"):
        store.record_round(record(run, metrics={"loss": float("nan")}))
    assert store.rounds() == []


def test_what_a_crash_left_open_is_recorded_as_aborted(store):
    run = store.create_run("plan", "hash").run_id
    other = store.create_run("plan", "hash").run_id
    store.open_attempt(run, 1)
    store.record_round(record(run))
    store.open_attempt(run, 2)
    store.open_attempt(other, 1)
    abandoned = store.abandon_open_attempts(run, "restart")
    assert [(one.round, one.outcome, one.reason) for one in abandoned] == [
        (2, Outcome.ABORTED, "restart")
    ]
    assert store.abandon_open_attempts(run, "restart") == []
    assert [one.round for one in store.rounds(run)] == [1, 2]
    assert store.last_committed(run).round == 1
    assert store.last_committed(other) is None


def test_an_unreadable_record_is_named(tmp_path, store):
    run = store.create_run("plan", "hash").run_id
    store.open_attempt(run, 1)
    store.record_round(record(run))
    with sqlite3.connect(tmp_path / "state.db") as connection:
        connection.execute("UPDATE rounds SET record = '{\"run\": 1}'")
    with pytest.raises(StateDamaged, match=f"{run} round 1 attempt 1"):
        store.rounds()


def test_a_killed_writer_leaves_every_acknowledged_round(tmp_path):
    code = (
        "import os, pathlib, signal, sys\n"
        "from coordinator.records import Outcome, RoundRecord\n"
        "from coordinator.store import Store\n"
        "store = Store.open(pathlib.Path(sys.argv[1]), create=True)\n"
        "run = store.create_run('plan', 'hash').run_id\n"
        "for number in range(1, 6):\n"
        "    attempt = store.open_attempt(run, number)\n"
        "    store.record_round(RoundRecord(run, number, attempt, Outcome.COMMITTED))\n"
        "    print(number, flush=True)\n"
        "store.open_attempt(run, 6)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True
    )
    assert done.returncode == -9
    with Store.open(tmp_path) as store:
        run = store.last_run().run_id
        assert [one.round for one in store.rounds(run)] == [int(n) for n in done.stdout.split()]
        assert store.last_attempt(run, 6) == 1
        assert store.open_attempt(run, 6) == 2


def test_no_error_shows_what_was_stored(store):
    one = replace(invite("canary-name"), proof_key=b"CANARY-KEY-CANARY-KEY-CANARY-KEY")
    with pytest.raises(IntegrityError) as caught:
        store.replace_invites([one, one])
    assert "canary" not in "".join(traceback.format_exception(caught.value)).lower()


# Sums


def test_totals_are_those_of_the_records_and_come_from_the_index_alone(store):
    run_id = store.create_run("{}", "ab").run_id
    assert store.totals(run_id) == Totals()
    outcomes = [Outcome.COMMITTED, Outcome.ABORTED, Outcome.COMMITTED]
    for number, outcome in enumerate(outcomes, start=1):
        store.open_attempt(run_id, number)
        names = tuple(f"agent-{place}" for place in range(6 - number))
        made = record(run_id, number, outcome=outcome, seconds=1.5 * number, bytes_up=number, bytes_down=7, survived=names)  # fmt: skip
        store.record_round(made)
    store.open_attempt(run_id, 4)  # is not finished and does not count
    assert store.totals(run_id) == Totals.of(store.rounds(run_id)) == Totals(2, 1, 9.0, 6, 21, 3)
    query = "EXPLAIN QUERY PLAN SELECT outcome, count(*), sum(seconds), sum(bytes_up), sum(bytes_down), min(survivors) FROM rounds WHERE run_id = 'x' GROUP BY outcome"
    with store._database.reading() as connection:
        (plan,) = connection.exec_driver_sql(query).all()
    assert "INDEX rounds_totals" in plan[-1]


def test_the_newest_sum_tells_when_an_agent_was_last_heard(store):
    run_id = store.create_run("{}", "ab").run_id
    for number, names in enumerate([("a", "b"), ("b",)], start=1):
        store.open_attempt(run_id, number)
        store.record_round(record(run_id, number, survived=names, finished=100.0 * number))
    assert store.last_answers() == {"a": 100.0, "b": 200.0}


def test_charges_count_whoever_was_asked_and_did_not_refuse_the_offer(store):
    run_id = store.create_run("{}", "ab").run_id
    reasons = {"b": "refused:BUDGET_WOULD_EXCEED", "c": "refused:CONTEXT_MISMATCH", "d": "deadline"}
    stages = {"dropped_stages": {"b": "round", "c": "masked", "d": "round"}}
    for number in (1, 2):
        store.open_attempt(run_id, number)
        asked = ("a", "b", "c", "d") if number == 1 else ("a",)
        gone = reasons if number == 1 else {}
        store.record_round(record(run_id, number, selected=asked, survived=("a",), dropped_reasons=gone, extra=stages))  # fmt: skip
    assert store.charges(run_id) == {"a": 2, "c": 1, "d": 1}
    with store._database.writing() as connection:  # as a database of before has them
        connection.exec_driver_sql("DELETE FROM charges")
        connection.exec_driver_sql(CHARGED)
    assert store.charges(run_id) == {"a": 2, "c": 1, "d": 1}
