"""`agent budget reset`: only the owner, only here, recorded for good, and hiding nothing."""

import ast
import json
from pathlib import Path

import pytest
from report_bench import joined_device
from typer.testing import CliRunner

from edgeveil.agent.cli.app import app
from edgeveil.agent.home.policy import Policy
from edgeveil.agent.ledger.file import ledger_records
from edgeveil.shared.base.errors import Busy, ConfigError
from edgeveil.shared.privacy.ledger.records import Kind
from edgeveil.shared.privacy.rdp import Segment, epsilon

ROOT = Path(__file__).resolve().parents[4]


@pytest.fixture
def device(tmp_path):
    made = joined_device(tmp_path)
    made.train(3)
    return made


def run(device, *arguments, **options):
    return CliRunner().invoke(app, ["budget", *arguments, "--home", str(device.path)], **options)


def kinds(device):
    return [r.kind for r in ledger_records(device.ledger.parent, device.home.identity().public)]


def test_it_counts_from_zero_and_says_in_every_report_what_was_spent_in_all(device):
    before = json.loads(run(device, "--json", "--no-prv").stdout)
    result = run(device, "reset", "--dataset", "data", "--yes")
    assert result.exit_code == 0, result.output
    assert "no longer count" in result.stderr
    assert kinds(device)[-1] is Kind.RESET
    device.train(1, noise_multiplier=80.0)
    after = json.loads(run(device, "--json", "--no-prv").stdout)
    alone = epsilon([Segment(80.0, 1.0, 4)], 1e-5)[0]
    total = epsilon([Segment(60.0, 1.0, 12), Segment(80.0, 1.0, 4)], 1e-5)[0]
    assert after["epsilon_spent"] == pytest.approx(alone)
    assert after["epsilon_spent"] < before["epsilon_spent"] < total
    assert after["guarantee"]["epsilon_since_opening"] == pytest.approx(total)
    assert f"ε {total:.4g} in all" in after["not_covered"][0]
    assert (after["rounds"], after["resets"]) == (4, 1)
    assert "counted anew" in run(device).stdout


def test_its_page_starts_with_what_was_spent_in_all(device, tmp_path):
    run(device, "reset", "--yes")
    page = tmp_path / "report.html"
    run(device, "--no-prv", "--html", str(page))
    first = page.read_text().split("The figures behind it")[0]
    total = epsilon([Segment(60.0, 1.0, 12)], 1e-5)[0]
    assert f"in all it is ε {total:.3g}" in first
    assert "No training has used private records" not in first
    assert CliRunner().invoke(app, ["verify", str(page), "--home", str(device.path)]).exit_code == 0


def test_without_the_owners_word_nothing_happens(device):
    before = device.ledger.read_bytes()
    result = run(device, "reset")
    assert isinstance(result.exception, ConfigError)
    assert "--yes" in str(result.exception)
    assert device.ledger.read_bytes() == before


@pytest.mark.parametrize(("typed", "recorded"), [("data", True), ("y", False), ("", False)])
def test_at_a_terminal_the_owner_types_the_name_of_the_data_set(
    device, monkeypatch, typed, recorded
):
    monkeypatch.setattr("click.testing._NamedTextIOWrapper.isatty", lambda _self: True)
    run(device, "reset", input=f"{typed}\n")
    assert (kinds(device)[-1] is Kind.RESET) is recorded


def test_where_nothing_was_spent_there_is_nothing_to_reset(tmp_path):
    device = joined_device(tmp_path)
    for _ in range(2):
        result = run(device, "reset", "--yes")
        assert isinstance(result.exception, ConfigError)
        assert "nothing to reset" in str(result.exception)
        with device.device.open():
            pass


def test_a_running_agent_and_a_loosened_file_stand_in_its_way(device):
    with device.home.lock():
        assert isinstance(run(device, "reset", "--yes").exception, Busy)
    device.home.policy_path.write_text(Policy(epsilon_max=20.0).to_toml())
    assert "allows more" in str(run(device, "reset", "--yes").exception)
    assert Kind.RESET not in kinds(device)


def test_no_other_code_of_the_product_resets_a_ledger():
    """So no message of a coordinator can reach it: agent.ledger.budget_reset is used by its command alone."""
    users = {
        path.relative_to(ROOT).as_posix()
        for folder in ("agent", "coordinator", "shared")
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if (
            isinstance(node, ast.ImportFrom) and node.module == "edgeveil.agent.ledger.budget_reset"
        )
        or (isinstance(node, ast.Attribute) and node.attr == "RESET" and path.name != "records.py")
        or (isinstance(node, ast.Attribute) and node.attr == "reset")
    }
    assert users == {
        "agent/ledger/budget.py",  # reads
        "agent/ledger/budget_reset.py",
        "agent/ledger/store.py",
        "agent/cli/privacy.py",
        "shared/privacy/ledger/facts.py",  # reads
        "shared/privacy/ledger/replay.py",  # reads
    }
