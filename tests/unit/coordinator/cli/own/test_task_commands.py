"""`coordinator task`: the same file as on the devices, known to plans, reports and a running coordinator."""

import json

import own_tasks_bench as bench
import pytest
from look_bench import initialised
from typer.testing import CliRunner

from edgeveil.agent.cli.app import app as agent_app
from edgeveil.agent.home.home import AgentHome
from edgeveil.coordinator.cli.app import app
from edgeveil.coordinator.plan.config import load_config
from edgeveil.coordinator.plan.plan_file import load_plan
from edgeveil.shared.base.errors import ConfigError
from edgeveil.shared.doctor.checks import Level, tasks
from edgeveil.shared.tasks import registry

PLAN = """\
[task]
id = "valve"

[training]
steps = 2
clip_norm = 1.0
learning_rate = 1.0
epsilon = 2.0
delta = 1e-5

[rounds]
count = 2
goal = 3
minimum = 3
deadline_s = 60
"""


@pytest.fixture(autouse=True)
def no_own_tasks():
    yield
    registry.take_own(())


def run(home, *arguments):
    return CliRunner().invoke(app, ["task", *arguments, "--home", str(home)])


def test_an_installed_task_can_be_planned(tmp_path):
    home = initialised(tmp_path)
    (tmp_path / "plan.toml").write_text(PLAN)
    with pytest.raises(ConfigError, match="no task 'valve' is installed"):
        load_plan(tmp_path / "plan.toml")
    result = run(home, "install", str(bench.write(tmp_path, bench.GOOD)), "--yes", "--json")
    assert result.exit_code == 0, result.output
    registry.take_own(())
    load_config(home)
    plan = load_plan(tmp_path / "plan.toml")
    assert (plan.task.id, plan.task.version, plan.evaluation.metric) == (
        "valve",
        "1.0.0",
        "accuracy",
    )
    (listed,) = json.loads(run(home, "list", "--json").stdout)["tasks"]
    assert listed["hash"] == json.loads(result.stdout)["hash"]


def test_both_roles_show_the_same_hash(tmp_path):
    home, agent = initialised(tmp_path), tmp_path / "agent"
    AgentHome(agent)
    path = str(bench.write(tmp_path, bench.GOOD))
    here = json.loads(run(home, "install", path, "--yes", "--json").stdout)
    there = CliRunner().invoke(
        agent_app, ["task", "install", path, "--yes", "--json", "--home", str(agent)]
    )
    assert json.loads(there.stdout)["hash"] == here["hash"]


def test_without_a_word_or_with_a_fault_nothing_is_installed(tmp_path):
    home = initialised(tmp_path)
    good, bad = bench.write(tmp_path, bench.GOOD), bench.write(tmp_path, bench.STATE, "bad.py")
    assert "confirm it with --yes" in str(run(home, "install", str(good)).exception)
    assert "keep no state between records" in str(run(home, "install", str(bad), "--yes").exception)
    assert not (home / "tasks").exists()


def test_a_removed_task_can_be_planned_no_more(tmp_path):
    home = initialised(tmp_path)
    run(home, "install", str(bench.write(tmp_path, bench.GOOD)), "--yes")
    assert run(home, "remove", "valve").exit_code == 0
    load_config(home)
    assert registry.newest("valve") is None


def test_a_changed_copy_is_red_for_the_doctor(tmp_path):
    home = initialised(tmp_path)
    run(home, "install", str(bench.write(tmp_path, bench.GOOD)), "--yes")
    assert {each.level for each in tasks(home)} == {Level.GREEN}
    (home / "tasks" / "valve.py").write_text("x = 1\n")
    (red,) = [each for each in tasks(home) if each.level is Level.RED]
    assert "has changed since it was installed" in red.text
