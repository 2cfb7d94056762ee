"""Ledgers that are copied, put back, deleted or written to a full disk, within a whole federation."""

import errno
import os
import shutil
from types import SimpleNamespace

import pytest
from crash_bench import Scenario, World
from thin_bench import Unasked

from edgeveil.agent.home import home as state
from edgeveil.agent.home.home import AgentHome
from edgeveil.agent.ledger import file as ledger_file
from edgeveil.agent.ledger import store as ledger_store
from edgeveil.agent.ledger.file import ledger_records
from edgeveil.shared.base.errors import StateDamaged
from edgeveil.shared.privacy.ledger.records import Kind
from edgeveil.shared.wire.messages import Stage

VICTIM = 0


class AbortsOnce(Scenario):
    """The first attempt loses two of four agents after the masked vectors have arrived."""

    def silent(self, attempt):
        return {} if attempt.attempt > 1 else {1: Stage.AGREE, 2: Stage.AGREE}


class Copied(World):
    """The victim's home is copied just before it is first asked `moment`."""

    moment = Stage.SHARE

    def hear(self, agent, request):
        if self.number[agent] == VICTIM and request.stage is self.moment and not self.copy.exists():
            shutil.copytree(self.victim, self.copy)
        return request

    @property
    def victim(self):
        return self.folder / f"agent-{VICTIM}"

    @property
    def copy(self):
        return self.folder / "copy"

    def put_back(self):
        """The device starts again from the copy; how often its own ledger had submitted until then."""
        submitted = self.submissions()
        agent = next(agent for agent, number in self.number.items() if number == VICTIM)
        self.sessions[agent].close()
        shutil.rmtree(self.victim)
        shutil.copytree(self.copy, self.victim)
        self.sessions[agent] = self._session(VICTIM)
        return submitted

    def submissions(self):
        home = AgentHome(self.victim)
        records = ledger_records(home.ledger_folder / "data", home.identity().public)
        return sum(record.kind is Kind.SUBMIT for record in records)


@pytest.mark.parametrize("moment", [Stage.SHARE, Stage.MASKED, Stage.AGREE])
def test_a_copy_taken_within_a_round_never_uploads_that_update_again(tmp_path, moment):
    world = Copied.make(tmp_path, AbortsOnce(1, agents=4, rounds=1))
    world.hearing, world.moment = world.hear, moment
    world.open()
    assert world.driver.attempt(1) is not None
    assert world.put_back() == 1
    world.driver.attempt(1)
    last = world.store.rounds(world.driver.run.run_id)[-1]
    fate = last.dropped_reasons.get("agent-0", "took part")
    if moment is Stage.AGREE:  # the copy knows of the upload; it trains and pays afresh
        assert fate == "took part"
    else:
        assert fate == "refused:LEDGER_ROLLBACK"
        assert world.submissions() == 0
    world.close()


def test_a_device_that_took_part_and_lost_its_ledger_does_not_start(tmp_path):
    world = Copied.make(tmp_path, Scenario(1, agents=4, rounds=1, quiet=True)).open()
    world.work()
    world.sessions[next(iter(world.sessions))].close()
    shutil.rmtree(AgentHome(world.victim).ledger_folder)
    with pytest.raises(StateDamaged, match="their ledger is gone"):
        world._session(VICTIM)
    assert not AgentHome(world.victim).ledger_folder.exists()
    world.close()


def full(*_arguments, **_options):
    raise OSError(errno.ENOSPC, "No space left on device")


FULL_DISKS = {
    "the ledger": (ledger_file, "os", SimpleNamespace(**{**vars(os), "write": full})),
    "the sealed update": (ledger_store, "write_atomic", full),
    "the counter of rounds": (state, "write_atomic", full),
}


@pytest.mark.parametrize("where", FULL_DISKS)
def test_a_full_disk_is_told_as_such_and_the_next_attempt_goes_on(tmp_path, monkeypatch, where):
    world = Copied.make(tmp_path, Scenario(1, agents=4, rounds=1, quiet=True)).open()
    world.driver._sums._selection._willing = Unasked()  # else nothing would be tried at all
    with monkeypatch.context() as disk:
        disk.setattr(*FULL_DISKS[where])
        assert world.driver.attempt(1) is not None
    record = world.store.rounds(world.driver.run.run_id)[-1]
    assert set(record.dropped_reasons.values()) == {"refused:STORAGE_FAILED"}
    assert world.driver.attempt(1) is None
    world.close()
