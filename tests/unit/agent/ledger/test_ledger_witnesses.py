"""A ledger that was cut back holds only true records; what lies beside it says that others are gone."""

import json
import shutil

import privacy_bench as bench
import pytest
from report_bench import joined_device, run

from edgeveil.agent.cli.doctor import diagnose
from edgeveil.agent.home.home import AgentHome
from edgeveil.agent.ledger.budget import read_budget
from edgeveil.agent.ledger.index import INDEX
from edgeveil.agent.ledger.reading import BLOB, BOOKMARK
from edgeveil.agent.ledger.witnesses import VARIATE_FILE, variate_bytes
from edgeveil.agent.reports.verify import Verdict
from edgeveil.shared.base.errors import StateDamaged
from edgeveil.shared.doctor.checks import Level
from edgeveil.shared.privacy.ledger.records import LedgerDamaged
from edgeveil.shared.wire.messages import Attempt

RECORDS_OF_A_ROUND = 4


@pytest.fixture
def device(tmp_path):
    """Three rounds, each counted in the home as a session counts them."""
    made = joined_device(tmp_path)
    made.train(3)
    for number in (1, 2, 3):
        made.home.advance(Attempt("run-1", number, 1))
    return made


def reopen(device):
    return device.device.open(attempts=device.home.last_attempts())


def cut(device, records):
    """Leave out so many of the last records."""
    lines = device.ledger.read_bytes().splitlines(keepends=True)
    device.ledger.write_bytes(b"".join(lines[:-records]))


def test_a_whole_ledger_and_its_witnesses_agree(device):
    result = run(device, "verify")
    assert result.exit_code == 0, result.output
    assert "1 runs this device took part in agree with it" in result.stdout
    reopen(device).close()


@pytest.mark.parametrize("rounds", [1, 2, 3])
def test_a_ledger_behind_the_device_s_own_counters_is_refused_everywhere(device, rounds):
    cut(device, rounds * RECORDS_OF_A_ROUND)
    result = run(device, "verify")
    assert result.exit_code == Verdict.CHAIN, result.output
    assert "took part in run-1 round 3 attempt 1, and no ledger charged it" in result.stdout
    with pytest.raises(LedgerDamaged, match="took part in run-1 round 3"):
        reopen(device)
    with pytest.raises(LedgerDamaged, match="took part in run-1 round 3"):
        read_budget(device.path)
    (found,) = [
        finding
        for finding in diagnose(device.path, token=None, data=None, dataset=None)
        if finding.check == "ledger"
    ]
    assert found.level is Level.RED
    assert "round 3" in found.text


def test_a_copy_of_the_ledger_folder_put_back_is_found_although_its_bookmark_fits(device, tmp_path):
    shutil.copytree(device.device.folder, tmp_path / "copy")
    device.train(1)
    device.home.advance(Attempt("run-1", 4, 1))
    shutil.rmtree(device.device.folder)
    shutil.copytree(tmp_path / "copy", device.device.folder)
    assert run(device, "verify").exit_code == Verdict.CHAIN
    with pytest.raises(LedgerDamaged, match="round 4"):
        reopen(device)


def test_a_later_attempt_that_masked_the_sealed_update_again_is_no_loss(device):
    with reopen(device) as store:
        asked = bench.question(4, 1, rounds=4, noise_multiplier=60.0, steps=4)
        device.device.spend(store, asked, until="seal")
    device.home.advance(Attempt("run-1", 4, 2))
    reopen(device).close()
    assert run(device, "verify").exit_code == 0


def test_a_later_attempt_after_a_submitted_one_was_charged_so_its_absence_is_a_loss(device):
    device.home.advance(Attempt("run-1", 3, 2))
    with pytest.raises(LedgerDamaged, match="round 3 attempt 2"):
        reopen(device)


def test_what_another_ledger_of_the_device_charged_is_no_loss_here(device):
    other = bench.Device(
        device.home.ledger_folder / "other",
        identity=device.home.identity(),
        policy=device.device.policy,
        dataset_id="other",
    )
    with other.open() as store:
        other.spend(
            store, bench.question(1, run="run-2", noise_multiplier=60.0, dataset_id="other")
        )
    device.home.advance(Attempt("run-2", 1, 1))
    reopen(device).close()
    shutil.rmtree(other.folder)
    (device.home.ledger_folder / INDEX).unlink()
    with pytest.raises(LedgerDamaged, match="run-2"):
        reopen(device)


def test_a_ledger_lost_with_the_list_is_missed_although_another_one_is_there(device):
    other = bench.Device(device.home.ledger_folder / "other", identity=device.home.identity(), dataset_id="other")  # fmt: skip
    other.open().close()
    shutil.rmtree(device.device.folder)
    (device.home.ledger_folder / INDEX).unlink()
    assert run(device, "verify", "--dataset", "data").exit_code == Verdict.CHAIN
    with pytest.raises(StateDamaged, match="their ledger is gone"):
        read_budget(device.path, "data")


def test_an_update_that_no_record_seals_is_a_loss(device):
    with reopen(device) as store:
        asked = bench.question(4, 1, rounds=4, noise_multiplier=60.0, steps=4)
        device.device.spend(store, asked, until="reserve")
        store.seal(asked.attempt, b"another update", steps_done=4, gradient_mode="ghost")
    whole = device.ledger.read_bytes()
    cut(device, 2)  # reservation and seal, the device died before it answered
    with pytest.raises(LedgerDamaged, match=BLOB):
        reopen(device)
    assert run(device, "verify").exit_code == Verdict.CHAIN
    device.ledger.write_bytes(whole)
    cut(device, 1)  # killed between the file and its record
    reopen(device).close()
    assert not (device.device.folder / BLOB).exists()


def test_a_variate_that_no_record_seals_is_a_loss(device):
    path = device.device.folder / VARIATE_FILE
    path.write_bytes(variate_bytes("run-1", b"noisy update"))
    reopen(device).close()
    path.write_bytes(variate_bytes("run-9", b"of a round that is gone"))
    with pytest.raises(LedgerDamaged, match="run-9"):
        reopen(device)
    assert run(device, "verify").exit_code == Verdict.CHAIN


@pytest.mark.parametrize("tail", [bytes(512), b'{"body":{"attempt"', b'{"bo' + bytes(99)])
def test_what_a_crash_leaves_after_the_last_record_is_told_and_cut(device, tail):
    whole = device.ledger.read_bytes()
    device.ledger.write_bytes(whole + tail)
    result = run(device, "verify", "--json")
    assert result.exit_code == 0
    (noticed,) = json.loads(result.stdout)["noticed"]
    assert f"{len(tail)} bytes after record 13" in noticed
    with reopen(device) as store:
        assert [f"{len(tail)} bytes" in remark for remark in store.remarks] == [True]
    assert device.ledger.read_bytes() == whole


@pytest.mark.parametrize(
    "tail", [b"\x17\x99garbage", bytes(100_000), b'{"body":{"a' + b"\0" * 9 + b"b"]
)
def test_what_no_crash_leaves_after_the_last_record_stops_everything(device, tail):
    whole = device.ledger.read_bytes() + tail
    device.ledger.write_bytes(whole)
    assert run(device, "verify").exit_code == Verdict.CHAIN
    with pytest.raises(LedgerDamaged, match="overwritten"):
        reopen(device)
    assert device.ledger.read_bytes() == whole


def test_a_damaged_witness_is_named(device):
    (device.device.folder / BOOKMARK).write_bytes(b"{}")
    result = run(device, "verify")
    assert result.exit_code == 0
    assert f"{BOOKMARK}: damaged" in result.stdout.replace("\n", "")
    (device.path / "rounds.json").write_bytes(b"{")
    assert run(device, "verify").exit_code == Verdict.CHAIN
    with pytest.raises(StateDamaged):
        AgentHome(device.path).last_attempts()
