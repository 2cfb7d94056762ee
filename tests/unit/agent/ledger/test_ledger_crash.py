"""Kills, power cuts and disk faults: the ledger may count too much, never too little."""

import errno
import os
import signal
import sys

import many_kinds_bench as many
import privacy_bench as bench
import pytest

from edgeveil.agent.ledger import file as ledger_file
from edgeveil.agent.ledger.file import read_ledger
from edgeveil.agent.ledger.reading import BLOB
from edgeveil.shared.base.errors import Busy, StateDamaged
from edgeveil.shared.privacy.ledger.records import LedgerDamaged
from edgeveil.shared.privacy.ledger.state import Phase
from edgeveil.shared.privacy.rdp import rdp_step
from edgeveil.shared.privacy.shared_noise import shares

SHARES = {"steps": 1, "noise_multiplier": 40.0, "honest": 6, "noise_bits": 20}
CALLS = ("write", "fsync", "replace", "unlink", "ftruncate")  # what changes a disk


@pytest.fixture
def device(tmp_path):
    return bench.Device(tmp_path / "ledger")


def in_shares(folder):
    """A device whose rounds cost two figures at once."""
    made = bench.Device(folder, policy=many.SHARED, asked=SHARES, offline=True)
    made.create(accept_looser=True).close()
    return made


def check_both_columns(state):
    """Each charge stands in both, in full, or in neither."""
    for spent, part, order in zip(
        (state.sum_spent, state.rdp_spent),
        shares(40.0, 6),
        (state.sum_alpha, state.alpha),
        strict=True,
    ):
        assert spent == pytest.approx(state.shared * rdp_step(part.noise_multiplier, 1.0, order))


def run_and_die(device, at, report):
    """In a child: one round after an opened one, killed right before disk call number `at`."""
    seen = 0

    def hook(event, _arguments):
        nonlocal seen
        if event.startswith("disk."):
            seen += 1
            if seen == at:
                os.kill(os.getpid(), signal.SIGKILL)

    real_fsync, real_write = os.fsync, os.write

    def counted(name, real):
        def call(*arguments, **options):
            hook(f"disk.{name}", arguments)
            return real(*arguments, **options)

        return call

    os.fsync, os.write = counted("fsync", real_fsync), counted("write", real_write)
    os.ftruncate = counted("ftruncate", os.ftruncate)
    sys.addaudithook(
        lambda event, arguments: (
            event in {"os.rename", "os.remove"} and hook(f"disk.{event}", arguments)
        )
    )
    with device.open() as store:
        asked = device.ask(store.state.rounds_charged + 1)
        for number, name in enumerate(("reserve", "seal", "submit", "ack"), start=1):
            step(device, store, asked, name)
            real_write(report, bytes([number]))
    os._exit(0)


def step(device, store, asked, name):
    if name == "reserve":
        store.reserve(device.admit(store, asked))
    elif name == "seal":
        done = asked.plan.steps
        store.seal(asked.attempt, b"noisy update", steps_done=done, gradient_mode="ghost")
    elif name == "submit":
        store.submit(asked.attempt, b"x" * 32)
    else:
        store.ack(asked.attempt)


def in_child(device, at):
    """(steps the child reported as done, whether it lived to the end)."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            run_and_die(device, at, writer)
        finally:
            os._exit(1)
    os.close(writer)
    _, status = os.waitpid(pid, 0)
    reported = os.read(reader, 16)
    os.close(reader)
    return len(reported), os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0


@pytest.mark.parametrize("make", [bench.Device, in_shares], ids=["local", "in shares"])
def test_a_kill_before_any_disk_call_of_a_round_never_under_counts(tmp_path, make):
    for at in range(1, 60):
        device = make(tmp_path / f"killed-{at}" / "ledger")
        device.open().close()
        done, survived = in_child(device, at)
        with device.open() as store:
            state = store.state
            assert state.rounds_charged >= min(done, 1)
            if make is in_shares:
                assert state.shared == state.rounds_charged
                check_both_columns(state)
            if done >= 2 and state.current.phase is Phase.SEALED:
                assert store.sealed_blob(device.admit(store, device.ask(1, 2)))
            if done >= 3:
                assert state.current.phase is Phase.DONE
            assert state.current is None or state.current.phase is not Phase.SUBMITTED
            device.spend(store, device.ask(2))
        if survived:
            assert done == 4
            assert at > 12
            return
    pytest.fail("the child never reached the end of a round")


def test_a_kill_while_a_ledger_is_created_leaves_none_or_a_whole_one(tmp_path):
    for at in range(1, 6):
        device = bench.Device(tmp_path / f"new-{at}" / "ledger")
        in_child(device, at)
        with device.open() as store:
            assert store.state.seq >= 1


@pytest.mark.parametrize("make", [bench.Device, in_shares], ids=["local", "in shares"])
def test_any_power_cut_keeps_every_whole_record(tmp_path, make):
    device = make(tmp_path / "ledger")
    with device.open() as store:
        device.spend(store, device.ask(1))
        device.spend(store, device.ask(2), until="seal")
    (device.folder / BLOB).unlink()  # it is written later than the records it may not survive
    whole = device.ledger.read_bytes()
    first = whole.index(b"\n") + 1
    ends = [at for at, byte in enumerate(whole) if byte == ord("\n")]
    cuts = sorted({*range(first, len(whole), 37), *ends, *(at + 1 for at in ends)} - {ends[0]})
    for cut in cuts:
        device.ledger.write_bytes(whole[:cut])
        file = ledger_file.LedgerFile.recover(
            device.ledger, device.identity, bench.FrozenClock(), {}
        )
        records = whole[:cut].count(b"\n") + (cut in ends)  # all but its newline still counts
        assert file.state.seq == records
        if make is in_shares and records > 1:  # after the owner's word
            assert file.state.shared == file.state.rounds_charged
            check_both_columns(file.state)
        assert device.ledger.read_bytes() == whole[: ends[records - 1] + 1]


def test_a_cut_inside_the_first_record_is_no_crash_of_ours(device):
    device.open().close()
    whole = device.ledger.read_bytes()
    for data in (b"", whole[:100], whole[:-1]):
        device.ledger.write_bytes(data)
        with pytest.raises(LedgerDamaged):
            device.open()


def test_zeros_after_the_last_record_are_cut_like_any_unfinished_line(device):
    device.open().close()
    whole = device.ledger.read_bytes()
    device.ledger.write_bytes(whole + bytes(512))
    with device.open() as store:
        assert store.state.seq == 1
    assert device.ledger.read_bytes() == whole


class Disk:
    """os, with chosen calls failing; everything else is the real one."""

    def __init__(self, **failing):
        self._failing = failing

    def __getattr__(self, name):
        return self._failing.get(name, getattr(os, name))


def full(_handle, _data):
    raise OSError(errno.ENOSPC, "No space left on device")


def partial(handle, data):
    return os.write(handle, data[:10])


def broken(*_arguments):
    raise OSError(errno.EIO, "Input/output error")


@pytest.mark.parametrize("write", [full, partial], ids=["full", "partial"])
def test_a_full_disk_refuses_the_round_and_training_goes_on_later(device, monkeypatch, write):
    with device.open() as store:
        before = device.ledger.read_bytes()
        monkeypatch.setattr(ledger_file, "os", Disk(write=write))
        with pytest.raises(Busy, match="disk space"):
            device.spend(store, bench.question(1))
        assert device.ledger.read_bytes() == before
        monkeypatch.undo()
        device.spend(store, bench.question(1))
    assert read_ledger(device.folder, device.identity.public).rounds_charged == 1


@pytest.mark.parametrize(
    "disk",
    [{"fsync": broken}, {"write": partial, "ftruncate": broken}],
    ids=["fsync", "no way back"],
)
def test_a_write_of_unknown_fate_stops_everything(device, monkeypatch, disk):
    with device.open() as store:
        monkeypatch.setattr(ledger_file, "os", Disk(**disk))
        with pytest.raises(StateDamaged):
            device.spend(store, bench.question(1))
        monkeypatch.undo()
        for action in (
            lambda: store.state,
            store.head,
            lambda: device.spend(store, bench.question(1)),
        ):
            with pytest.raises(StateDamaged, match="restart"):
                action()
    with device.open() as store:
        device.spend(store, bench.question(2))


def test_a_sealed_update_that_cannot_be_written_is_not_recorded(device, monkeypatch):
    with device.open() as store:
        device.spend(store, bench.question(1), until="reserve")
        monkeypatch.setattr("edgeveil.agent.ledger.store.write_atomic", broken)
        with pytest.raises(Busy):
            store.seal(bench.question(1).attempt, b"x", steps_done=8, gradient_mode="ghost")
        assert store.state.current.phase is Phase.RESERVED
