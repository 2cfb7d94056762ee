"""`agent verify` accepts honest ledgers and reports, and names what is wrong with any other."""

import json
import re
import shutil
import time

import privacy_bench as bench
import pytest
import report_bench
from report_bench import joined_device, report, run
from typer.testing import CliRunner

from edgeveil.agent.cli.app import app
from edgeveil.agent.home.policy import Policy
from edgeveil.agent.reports.report import sign
from edgeveil.agent.reports.verify import Verdict, check
from edgeveil.shared.base.errors import ConfigError, EnrollmentError, StateDamaged
from edgeveil.shared.privacy.ledger.records import START, LedgerDamaged, Record
from edgeveil.shared.wire.messages import Attempt


@pytest.fixture
def device(tmp_path):
    return report_bench.trained_device(tmp_path)


def rewrite(device, change):
    """The ledger again, every body passed through `change`, chained and signed by the device."""
    lines, previous = [], START
    for line in device.ledger.read_bytes().splitlines():
        body = change(json.loads(line)["body"])
        record = Record.make(body, previous, device.home.identity())
        lines.append(record.line())
        previous = record.hash
    device.ledger.write_bytes(b"".join(lines))


def test_an_honest_ledger_and_both_forms_of_its_report_are_accepted(device, tmp_path):
    _, path, page = report(device, tmp_path)
    for arguments in ((), (str(path),), (str(page),)):
        result = run(device, "verify", *arguments)
        assert result.exit_code == 0, result.output
    assert "equals the ledger at record" in result.stdout


def test_a_report_stays_true_after_more_rounds(device, tmp_path):
    _, path, _ = report(device, tmp_path)
    device.train(1, noise_multiplier=90.0)
    assert run(device, "verify", str(path)).exit_code == 0


def test_a_report_is_checked_alone_where_its_ledger_is_not(device, tmp_path):
    _, path, _ = report(device, tmp_path)
    elsewhere = joined_device(tmp_path / "elsewhere")
    for home in (elsewhere.path, tmp_path / "nothing"):
        found = check(home, None, path)
        assert found.verdict is Verdict.OK
        assert any("its ledger is not here" in sentence for sentence in found.checked)


@pytest.mark.parametrize("at", [0.1, 0.5, 0.9])
def test_a_changed_byte_breaks_the_chain(device, at):
    data = bytearray(device.ledger.read_bytes())
    data[int(at * len(data))] ^= 1
    device.ledger.write_bytes(data)
    result = run(device, "verify")
    assert result.exit_code == Verdict.CHAIN
    assert "ledger record" in result.stdout


def test_a_false_figure_is_named_with_its_record(device):
    def halve(body):
        if body["kind"] == "reserve" and body["round"] == 4:
            body["rdp_step"] = (float.fromhex(body["rdp_step"]) / 2).hex()
        return body

    rewrite(device, halve)
    result = run(device, "verify")
    assert result.exit_code == Verdict.ARITHMETIC
    assert re.search(r"ledger record \d+: rdp_step is", result.stdout)


def test_a_reservation_outside_the_policy_then_in_force_is_over_budget(device):
    def strict(body):
        if body["kind"] == "open":
            policy = json.loads(body["policy"]) | {"sigma_min": 70.0}
            text = Policy.model_validate(policy).to_json()
            body |= {"policy": text, "policy_hash": Policy.from_json(text).hash().hex()}
        return body

    rewrite(device, strict)
    result = run(device, "verify")
    assert result.exit_code == Verdict.OVER_BUDGET
    assert "outside the policy" in result.stdout


FALSE_REPORTS = {
    "less ε": lambda r: r.update(epsilon_spent=r["epsilon_spent"] / 2),
    "a larger budget": lambda r: r["guarantee"].update(epsilon_limit=100.0),
    "fewer steps": lambda r: r["mechanism"]["segments"][0].update(steps=1),
    "more noise": lambda r: r["mechanism"]["segments"][0].update(noise_multiplier=99.0),
    "another head": lambda r: r["integrity"].update(ledger_head="0" * 64),
    "a forgotten policy change": lambda r: r["integrity"].update(policy_changes=[]),
    "an invented delivery": lambda r: r["accounting"].update(delivered=99),
    "a smaller δ": lambda r: r["guarantee"].update(delta=1e-9),
    "nothing left out": lambda r: r.update(not_covered=[]),
    "a NaN": lambda r: r.update(share_spent="NaN"),
    "more records than there are": lambda r: r["integrity"].update(ledger_records=10**6),
    "no mechanism": lambda r: r.pop("mechanism"),
}


@pytest.mark.parametrize("name", FALSE_REPORTS)
def test_a_false_report_is_refused_even_if_the_device_signed_it(device, tmp_path, name):
    made, path, _ = report(device, tmp_path)
    FALSE_REPORTS[name](made)
    made.pop("signature")
    path.write_text(json.dumps(sign(made, device.home.identity())))
    result = run(device, "verify", str(path))
    assert result.exit_code == Verdict.REPORT, result.output


def test_a_report_that_nobody_signed_is_refused(device, tmp_path):
    made, path, _ = report(device, tmp_path)
    made["signature"] = "00" * 64
    path.write_text(json.dumps(made))
    assert run(device, "verify", str(path)).exit_code == Verdict.REPORT


@pytest.mark.parametrize("text", ["", "{}", "<html></html>", "[1]", '{"kind": "other"}'])
def test_something_else_is_no_report(device, tmp_path, text):
    path = tmp_path / "something"
    path.write_text(text)
    with pytest.raises(ConfigError, match="cannot be read as a report"):
        check(device.path, None, path)


def test_a_rolled_back_ledger_is_found_by_a_newer_report(device, tmp_path):
    copy = tmp_path / "copy.jsonl"
    shutil.copy(device.ledger, copy)
    device.train(2, noise_multiplier=90.0)
    _, path, _ = report(device, tmp_path)
    shutil.copy(copy, device.ledger)
    result = run(device, "verify", str(path))
    assert result.exit_code == Verdict.REPORT
    assert "restored from a copy" in result.stdout


def test_a_device_that_never_trained_has_nothing_wrong(tmp_path):
    device = joined_device(tmp_path)
    assert run(device, "verify").exit_code == 0
    _, path, _ = report(device, tmp_path)
    assert run(device, "verify", str(path)).exit_code == 0


def test_without_home_and_report_there_is_nothing_to_check(tmp_path):
    with pytest.raises(EnrollmentError):
        check(tmp_path / "nobody", None, None)


def test_verifying_never_uses_the_bookmark(device):
    folder = device.ledger.parent
    (folder / "ledger.bookmark").write_bytes(b"x")
    assert run(device, "verify").exit_code == 0


@pytest.mark.parametrize("look", ["budget", "verify"])
def test_a_data_set_that_was_never_used_is_named_and_not_shown_as_unspent(device, look):
    result = run(device, look, "--dataset", "no-such-data")
    assert isinstance(result.exception, ConfigError)
    assert "no data set named 'no-such-data' was used here; known: " in str(result.exception)


@pytest.mark.parametrize("gone", ["file", "folder"])
def test_a_deleted_ledger_is_damage_and_never_nothing_spent(device, gone):
    device.home.advance(Attempt("run-1", 1, 1))
    if gone == "file":
        device.ledger.unlink()
    else:
        shutil.rmtree(device.ledger.parent)
    for command in (
        ("budget",),
        ("budget", "--json", "--no-prv"),
        ("budget", "plan", "--ledger", "--steps", "1"),
    ):
        result = CliRunner().invoke(app, [*command, "--home", str(device.path)])
        assert isinstance(result.exception, StateDamaged), result.output
        assert result.exception.exit_code == 65
        assert "gone" in str(result.exception)
    assert run(device, "verify").exit_code == Verdict.CHAIN
    assert not device.ledger.exists()


def test_the_ledger_of_another_data_set_in_its_place_is_damage(device):
    other = bench.Device(
        device.home.ledger_folder / "other", identity=device.home.identity(), dataset_id="other"
    )
    with other.open() as store:
        other.spend(store, bench.question(1, dataset_id="other"))
    for name in ("ledger.jsonl", "ledger.bookmark"):
        shutil.copy(other.folder / name, device.ledger.parent / name)
    result = run(device, "verify")
    assert result.exit_code == Verdict.CHAIN
    assert "another data set" in " ".join(result.stdout.split())
    assert isinstance(run(device, "budget").exception, LedgerDamaged)


@pytest.mark.parametrize("rate", [1.0, 0.01])
def test_a_report_of_twenty_thousand_segments_is_answered_within_two_seconds(
    device, tmp_path, rate
):
    made, path, _ = report(device, tmp_path)
    row = made["mechanism"]["segments"][0]
    made["mechanism"]["segments"] = [
        {**row, "noise_multiplier": 50 + place / 1000, "sample_rate": rate}
        for place in range(20_000)
    ]
    path.write_text(json.dumps(sign(made, device.home.identity())))
    began = time.process_time()
    found = check(tmp_path / "nobody", None, path)
    assert time.process_time() - began < 2.0
    assert found.verdict is Verdict.REPORT
