"""Power loss, and kills by the hundred: what was not fsynced is gone, what was charged is not."""

import json
import os
import random
import signal
import stat
import sys
from pathlib import Path

import privacy_bench as bench
import pytest

from edgeveil.agent.home.policy import Policy
from edgeveil.shared.privacy.ledger.state import Phase

STEPS = ("reserve", "seal", "submit", "ack")


def question(number, attempt=1):
    """A cheap round of a run of its own."""
    return bench.question(1, attempt, run=f"run-{number}", noise_multiplier=500.0)


class Disk:
    """What would survive a power loss: contents by their last fsync, names by the folder's.

    Lives in the child and writes its view to `path` after every fsync, so that the parent can
    make the folder look as it would after the lights came back.
    """

    def __init__(self, folder, path):
        self.folder, self.path = folder, path
        self.contents = {entry.stat().st_ino: entry.read_bytes().hex() for entry in self._files()}
        self.names = {entry.name: entry.stat().st_ino for entry in self._files()}
        self.save()

    def synced(self, handle):
        found = os.fstat(handle)
        if stat.S_ISDIR(found.st_mode):
            self.names = {entry.name: entry.stat().st_ino for entry in self._files()}
        else:
            with Path(f"/proc/self/fd/{handle}").open("rb") as file:
                self.contents[found.st_ino] = file.read().hex()
        self.save()

    def save(self):
        files = {n: self.contents[i] for n, i in self.names.items() if i in self.contents}
        temporary = self.path.with_suffix(".tmp")
        temporary.write_text(json.dumps(files))
        temporary.rename(self.path)

    def _files(self):
        return [entry for entry in self.folder.iterdir() if entry.is_file()]


def restore(folder, path):
    """Make `folder` what the disk held durably."""
    for entry in folder.iterdir():
        entry.unlink()
    for name, content in json.loads(path.read_text()).items():
        target = folder / name
        target.write_bytes(bytes.fromhex(content))
        target.chmod(0o600)


def round_in_child(device, at, *, disk=None):
    """One round, killed before disk call `at`: how many of its steps were reported as done."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            _child(device, at, writer, disk)
        finally:
            os._exit(1)
    os.close(writer)
    os.waitpid(pid, 0)
    done = len(os.read(reader, 16))
    os.close(reader)
    return done


def _child(device, at, report, disk):
    seen = 0
    real_write, real_fsync = os.write, os.fsync
    view = Disk(device.folder, disk) if disk is not None else None

    def count():
        nonlocal seen
        seen += 1
        if seen == at:
            os.kill(os.getpid(), signal.SIGKILL)

    def write(*arguments):
        count()
        return real_write(*arguments)

    def fsync(handle):
        count()
        real_fsync(handle)
        if view is not None:
            view.synced(handle)

    os.write, os.fsync = write, fsync
    sys.addaudithook(lambda event, _: count() if event in {"os.rename", "os.remove"} else None)
    with device.open() as store:
        asked = question(store.state.rounds_charged + 1)
        for step in (
            lambda: store.reserve(device.admit(store, asked)),
            lambda: store.seal(asked.attempt, b"noisy", steps_done=8, gradient_mode="ghost"),
            lambda: store.submit(asked.attempt, b"x" * 32),
            lambda: store.ack(asked.attempt),
        ):
            step()
            real_write(report, b".")
    os._exit(0)


def check(device, charged_before, done):
    """The ledger after the crash counts at least what was reported, and goes on."""
    with device.open() as store:
        state = store.state
        assert state.rounds_charged >= charged_before + min(done, 1)
        assert state.current is None or state.current.phase is not Phase.SUBMITTED
        if done >= 2 and state.current.phase is Phase.SEALED:
            again = device.admit(store, question(state.rounds_charged, attempt=2))
            assert store.sealed_blob(again) == b"noisy"
        return state.rounds_charged


def test_a_power_loss_before_any_disk_call_keeps_every_charge(tmp_path):
    survived = 0
    for at in range(1, 40):
        device = bench.Device(tmp_path / f"cut-{at}" / "ledger")
        device.open().close()
        disk = tmp_path / f"disk-{at}.json"
        done = round_in_child(device, at, disk=disk)
        restore(device.folder, disk)
        check(device, 0, done)
        survived += done == len(STEPS)
    assert survived > 3, "the last cuts come after a whole round"


@pytest.mark.long
def test_two_hundred_kills_of_one_ledger_never_lose_a_charge(tmp_path):
    """At random places of the round, one after the other on the same ledger."""
    device = bench.Device(tmp_path / "ledger", policy=Policy(rounds_max=100_000))
    device.open().close()
    charged = 0
    for _ in range(200):
        done = round_in_child(device, random.randint(1, 26))
        charged = check(device, charged, done)
    assert charged >= 100
