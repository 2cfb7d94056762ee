"""Lines of the ledger: canonical, chained, signed; every changed byte is seen."""

import json

import privacy_bench as bench
import pytest

from edgeveil.agent.ledger.file import LedgerFile, read_ledger
from edgeveil.shared.base.errors import ProtocolError, RefusalCode
from edgeveil.shared.privacy.ledger.heads import SignedHead, dataset_tag
from edgeveil.shared.privacy.ledger.records import (
    START,
    Fault,
    Kind,
    LedgerDamaged,
    Record,
    read_record,
    read_records,
)
from edgeveil.shared.privacy.ledger.replay import replay
from edgeveil.shared.privacy.ledger.state import Phase
from edgeveil.shared.privacy.rdp import to_epsilon
from edgeveil.shared.wire.identity import Identity


@pytest.fixture
def device(tmp_path):
    return bench.Device(tmp_path / "ledger")


@pytest.fixture
def filled(device):
    """One round in all its steps, an anchor, and a second round that stopped after its seal."""
    with device.open() as store:
        device.spend(store, bench.question(1))
        store.check_echo(store.head(), "run-1")
        device.spend(store, bench.question(2), until="seal")
    return device


def records(device):
    return list(read_records(device.ledger.read_bytes(), device.identity.public))


def rewritten(device, change):
    """The ledger with one body changed by `change`, re-chained and re-signed by the device itself."""
    previous, lines = START, []
    for record in records(device):
        body = dict(record.body)
        change(body)
        made = Record.make(body, previous, device.identity)
        lines.append(made.line())
        previous = made.hash
    return b"".join(lines)


def fault_of(data, device):
    with pytest.raises(LedgerDamaged) as caught:
        replay(read_records(data, device.identity.public))
    return caught.value.fault, caught.value.seq


def test_the_kinds_of_a_round_stand_in_their_order(filled):
    kinds = [record.kind for record in records(filled)]
    assert kinds == ["open", "reserve", "seal", "submit", "ack", "anchor", "reserve", "seal"]
    state = read_ledger(filled.folder, filled.identity.public)
    assert (state.rounds_charged, state.current.phase) == (2, Phase.SEALED)
    assert state.rdp_spent == pytest.approx(16 * 4 / (2 * 4.43**2))


def test_bodies_hold_only_integers_and_strings(filled):
    for line in filled.ledger.read_text().splitlines():
        assert all(type(value) in (int, str) for value in json.loads(line)["body"].values())


def test_the_file_is_private(filled):
    assert filled.ledger.stat().st_mode & 0o777 == 0o600


def test_every_changed_byte_of_every_record_is_found(filled):
    previous = START
    for record in records(filled):
        line = record.line()[:-1]
        for at in range(len(line)):
            bad = line[:at] + bytes([line[at] ^ 0x01]) + line[at + 1 :]
            with pytest.raises(LedgerDamaged):
                read_record(bad, record.seq, previous, filled.identity.public)
        previous = record.hash


def test_a_changed_byte_anywhere_in_the_file_stops_everything_and_repairs_nothing(filled):
    good = filled.ledger.read_bytes()
    newlines = [at for at, byte in enumerate(good) if byte == ord("\n")]
    for at in sorted({*range(0, len(good), 61), *newlines, *(n - 1 for n in newlines)}):
        bad = good[:at] + bytes([good[at] ^ 0x20]) + good[at + 1 :]
        filled.ledger.write_bytes(bad)
        with pytest.raises(LedgerDamaged) as caught:
            LedgerFile.recover(filled.ledger, filled.identity, bench.FrozenClock(), {})
        assert caught.value.code is RefusalCode.LEDGER_CORRUPT
        assert caught.value.seq == good[:at].count(b"\n") + 1
        assert filled.ledger.read_bytes() == bad


def test_any_other_order_of_lines_is_found(filled):
    lines = filled.ledger.read_bytes().splitlines(keepends=True)
    for at in range(len(lines) - 1):
        swapped = [*lines[:at], lines[at + 1], lines[at], *lines[at + 2 :]]
        assert fault_of(b"".join(swapped), filled)[0] is Fault.CHAIN
        missing = [*lines[:at], *lines[at + 1 :]]
        assert fault_of(b"".join(missing), filled)[0] is Fault.CHAIN
        twice = [*lines[: at + 1], *lines[at:]]
        assert fault_of(b"".join(twice), filled)[0] is Fault.CHAIN


def test_another_device_cannot_have_written_it(filled):
    with pytest.raises(LedgerDamaged, match="signature"):
        read_ledger(filled.folder, Identity.generate().public)


@pytest.mark.parametrize(
    ("kind", "name", "value", "fault"),
    [
        ("reserve", "rdp_spent", (0.001).hex(), Fault.ARITHMETIC),
        ("reserve", "rdp_step", (0.001).hex(), Fault.ARITHMETIC),
        ("reserve", "epsilon_enforced", (0.001).hex(), Fault.ARITHMETIC),
        ("reserve", "sigma", (4.5).hex(), Fault.ARITHMETIC),
        ("reserve", "sigma", (0.0).hex(), Fault.ARITHMETIC),
        ("reserve", "q", "nan", Fault.ARITHMETIC),
        ("reserve", "q", "text", Fault.ARITHMETIC),
        ("reserve", "steps_planned", 7, Fault.ARITHMETIC),
        ("reserve", "task_hash", "zz", Fault.ARITHMETIC),
        ("reserve", "attempt", 0, Fault.ORDER),
        ("open", "cap", (5.0).hex(), Fault.ARITHMETIC),
        ("open", "alpha", 5, Fault.ARITHMETIC),
        ("open", "alpha", 1, Fault.ARITHMETIC),
        ("open", "n_ref", 0, Fault.ARITHMETIC),
        ("open", "count_scale", 9, Fault.ARITHMETIC),
        ("open", "policy_hash", "00" * 32, Fault.ARITHMETIC),
        ("seal", "steps_done", 9, Fault.ARITHMETIC),
        ("seal", "attempt", 9, Fault.ORDER),
        ("submit", "blob_sha256", "00" * 32, Fault.ORDER),
        ("submit", "round", 2, Fault.ORDER),
        ("ack", "attempt", 9, Fault.ORDER),
        ("anchor", "echo_seq", 99, Fault.ORDER),
    ],
)
def test_a_false_figure_is_found_although_the_device_signed_it(filled, kind, name, value, fault):
    def change(body):
        if body["kind"] == kind:
            body[name] = value

    found, seq = fault_of(rewritten(filled, change), filled)
    assert found is fault
    assert records(filled)[seq - 1].kind in {kind, "seal"}


def test_a_second_reservation_of_the_same_attempt_is_found(filled):
    def change(body):
        if body["kind"] in {"reserve", "seal"} and body["round"] == 2:
            body["round"] = 1

    assert fault_of(rewritten(filled, change), filled) == (Fault.ORDER, 7)


def test_a_reservation_above_the_cap_is_found(device):
    with device.open() as store:
        for round_number in range(1, 7):
            device.spend(store, bench.question(round_number, rounds=6))
        above = store.state
    data = device.ledger.read_bytes()
    last = [r for r in records(device) if r.kind is Kind.RESERVE][-1]
    step = last.real("rdp_step")
    body = {
        **last.body,
        "seq": above.seq + 1,
        "round": 7,
        "rdp_spent": (above.rdp_spent + 8 * step).hex(),
    }
    body["epsilon_enforced"] = to_epsilon(above.rdp_spent + 8 * step, 4, 1e-5).hex()
    extra = Record.make(body, above.hash, device.identity)
    assert fault_of(data + extra.line(), device) == (Fault.BUDGET, above.seq + 1)


def test_a_record_of_another_dataset_or_a_second_open_is_out_of_order(filled):
    def other(body):
        if body["seq"] > 1:
            body["dataset_id"] = "other"

    assert fault_of(rewritten(filled, other), filled) == (Fault.ORDER, 2)
    first = dict(records(filled)[0].body)
    again = [Record.make(first, START, filled.identity)]
    again.append(Record.make({**first, "seq": 2}, again[0].hash, filled.identity))
    assert fault_of(b"".join(r.line() for r in again), filled) == (Fault.ORDER, 2)


def test_a_ledger_that_does_not_start_with_open_or_is_empty_is_damaged(filled):
    body = {**records(filled)[1].body, "seq": 1}
    record = Record.make(body, START, filled.identity)
    assert fault_of(record.line(), filled) == (Fault.ORDER, 1)
    assert fault_of(b"", filled) == (Fault.CHAIN, 1)
    assert fault_of(record.line()[:-1], filled) == (Fault.CHAIN, 1)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"[]",
        b"{}",
        b'{"body":1,"hash":"","sig":""}',
        b'{"body":{"kind":"nothing"},"hash":"","sig":""}',
        b'{"body":{},"hash":"","sig":""}',
        b"\xff",
        b"[" * 60_000,
        b'"' + b"x" * 70_000 + b'"',
    ],
)
def test_nonsense_is_damage_and_nothing_else(line):
    with pytest.raises(LedgerDamaged):
        read_record(line, 1, START, bytes(32))


@pytest.mark.parametrize(
    "change", [{"v": 5}, {"v": True}, {"seq": "1"}, {"extra": 1}, {"time": True}, {"unit": None}]
)
def test_a_body_with_other_fields_or_types_cannot_be_made(filled, change):
    body = {**records(filled)[0].body, **change}
    with pytest.raises(ValueError):
        Record.make(body, START, filled.identity)


def test_a_signed_head_survives_the_wire_and_only_its_device_can_make_it():
    device, other = Identity.generate(), Identity.generate()
    head = SignedHead.make(dataset_tag("data", device.public), 7, b"h" * 32, device)
    read = SignedHead.decode(head.encode())
    assert read == head
    read.verify(device.public, "the device")
    for forged in (
        SignedHead(head.dataset, 8, head.hash, head.sig),
        SignedHead(bytes(16), 7, head.hash, head.sig),
        SignedHead.make(head.dataset, 7, head.hash, other),
    ):
        with pytest.raises(ProtocolError) as caught:
            forged.verify(device.public, "the device")
        assert caught.value.code is RefusalCode.LEDGER_ROLLBACK


@pytest.mark.parametrize("data", [b"", b"x", bytes(200)])
def test_a_malformed_head_is_refused(data):
    with pytest.raises(ProtocolError) as caught:
        SignedHead.decode(data)
    assert caught.value.code is RefusalCode.MALFORMED


def test_a_head_with_a_short_field_is_malformed():
    short = SignedHead(b"t", 1, b"h" * 32, b"s" * 64)
    with pytest.raises(ProtocolError):
        SignedHead.decode(short.encode())


def test_the_dataset_tag_hides_the_name_and_differs_by_device():
    a, b = Identity.generate().public, Identity.generate().public
    assert len(dataset_tag("data", a)) == 16
    assert len({dataset_tag("data", a), dataset_tag("data", b), dataset_tag("other", a)}) == 3
