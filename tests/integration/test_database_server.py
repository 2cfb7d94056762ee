"""The coordinator's database on a PostgreSQL server: moved there, gone for a while, killed at any commit."""

import threading
import time

import pytest
from crash_bench import Scenario, World
from postgres_bench import configure, needs_postgres, running
from promises_bench import violations
from store_bench import note, write_note
from trials_bench import in_child, kill_trial, live

from edgeveil.coordinator.cli.setup import initialise
from edgeveil.coordinator.federation import certificates
from edgeveil.coordinator.serving.backup import back_up, restore
from edgeveil.coordinator.serving.moving import move_database
from edgeveil.coordinator.store import opening, postgres, schema
from edgeveil.coordinator.store.store import Store
from edgeveil.shared.base.errors import Busy, ConfigError, StateDamaged, StoreAway
from edgeveil.shared.base.failpoints import Failpoint
from edgeveil.shared.base.files import private_directory

pytestmark = needs_postgres
COMMITS = [
    (Failpoint.DATABASE_COMMIT_BEFORE, 9), (Failpoint.DATABASE_COMMIT_AFTER, 9), (Failpoint.COORDINATOR_CHECKPOINT_AFTER, 2),
    (Failpoint.COORDINATOR_RECORD_BEFORE, 2), (Failpoint.COORDINATOR_RECORD_AFTER, 2), (Failpoint.COORDINATOR_ATTEMPT_AFTER, 2),
]  # fmt: skip


@pytest.fixture
def url(postgres):
    return postgres.url(postgres.new_database())


@pytest.fixture
def home(tmp_path, url):
    configure(tmp_path, url)
    Store.open(tmp_path, create=True).close()
    return tmp_path


@pytest.fixture
def own_server():
    """One that this test may stop."""
    with running() as server:
        yield server


@pytest.mark.parametrize(("point", "passage"), COMMITS)
def test_a_coordinator_killed_around_a_commit_loses_and_doubles_no_round(
    tmp_path, url, point, passage
):
    scenario = Scenario(7)
    World.make(tmp_path / "seed", scenario, url=url)
    trial = kill_trial(tmp_path / "seed", tmp_path / "life", point, passage, scenario)
    assert trial.kills == 1
    assert trial.violations == []


def test_a_server_that_crashes_three_times_in_a_run_costs_no_round(tmp_path, own_server):
    url = own_server.url(own_server.new_database())
    scenario = Scenario(3, rounds=12)
    World.make(tmp_path / "life", scenario, url=url)
    done, crashes = threading.Event(), []

    def crash():
        while len(crashes) < 3 and not done.wait(0.15):
            own_server.stop("immediate")
            own_server.start()
            crashes.append(time.monotonic())

    breaker = threading.Thread(target=crash)
    breaker.start()
    lives = 0
    try:
        code = 3
        while (
            code == 3 and lives < 20
        ):  # one whose transaction was cut is started again, as by systemd
            code, _ = in_child(live(tmp_path / "life", scenario), log=tmp_path / "log")
            lives += 1
    finally:
        done.set()
        breaker.join()
    assert code == 0, (tmp_path / "log").read_text()
    assert len(crashes) == 3
    assert violations(tmp_path / "life", scenario) == []


def test_a_command_says_at_once_that_the_server_is_away(home, own_server, tmp_path):
    own_server.stop()
    folder = tmp_path / "other"
    folder.mkdir()
    configure(folder, own_server.url("any"))
    began = time.monotonic()
    with pytest.raises(
        StoreAway, match=r"PostgreSQL database any at .*: does not answer"
    ) as caught:
        Store.open(folder, read_only=True)
    assert time.monotonic() - began < 3
    assert "\n" not in str(caught.value)


def test_a_coordinator_waits_for_a_server_that_is_away_when_it_starts(tmp_path, own_server, capfd):
    configure(tmp_path, own_server.url(own_server.new_database()))
    Store.open(tmp_path, create=True).close()
    own_server.stop()
    threading.Timer(1.0, own_server.start).start()
    with Store.open(tmp_path, serving=True) as store:
        assert store.runs() == []
    said = capfd.readouterr().err
    assert said.count("trying again for 60 s") == 1
    assert "is back" in said


def test_patience_ends_with_one_sentence(tmp_path, own_server, monkeypatch):
    monkeypatch.setattr(postgres, "PATIENCE_S", 0.5)
    configure(tmp_path, own_server.url(own_server.new_database()))
    with Store.open(tmp_path, create=True, serving=True) as store:
        own_server.stop()
        with pytest.raises(StoreAway, match="does not answer"):
            write_note(store, "a", "b")
        own_server.start()
        write_note(store, "a", "c")
        assert note(store, "a") == "c"


@pytest.mark.parametrize("committed", [True, False])
def test_a_commit_that_nobody_confirmed_is_looked_up(home, monkeypatch, committed):
    with Store.open(home, serving=True) as store:
        run = store.create_run("{}", "hash").run_id
        dialect = store._database._engine.dialect
        commit = dialect.do_commit

        def broken(connection):
            monkeypatch.setattr(dialect, "do_commit", commit)
            if committed:
                commit(connection)
            connection.dbapi_connection.close()
            raise store._database._driver.OperationalError("the connection broke")

        monkeypatch.setattr(dialect, "do_commit", broken)
        if committed:
            assert store.open_attempt(run, 1) == 1
        else:
            with pytest.raises(StoreAway, match="was undone"):
                store.open_attempt(run, 1)
        assert store.last_attempt(run, 1) == int(committed)
        assert store.open_attempt(run, 1) == 1 + committed


def test_two_coordinators_do_not_serve_from_one_database(home, monkeypatch):
    monkeypatch.setattr("edgeveil.coordinator.store.database.LOCK_TIMEOUT_S", 0.3)
    with Store.open(home, serving=True), pytest.raises(Busy, match="another running"):
        Store.open(home, serving=True)
    Store.open(home, serving=True).close()


def test_a_coordinator_that_was_replaced_during_an_outage_stores_nothing_more(home):
    with Store.open(home, serving=True) as first:
        first._database._holder.close()  # as the server drops who is not heard of
        with Store.open(home, serving=True) as second:
            write_note(second, "a", "second")
        with pytest.raises(Busy, match="taken it over"):
            write_note(first, "a", "first")
    with Store.open(home) as after:
        assert note(after, "a") == "second"


def test_a_writer_that_waits_too_long_is_told_that_another_one_is_busy(home, monkeypatch):
    monkeypatch.setattr("edgeveil.coordinator.store.database.LOCK_TIMEOUT_S", 0.2)
    with (
        Store.open(home) as first,
        Store.open(home) as second,
        first._database.writing(),
        pytest.raises(Busy, match="locked"),
    ):
        write_note(second, "a", "b")


def test_the_migrations_lead_to_the_declared_schema(home):
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    with Store.open(home) as store, store._database.reading() as connection:
        assert compare_metadata(MigrationContext.configure(connection), schema.metadata) == []


def test_a_server_that_may_lose_commits_is_refused(tmp_path, own_server):
    configure(tmp_path, own_server.url(own_server.new_database()))
    own_server.sql("ALTER SYSTEM SET fsync = off")
    own_server.sql("SELECT pg_reload_conf()")
    deadline = time.monotonic() + 5
    while own_server.sql("SHOW fsync") != "off" and time.monotonic() < deadline:
        time.sleep(0.05)
    with pytest.raises(ConfigError, match="set fsync = on"):
        Store.open(tmp_path, create=True)


def test_a_server_whose_certificate_is_of_another_authority_gets_no_password(tmp_path, own_server):
    for name in ("right", "wrong"):
        certificates.ensure_authority(private_directory(tmp_path / name))
        certificates.ensure_leaf(tmp_path / name, ["127.0.0.1"])
    database = own_server.new_database()
    own_server.serve_tls(tmp_path / "right" / "server.pem", tmp_path / "right" / "server.key")
    own_server.sql("ALTER USER edgeveil PASSWORD 'canary'")
    own_server.ask_for_passwords()
    secret = tmp_path / "password"
    secret.write_text("canary\n")
    secret.chmod(0o600)
    url = f"postgresql+psycopg://edgeveil@127.0.0.1:{own_server.port}/{database}"
    for name in ("right", "wrong"):
        more = f'password_file = "{secret}"\nauthority = "{tmp_path / name / "ca.pem"}"\n'
        configure(tmp_path / name, url, more)
    query = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
    with (
        Store.open(tmp_path / "right", create=True) as store,
        store._database.reading() as connection,
    ):
        assert connection.exec_driver_sql(query).scalar() is True
    with pytest.raises(ConfigError, match="certificate verify failed") as caught:
        Store.open(tmp_path / "wrong", read_only=True)
    assert "canary" not in str(caught.value)
    secret.write_text("another\n")
    with pytest.raises(ConfigError, match="password authentication failed") as caught:
        Store.open(tmp_path / "right", read_only=True)
    assert "another" not in str(caught.value)


def test_a_broken_tls_connection_is_an_outage_and_no_refusal(tmp_path, own_server):
    certificates.ensure_authority(private_directory(tmp_path / "tls"))
    certificates.ensure_leaf(tmp_path / "tls", ["127.0.0.1"])
    own_server.serve_tls(tmp_path / "tls" / "server.pem", tmp_path / "tls" / "server.key")
    url = f"postgresql+psycopg://edgeveil@127.0.0.1:{own_server.port}/{own_server.new_database()}"
    configure(tmp_path, url, f'authority = "{tmp_path / "tls" / "ca.pem"}"\n')

    def cut(store):
        with store._database.reading() as connection:
            own_server.stop("immediate")
            connection.exec_driver_sql("SELECT 1")

    with Store.open(tmp_path, create=True, serving=True) as store:
        with pytest.raises(StoreAway, match="does not answer"):
            cut(store)
        threading.Timer(1.0, own_server.start).start()
        write_note(store, "a", "b")
        assert note(store, "a") == "b"


def made(folder):
    home = folder / "coordinator"
    initialise(
        home, folder / "federation", url="https://127.0.0.1:1", listen="127.0.0.1:0", hosts=(), passphrase=None,
    )  # fmt: skip
    with Store.open(home) as store:
        for number in (1, 2):
            run = store.create_run("{}", f"hash-{number}").run_id
            store.open_attempt(run, 1)
    return home


def rows(opened):
    with opened._database.reading() as connection:
        return {
            table.name: sorted(map(repr, connection.execute(table.select()).all()))
            for table in schema.metadata.sorted_tables
        }


def test_a_database_moves_to_the_server_with_every_row_and_goes_on_there(tmp_path, url):
    home = made(tmp_path)
    with Store.open(home) as store:
        before = rows(store)
    configure(home, url)
    with pytest.raises(StateDamaged, match="coordinator move-database"):
        Store.open(home)
    copied, name = move_database(home)
    assert copied == sum(map(len, before.values()))
    assert name.startswith("PostgreSQL")
    assert not (home / opening.FILE).exists()
    with Store.open(home) as store:
        assert rows(store) == before
        store.create_run("{}", "hash-3")
        assert [run.plan_hash for run in store.runs()] == ["hash-1", "hash-2", "hash-3"]


def test_nothing_is_moved_over_another_coordinator(tmp_path, url, postgres):
    home = made(tmp_path)
    configure(home, url)
    move_database(home)
    (tmp_path / "second").mkdir()
    other = made(tmp_path / "second")
    configure(other, url)
    with pytest.raises(ConfigError, match="holds a coordinator already"):
        move_database(other)
    assert (other / opening.FILE).exists()


def test_a_backup_of_a_server_is_restored_onto_an_empty_one_alone(tmp_path, url, postgres):
    home = made(tmp_path)
    database = postgres.new_database()
    configure(home, postgres.url(database))
    move_database(home)
    with Store.open(home) as store:
        runs = store.runs()
    back_up(home, tmp_path / "copy")
    with pytest.raises(ConfigError, match="holds a coordinator already"):
        restore(tmp_path / "copy", tmp_path / "again")
    postgres.sql(f"DROP DATABASE {database}")
    postgres.sql(f"CREATE DATABASE {database} TEMPLATE template0")
    restore(tmp_path / "copy", tmp_path / "back")
    assert not (tmp_path / "back" / opening.FILE).exists()
    with Store.open(tmp_path / "back") as store:
        assert store.runs() == runs
        assert {one.reason for one in store.rounds()} == {"COORDINATOR_RESTART"}
