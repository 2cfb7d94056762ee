"""The database as a file: opening, damage, migration, locks, a full disk."""

import multiprocessing
import os
import sqlite3
import stat
import subprocess
import sys
from contextlib import ExitStack

import pytest
from enrollment_bench import TurnableClock
from store_bench import note, write_note

from edgeveil.coordinator.store import migrations, schema
from edgeveil.coordinator.store.sqlite import SqliteDatabase
from edgeveil.coordinator.store.store import Store
from edgeveil.shared.base.errors import Busy, ConfigError, StateDamaged


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path, create=True, clock=TurnableClock()) as opened:
        yield opened


def test_an_absent_database_is_only_made_on_demand(tmp_path):
    for read_only in (False, True):
        with pytest.raises(ConfigError, match="coordinator init"):
            Store.open(tmp_path, read_only=read_only)
    assert list(tmp_path.iterdir()) == []


def test_every_file_of_the_database_is_private(tmp_path, store):
    write_note(store, "a", "b")
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

    config = Config()
    config.set_main_option("script_location", migrations.__path__[0])
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


def test_several_processes_may_create_the_database_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "edgeveil.coordinator.store.database.LOCK_TIMEOUT_S", 60.0
    )  # of a busy machine
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
            write_note(reader, "a", "b")


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
        "from edgeveil.coordinator.store.store import Store\n"
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
    monkeypatch.setattr("edgeveil.coordinator.store.database.LOCK_TIMEOUT_S", 0.1)
    with (
        Store.open(tmp_path) as second,
        store._database.writing(),
        pytest.raises(Busy, match="locked"),
    ):
        write_note(second, "a", "b")


def test_more_callers_than_connections_are_told_to_try_again(tmp_path, store, monkeypatch):
    monkeypatch.setattr("edgeveil.coordinator.store.database.LOCK_TIMEOUT_S", 0.1)
    with Store.open(tmp_path) as crowded, ExitStack() as callers:
        for _ in range(15):
            callers.enter_context(crowded._database.reading())
        with pytest.raises(Busy, match="too many requests"):
            note(crowded, "a")


def test_a_full_disk_loses_nothing_and_is_temporary(tmp_path, store):
    write_note(store, "kept", "yes")
    with store._database.reading() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
    original = SqliteDatabase._connect

    def small(self):
        connection = original(self)
        connection.execute(f"PRAGMA max_page_count={pages}")
        return connection

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SqliteDatabase, "_connect", small)
        with Store.open(tmp_path) as full, pytest.raises(Busy, match="disk is full"):
            write_note(full, "big", "x" * 1_000_000)
    assert note(store, "kept") == "yes"
    assert note(store, "big") is None


def test_a_block_that_fails_leaves_no_trace(store):

    def half():
        with store._database.writing() as connection:
            connection.execute(schema.meta.insert().values(key="a", value="b"))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        half()
    assert note(store, "a") is None
