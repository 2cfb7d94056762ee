"""Ledgers of many rounds open at once, and those of an earlier format go on."""

import shutil
import time
from pathlib import Path

import privacy_bench as bench
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edgeveil.agent.home.policy import Policy
from edgeveil.agent.ledger import file as ledger_file
from edgeveil.agent.ledger.fields import attempt_fields, reserve_fields
from edgeveil.agent.ledger.file import BOOKMARK_EVERY, ledger_records, read_ledger
from edgeveil.agent.ledger.guard import Reservation, precheck
from edgeveil.agent.ledger.reading import BOOKMARK
from edgeveil.shared.privacy.ledger.records import FORMAT, Kind, LedgerDamaged, Record
from edgeveil.shared.privacy.ledger.replay import advance
from edgeveil.shared.privacy.ledger.state import Phase
from edgeveil.shared.wire.identity import Identity

VECTORS = Path(__file__).parents[3] / "vectors/v1"
OLD = VECTORS / "ledger-format-1.jsonl"
OLD_KEY = bytes(range(32))


@pytest.fixture
def device(tmp_path):
    return bench.Device(tmp_path / "ledger", policy=Policy(rounds_max=100_000))


def grow(device, rounds):
    """Append whole rounds as an agent would, without an fsync for each."""
    device.open().close()
    state = read_ledger(device.folder, device.identity.public)
    lines = []

    def add(kind, fields):
        nonlocal state
        body = ledger_file._body(kind, state.seq + 1, bench.FrozenClock(), state.dataset_id, fields)
        record = Record.make(body, state.hash, device.identity)
        state = advance(state, record)
        lines.append(record.line())

    for number in range(rounds):
        asked = bench.question(
            number % 10 + 1,
            1,
            run=f"run-{number // 10}",
            noise_multiplier=500.0,
            steps=1,
            rounds=10,
        )
        named = attempt_fields(asked.attempt)
        blob = {"blob_sha256": "ab" * 32}
        add(Kind.RESERVE, reserve_fields(Reservation(asked, free=False), state))
        add(Kind.SEAL, {**named, **blob, "steps_done": 1, "gradient_mode": "ghost"})
        add(Kind.SUBMIT, {**named, **blob, "ctx": "cd" * 32})
        add(Kind.ACK, {**named, "note_code": "accepted"})
    with device.ledger.open("ab") as file:
        file.writelines(lines)
    return state


@pytest.mark.parametrize("rounds", [2_000, pytest.param(10_000, marks=pytest.mark.long)])
def test_thousands_of_rounds_open_and_check_in_under_a_second(device, rounds):
    expected = grow(device, rounds)
    with device.open() as store:  # verifies everything once and leaves its bookmark
        assert store.state == expected
    began = time.process_time()
    with device.open() as store:
        head = store.head()
        store.check_echo(head, "run-1")
        precheck(
            bench.question(1, 1, run="next"), device.policy, store.state, pinned=bench.COORDINATOR
        )
        taken = time.process_time() - began
        assert store.state.rounds_charged == rounds
    assert taken < 1.0


def test_a_precheck_with_a_thousand_rounds_takes_under_fifty_milliseconds(device):
    grow(device, 1000)
    with device.open() as store:
        old_head = store.head()
        device.spend(store, bench.question(1, 1, run="latest", noise_multiplier=500.0))
        began = time.process_time()
        store.check_echo(old_head, "new")
        asked = bench.question(1, 1, run="new", noise_multiplier=501.0)
        precheck(asked, device.policy, store.state, pinned=bench.COORDINATOR)
        assert time.process_time() - began < 0.05


@pytest.fixture
def marked(device):
    """A ledger with a bookmark in its middle, and the state it stands for."""
    grow(device, BOOKMARK_EVERY // 4)
    device.open().close()
    assert (device.folder / BOOKMARK).exists()
    with device.open() as store:
        device.spend(store, bench.question(1, run="after", noise_multiplier=500.0))
        state = store.state
    return device, state


def test_a_bookmark_changes_nothing_but_the_time(marked):
    device, state = marked
    with device.open() as store:
        assert store.state == state
        assert (
            store._file.hash_at(3) == ledger_records(device.folder, device.identity.public)[2].hash
        )
    (device.folder / BOOKMARK).unlink()
    with device.open() as store:
        assert store.state == state


@pytest.mark.parametrize("at", [0, 40, -1])
def test_a_damaged_bookmark_is_ignored(marked, at):
    device, state = marked
    path = device.folder / BOOKMARK
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
    with device.open() as store:
        assert store.state == state


def test_a_bookmark_of_another_device_is_ignored(marked, tmp_path):
    device, state = marked
    other = bench.Device(tmp_path / "other" / "ledger", policy=device.policy)
    grow(other, BOOKMARK_EVERY // 4)
    other.open().close()
    shutil.copy(other.folder / BOOKMARK, device.folder / BOOKMARK)
    with device.open() as store:
        assert store.state == state


@pytest.mark.parametrize("place", ["first signature", "middle", "last"])
def test_a_changed_byte_before_the_bookmark_is_found(marked, place):
    device, _ = marked
    data = bytearray(device.ledger.read_bytes())
    at = {"first signature": data.index(b"\n") - 5, "middle": len(data) // 2, "last": len(data) - 5}
    data[at[place]] ^= 1
    device.ledger.write_bytes(data)
    with pytest.raises(LedgerDamaged):
        device.open()
    with pytest.raises(LedgerDamaged):
        read_ledger(device.folder, device.identity.public)


def test_a_ledger_cut_off_below_its_bookmark_or_removed_is_found(marked):
    device, _ = marked
    whole = device.ledger.read_bytes()
    lines = whole.splitlines(keepends=True)
    device.ledger.write_bytes(b"".join(lines[:100]))
    with pytest.raises(LedgerDamaged, match="restored from a copy or cut off"):
        device.open()
    device.ledger.unlink()
    with pytest.raises(LedgerDamaged, match="is gone"):
        device.open()
    device.ledger.write_bytes(whole)
    device.open().close()


def test_another_true_ledger_of_the_device_in_its_place_is_found(marked, tmp_path):
    device, _ = marked
    policy = device.policy.model_copy(update={"rounds_max": 99_999})
    other = bench.Device(tmp_path / "other" / "ledger", device.identity, policy)
    grow(other, BOOKMARK_EVERY // 4 + 10)
    shutil.copy(other.ledger, device.ledger)
    with pytest.raises(LedgerDamaged, match="does not continue the"):
        device.open()


def test_a_running_agent_keeps_its_bookmark_fresh(device, monkeypatch):
    monkeypatch.setattr(ledger_file, "BOOKMARK_EVERY", 6)
    with device.open() as store:
        for number in (1, 2, 3):
            device.spend(store, bench.question(number))
        assert (device.folder / BOOKMARK).exists()
        state = store.state
    with device.open() as store:
        assert store.state == state


@pytest.fixture
def old(tmp_path):
    """A ledger that edgeveil wrote in format 1: two rounds, an anchor, a tightened policy."""
    device = bench.Device(
        tmp_path / "old",
        identity=Identity(Ed25519PrivateKey.from_private_bytes(OLD_KEY)),
        policy=Policy(epsilon_max=7.5),
    )
    device.folder.mkdir(mode=0o700)
    shutil.copy(OLD, device.ledger)
    return device


def test_a_ledger_of_an_earlier_format_opens_and_goes_on_in_the_present_one(old):
    before = old.ledger.read_bytes()
    with old.open() as store:
        assert store.state.rounds_charged == 2
        assert store.state.current.phase is Phase.SEALED
        old.spend(store, bench.question(1, run="new", noise_multiplier=6.0))
        spent = store.state.rdp_spent
    assert old.ledger.read_bytes().startswith(before), "chained records are never rewritten"
    found = ledger_records(old.folder, old.identity.public)
    assert [record.body["v"] for record in found][-1] == FORMAT
    assert {record.body["v"] for record in found} == {1, FORMAT}
    assert {record.text("optimizer") for record in found if record.kind is Kind.RESERVE} == {"sgd"}
    with old.open() as store:
        assert store.state.rdp_spent == spent


def test_every_changed_byte_of_the_earlier_format_is_found(old):
    whole = old.ledger.read_bytes()
    for at in range(0, len(whole), 41):
        old.ledger.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(LedgerDamaged):
            old.open()
