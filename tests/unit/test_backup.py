"""A backup is whole or refused; a restored home is the one that was backed up, and an old one is noticed."""

import hashlib
import json
import shutil
import sqlite3

import pytest
from crash_bench import Scenario, World

from coordinator.backup import back_up, read_backup, restore
from coordinator.store import Store
from coordinator.store.schema import HEAD
from shared.errors import ConfigError, RunFailed, StateDamaged

CONFIG = f'url = "https://127.0.0.1:1"\nlisten = "127.0.0.1:0"\nfederation_public = "{"0" * 64}"\n'


@pytest.fixture
def world(tmp_path):
    made = World.make(tmp_path / "world", Scenario(4, rounds=3, attempts=2, quiet=True))
    (made.home / "coordinator.toml").write_text(CONFIG)
    (made.home / "coordinator.toml").chmod(0o600)
    made.open()
    yield made
    made.close()


def fingerprint(home):
    """Everything a run is continued from."""
    with Store.open(home, read_only=True) as store:
        run = store.last_run()
        rows = [row.as_json() for row in store.rounds(run.run_id)]
    files = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted((home / "runs" / run.run_id).glob("*.safetensors"))
    }
    return run, rows, files


def test_a_restored_home_is_the_one_that_was_backed_up(world, tmp_path):
    world.work()
    before = fingerprint(world.home)
    made = back_up(world.home, tmp_path / "copy")
    assert "state.db" in made.files
    assert all((tmp_path / "copy" / name).stat().st_mode & 0o077 == 0 for name in made.files)
    restore(tmp_path / "copy", tmp_path / "again")
    assert fingerprint(tmp_path / "again") == before
    assert (tmp_path / "again" / "identity.key").read_bytes() == (
        world.home / "identity.key"
    ).read_bytes()


def test_a_backup_taken_in_the_middle_of_a_round_continues_with_that_round(world, tmp_path):
    world.driver._complete(1)
    world.store.open_attempt(world.driver.run.run_id, 2)
    back_up(world.home, tmp_path / "copy")
    restore(tmp_path / "copy", tmp_path / "again")
    shutil.rmtree(world.home)
    world.close_coordinator()
    shutil.copytree(tmp_path / "again", world.home)
    world.open_coordinator()
    world.work()
    rows = world.store.rounds()
    assert [(row.round, row.attempt, row.reason) for row in rows] == [
        (1, 1, ""),
        (2, 1, "COORDINATOR_RESTART"),
        (2, 2, ""),
        (3, 1, ""),
    ]


def test_an_old_backup_is_noticed_at_the_first_round_and_said(world, tmp_path):
    back_up(world.home, tmp_path / "old")
    world.work()
    restore(tmp_path / "old", tmp_path / "again")
    world.close_coordinator()
    shutil.rmtree(world.home)
    shutil.copytree(tmp_path / "again", world.home)
    world.open_coordinator()
    with pytest.raises(RunFailed, match=r"later rounds of this run \(ROUND_REPLAY\).*start a new"):
        world.work()


def test_one_changed_byte_and_one_missing_file_are_refused(world, tmp_path):
    world.driver._complete(1)
    made = back_up(world.home, tmp_path / "copy")
    for name in made.files:
        broken = tmp_path / "broken"
        shutil.copytree(tmp_path / "copy", broken)
        data = bytearray((broken / name).read_bytes())
        if data:
            data[len(data) // 2] ^= 1
            (broken / name).write_bytes(data)
            with pytest.raises(StateDamaged, match="changed since the backup"):
                restore(broken, tmp_path / "never")
        (broken / name).unlink()
        with pytest.raises(StateDamaged, match="absent or changed"):
            restore(broken, tmp_path / "never")
        shutil.rmtree(broken)
    assert not (tmp_path / "never").exists()


def test_an_interrupted_backup_is_none(world, tmp_path):
    back_up(world.home, tmp_path / "copy")
    (tmp_path / "copy" / "manifest.json").unlink()
    with pytest.raises(ConfigError, match="no complete backup"):
        read_backup(tmp_path / "copy")


def test_nothing_is_overwritten(world, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "something").touch()
    with pytest.raises(ConfigError, match="not an empty folder"):
        back_up(world.home, tmp_path / "full")
    back_up(world.home, tmp_path / "copy")
    with pytest.raises(ConfigError, match="not an empty folder"):
        restore(tmp_path / "copy", tmp_path / "full")


def test_a_manifest_cannot_name_files_outside(world, tmp_path):
    back_up(world.home, tmp_path / "copy")
    path = tmp_path / "copy" / "manifest.json"
    values = json.loads(path.read_text())
    values["files"]["../secret"] = "0" * 64
    path.write_text(json.dumps(values))
    with pytest.raises(StateDamaged, match="outside of the backup"):
        restore(tmp_path / "copy", tmp_path / "never")


@pytest.mark.parametrize("revision", ["0001"])
def test_every_released_schema_is_migrated_forward_with_its_rows(tmp_path, revision):
    from alembic import command
    from alembic.config import Config
    from sqlalchemy import create_engine

    import coordinator.store.migrations

    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    path = home / "state.db"
    path.touch(mode=0o600)
    engine = create_engine(f"sqlite:///{path}")
    config = Config()
    config.set_main_option("script_location", coordinator.store.migrations.__path__[0])
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
    engine.dispose()
    with sqlite3.connect(path) as old:
        old.execute(
            "INSERT INTO members (agent_id, name, identity_public, node_public, joined, ledger_head) "
            "VALUES (?, 'cam-1', ?, ?, 1.0, x'')",
            (bytes(16), bytes(32), b"pem"),
        )
        old.execute(
            "INSERT INTO runs (run_id, plan, plan_hash, created, state, reason) "
            "VALUES ('run-1', '{}', 'h', 1.0, 'stopped', '')"
        )
    with Store.open(home) as store:
        assert [agent.name for agent in store.agents()] == ["cam-1"]
        assert store.runs()[0].run_id == "run-1"
    with sqlite3.connect(path) as new:
        assert new.execute("SELECT version_num FROM alembic_version").fetchone() == (HEAD,)
