"""`agent task`: begun, checked, installed with the owner's word, chained in the ledger, removed."""

import json
import subprocess
import sys

import own_tasks_bench as bench
import pytest
from report_bench import joined_device
from typer.testing import CliRunner

from edgeveil.agent.cli.app import app
from edgeveil.agent.home.policy import OwnTask, Policy
from edgeveil.agent.home.policy_changes import loosened
from edgeveil.agent.ledger.file import ledger_records
from edgeveil.shared.base.errors import Busy, ConfigError, EnrollmentError
from edgeveil.shared.privacy.ledger.records import Kind
from edgeveil.shared.tasks import registry
from edgeveil.shared.tasks.own.shelf import Shelf


@pytest.fixture(autouse=True)
def no_own_tasks():
    yield
    registry.take_own(())


@pytest.fixture
def device(tmp_path):
    made = joined_device(tmp_path)
    made.train(1)
    return made


def run(device, *arguments):
    return CliRunner().invoke(app, ["task", *arguments, "--home", str(device.path)])


def policies(device):
    found = ledger_records(device.ledger.parent, device.home.identity().public)
    return [record for record in found if record.kind is Kind.POLICY]


def test_no_command_on_tasks_confirms_what_somebody_wrote_into_the_policy(device, tmp_path):
    path = bench.write(tmp_path, bench.GOOD)
    assert run(device, "install", str(path), "--yes").exit_code == 0
    before = policies(device)
    loose = Policy.load(device.home.policy_path).model_copy(
        update={"dp_required": False, "without_noise_for": ("ab" * 32,), "epsilon_max": 50.0}
    )
    device.home.policy_path.write_text(loose.to_toml())
    for words in (("install", str(path), "--yes"), ("remove", "valve")):
        result = run(device, *words)
        assert isinstance(result.exception, ConfigError)
        assert "dp_required, epsilon_max" in str(result.exception)
        assert "agent policy set" in str(result.exception)
    assert policies(device) == before
    assert (device.path / "tasks" / "valve.py").exists()


def test_what_is_installed_is_copied_allowed_and_chained(device, tmp_path):
    path = bench.write(tmp_path, bench.GOOD)
    result = run(device, "install", str(path), "--yes", "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["ledgers"] == ["data"]
    assert f"hash {told['hash']}" in result.stderr
    assert "Install only what you have read" in " ".join(result.stderr.split())
    rule = OwnTask(id="valve", version="1.0.0", hash=told["hash"])
    assert Policy.load(device.home.policy_path).own_tasks == (rule,)
    (chained,) = policies(device)
    assert chained.text("note_code") == "loosened"
    assert told["hash"] in chained.text("policy")
    assert (device.path / "tasks" / "valve.py").read_bytes() == path.read_bytes()
    listed = json.loads(run(device, "list", "--json").stdout)["tasks"]
    assert listed == [{"id": "valve", "version": "1.0.0", "hash": told["hash"], "hindrance": ""}]


def test_without_the_owners_word_nothing_is_installed(device, tmp_path):
    before = device.home.policy_path.read_bytes() if device.home.policy_path.exists() else b""
    result = run(device, "install", str(bench.write(tmp_path, bench.GOOD)))
    assert isinstance(result.exception, ConfigError)
    assert "confirm this very code with --yes" in str(result.exception)
    assert Shelf(device.path).installed() == ()
    after = device.home.policy_path.read_bytes() if device.home.policy_path.exists() else b""
    assert before == after
    assert policies(device) == []


def test_a_task_that_cannot_be_trained_privately_is_not_installed(device, tmp_path):
    result = run(device, "install", str(bench.write(tmp_path, bench.BATCH_NORM)), "--yes")
    assert isinstance(result.exception, ConfigError)
    assert "body.1 (BatchNorm1d) uses the statistics of the batch; replace it with GroupNorm" in str(result.exception)  # fmt: skip
    assert not (device.path / "tasks").exists()


def test_beside_a_running_agent_nothing_changes(device, tmp_path):
    with device.home.lock():
        result = run(device, "install", str(bench.write(tmp_path, bench.GOOD)), "--yes")
    assert isinstance(result.exception, Busy)
    assert not (device.path / "tasks").exists()
    assert policies(device) == []


def test_a_device_may_install_a_task_before_it_joins(tmp_path):
    path = bench.write(tmp_path, bench.GOOD)
    home = tmp_path / "new"
    result = CliRunner().invoke(app, ["task", "install", str(path), "--yes", "--home", str(home)])
    assert result.exit_code == 0, result.output
    assert [rule.id for rule in Policy.load(home / "policy.toml").own_tasks] == ["valve"]
    listed = CliRunner().invoke(app, ["task", "list", "--home", str(tmp_path / "none")])
    assert isinstance(listed.exception, EnrollmentError)


def test_another_version_takes_the_place_of_the_rule_too(device, tmp_path):
    run(device, "install", str(bench.write(tmp_path, bench.GOOD)), "--yes")
    again = bench.write(tmp_path, bench.changed("1.0.0", "1.0.1"))
    assert run(device, "install", str(again), "--yes").exit_code == 0
    assert [rule.version for rule in Policy.load(device.home.policy_path).own_tasks] == ["1.0.1"]


def test_removing_takes_the_rule_and_the_copy_away(device, tmp_path):
    run(device, "install", str(bench.write(tmp_path, bench.GOOD)), "--yes")
    assert run(device, "remove", "valve").exit_code == 0
    assert Policy.load(device.home.policy_path).own_tasks == ()
    assert not (device.path / "tasks" / "valve.py").exists()
    assert [record.text("note_code") for record in policies(device)] == ["loosened", "tightened"]
    assert isinstance(run(device, "remove", "valve").exception, ConfigError)


def test_the_list_names_what_hinders_a_task(device, tmp_path):
    run(device, "install", str(bench.write(tmp_path, bench.GOOD)), "--yes")
    (device.path / "tasks" / "valve.py").write_text("x = 1\n")
    (found,) = json.loads(run(device, "list", "--json").stdout)["tasks"]
    assert "has changed since it was installed" in found["hindrance"]
    (device.path / "tasks" / "valve.py").write_text(bench.GOOD)
    device.home.policy_path.write_text(Policy().to_toml())
    (found,) = json.loads(run(device, "list", "--json").stdout)["tasks"]
    assert found["hindrance"] == "policy.toml does not allow it: agent task install"


def test_listing_and_removing_import_no_torch(device, tmp_path):
    run(device, "install", str(bench.write(tmp_path, bench.GOOD)), "--yes")
    for arguments in (["list"], ["remove", "valve"]):
        code = (
            "import sys; from typer.testing import CliRunner; from edgeveil.agent.cli.app import app\n"
            f"found = CliRunner().invoke(app, ['task', *{arguments!r}, '--home', {str(device.path)!r}])\n"
            "assert found.exit_code == 0, found.output\n"
            "assert not {'torch', 'opacus', 'flwr'} & set(sys.modules)"
        )
        subprocess.run([sys.executable, "-c", code], check=True)


def test_the_check_says_what_is_missing_and_ends_with_two(tmp_path):
    path = bench.write(tmp_path, bench.STATE)
    result = CliRunner().invoke(app, ["task", "check", str(path)])
    assert result.exit_code == 2
    told = " ".join(result.stdout.split())
    assert "no it remembers nothing between records: the same record gives another output" in told
    assert "ok it has closed options" in told


def test_what_is_begun_keeps_every_promise_and_so_says_its_test(tmp_path):
    result = CliRunner().invoke(app, ["task", "new", "my-valve", "--in", str(tmp_path)])
    assert "agent task check" in result.stdout
    found = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_my_valve.py"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert found.returncode == 0, found.stdout
    again = CliRunner().invoke(app, ["task", "new", "my-valve", "--in", str(tmp_path)])
    assert isinstance(again.exception, ConfigError)
    assert "is there already" in str(again.exception)


def test_a_policy_without_own_tasks_is_chained_as_before_there_were_any():
    assert "own_tasks" not in Policy().to_json()
    assert Policy.from_json(Policy().to_json()) == Policy()
    rule = OwnTask(id="valve", version="1.0.0", hash="ab" * 32)
    with_rule = Policy(own_tasks=(rule,))
    assert Policy.from_json(with_rule.to_json()) == with_rule
    assert loosened(Policy(), with_rule) == ("own_tasks",)
    assert loosened(with_rule, Policy()) == ()
