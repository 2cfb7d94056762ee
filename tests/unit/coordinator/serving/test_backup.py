"""A backup is whole or refused; a restored home is the one that was backed up, and an old one is noticed."""

import hashlib
import json
import shutil
import sqlite3
from dataclasses import replace

import pytest
from crash_bench import Scenario, World
from thin_bench import thin_plan

from edgeveil.coordinator.records.records import Outcome, RoundRecord, RunState
from edgeveil.coordinator.rounds.rollback import Restored, lost_attempt
from edgeveil.coordinator.runs.runs import Taken, submit
from edgeveil.coordinator.serving.backup import back_up, read_backup, restore
from edgeveil.coordinator.store import migrations
from edgeveil.coordinator.store.schema import HEAD
from edgeveil.coordinator.store.store import Store
from edgeveil.shared.base.errors import ConfigError, RunFailed, RunLost, StateDamaged
from edgeveil.shared.wire.messages import Stage
from edgeveil.shared.wire.roster import SignedRoster

CONFIG = f'url = "https://127.0.0.1:1"\nlisten = "127.0.0.1:0"\nfederation_public = "{"0" * 64}"\n'


@pytest.fixture
def world(tmp_path):
    made = World.make(tmp_path / "world", Scenario(4, rounds=3, attempts=3, quiet=True))
    (made.home / "coordinator.toml").write_text(CONFIG)
    (made.home / "coordinator.toml").chmod(0o600)
    made.open()
    yield made
    made.close()


def back_to(world, copy):
    """The coordinator's machine is lost and put back from a copy; the agents live on."""
    restored = copy.with_name(copy.name + "-restored")
    restore(copy, restored)
    world.close_coordinator()
    shutil.rmtree(world.home)
    shutil.copytree(restored, world.home)


def resigned(world, epoch, later=0):
    roster = world.store.roster().roster
    changed = replace(roster, epoch=epoch, expires=roster.expires + later)
    return SignedRoster.sign(changed, world.federation)


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
    back_to(world, tmp_path / "old")
    world.open_coordinator()
    with pytest.raises(
        RunLost, match=r"4 of them have been at round 3 .*start a new one with `coord"
    ):
        world.work()
    assert world.store.rounds() == [], "they were asked, and nobody was to train"


def test_a_lost_run_is_closed_and_the_same_plan_starts_a_new_one(world):
    plan = thin_plan(4, task__options={"variant": "fixed"})
    run, taken = submit(world.store, plan)
    assert taken is Taken.NEW
    world.store.set_run_state(run.run_id, RunState.FAILED)
    assert submit(world.store, plan) == (world.store.run(run.run_id), Taken.CONTINUES)
    world.store.set_run_state(run.run_id, RunState.LOST)
    again, taken = submit(world.store, plan)
    assert taken is Taken.NEW
    assert again.run_id != run.run_id


def test_lost_attempts_of_the_round_at_hand_are_no_reason_to_give_the_run_up(world, tmp_path):
    """Agents have seen later attempts of the same round: the coordinator's next ones pass them."""
    world.driver._complete(1)
    back_up(world.home, tmp_path / "old")
    world.scenario.silent = lambda attempt: dict.fromkeys(range(4), Stage.SHARE)
    world.driver.attempt(2)
    world.driver.attempt(2)
    world.scenario.silent = lambda attempt: {}
    back_to(world, tmp_path / "old")
    world.open_coordinator()
    world.work()
    rows = [(row.round, row.attempt, row.outcome) for row in world.store.rounds()]
    assert rows == [
        (1, 1, "committed"),
        (2, 1, "aborted"),
        (2, 2, "aborted"),
        (2, 3, "committed"),
        (3, 1, "committed"),
    ]


def test_restarted_agents_are_not_taken_for_a_restored_database(world):
    """They refuse the attempt they were in when they died, and no later one."""

    def die_once(agent, request):
        if request.attempt.attempt == 1:
            world.sessions[agent].handle(request)
            world.bury(agent)
            world.revive()  # and the transport gives the new process the same request again
        return request

    world.hearing = die_once
    assert world.driver.attempt(1) is not None
    (row,) = world.store.rounds()
    assert set(row.dropped_reasons.values()) == {"refused:ROUND_REPLAY:round-1-attempt-1"}
    world.hearing = lambda _agent, request: request
    world.work()
    assert [row.outcome for row in world.store.rounds()] == ["aborted", *3 * ["committed"]]


def test_a_roster_lost_with_a_backup_is_noticed_and_a_higher_one_heals_it(world, tmp_path):
    back_up(world.home, tmp_path / "old")
    world.store.save_roster(resigned(world, 2))
    world.driver._complete(1)
    back_to(world, tmp_path / "old")
    world.open_coordinator()
    with pytest.raises(RunFailed, match=r"hold roster epoch 2 .*roster sign --epoch 3") as caught:
        world.work()
    assert not isinstance(caught.value, RunLost)
    world.store.save_roster(resigned(world, 2, later=5))
    with pytest.raises(RunFailed, match=r"another roster of the epoch in force.*roster sign"):
        world.driver.drive(1)
    world.store.save_roster(resigned(world, 3))
    world.driver.drive(1)
    assert world.store.last_committed(world.driver.run.run_id).round == 3


def test_one_liar_cannot_make_a_coordinator_believe_that_it_was_restored():
    signs = Restored(corrupt=1)
    record = RoundRecord(
        "run", 4, 1, Outcome.ABORTED, extra={"roster_epoch": 7, "dropped_stages": {}}
    )
    lie = {"a": "refused:ROUND_REPLAY:round-9-attempt-1"}
    for _ in range(3):
        signs.note(replace(record, dropped_reasons=lie))
    assert signs.run_is_lost("run") == ""
    signs.note(
        replace(record, dropped_reasons=lie | {"b": "refused:ROUND_REPLAY:round-5-attempt-2"})
    )
    assert "at round 5 of run" in signs.run_is_lost("run"), "not the liar's number"
    signs.note(replace(record, round=5))
    assert signs.run_is_lost("run") == "", "others have taken the run as far"
    signs.note(replace(record, dropped_reasons=dict.fromkeys("ab", "refused:ROSTER_STALE:epoch-7")))
    assert signs.roster_is_old() == ""


@pytest.mark.parametrize(
    ("told", "number", "known", "wanted"),
    [
        ("refused:ROUND_REPLAY:round-1-attempt-7", 1, 0, 7),
        ("refused:ROUND_REPLAY:round-1-attempt-1007", 1, 7, 1007),
        ("refused:ROUND_REPLAY:round-1-attempt-1008", 1, 7, 0),
        ("refused:ROUND_REPLAY:round-1-attempt-4294967295", 1, 0, 0),
        ("refused:ROUND_REPLAY:round-2-attempt-7", 1, 0, 0),
        ("refused:POLICY_TASK", 1, 0, 0),
    ],
)
def test_no_agent_alone_makes_attempts_that_cannot_be_counted(told, number, known, wanted):
    assert lost_attempt(told, number, known) == wanted


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

    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    path = home / "state.db"
    path.touch(mode=0o600)
    engine = create_engine(f"sqlite:///{path}")
    config = Config()
    config.set_main_option("script_location", migrations.__path__[0])
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
