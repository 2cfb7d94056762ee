"""docs/extending.md, "A task without packaging", followed to the letter: three devices train a stranger's model."""

import re
import shlex
import tomllib
from pathlib import Path

import own_tasks_bench as bench
import pytest
from fakes_federation import Federation
from look_bench import initialised
from typer.testing import CliRunner

from edgeveil.agent.cli.app import app as agent_app
from edgeveil.agent.home.policy import Policy
from edgeveil.agent.home.records.record_policy import record_policy
from edgeveil.coordinator.cli.app import app as coordinator_app
from edgeveil.coordinator.plan.config import load_config
from edgeveil.coordinator.plan.plan_file import load_plan
from edgeveil.shared.data.kinds import infer
from edgeveil.shared.tasks import registry

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "extending.md").read_text("utf-8")
SECTION = re.search(r"^## A task without packaging\n(.*?)(?=^## )", PAGE, re.MULTILINE | re.DOTALL)[
    1
]
APPS = {"agent": agent_app, "coordinator": coordinator_app}
RECORDS, DEVICES = 300, 3


def block(kind):
    (found,) = re.findall(rf"```{kind}\n(.*?)```", SECTION, re.DOTALL)
    return found


def command(line, **homes):
    role, *words = shlex.split(line.split("  #")[0])
    home = [] if "check" in words else ["--home", str(homes[role]), "--yes"]
    result = CliRunner().invoke(APPS[role], [*words, *home])
    assert result.exit_code == 0, result.output
    return re.findall(r"hash ([0-9a-f]{64})", result.stderr)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with the files of the page, where its commands are given."""
    (tmp_path / "valve.py").write_text(block("python"))
    (tmp_path / "plan.toml").write_text(block("toml"))
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    registry.take_own(())


def test_three_devices_train_the_model_of_the_page_by_its_plan(folder):
    server, device = initialised(folder), folder / "device"
    shown = {value for line in block("sh").splitlines() for value in command(line, agent=device, coordinator=server)}  # fmt: skip
    assert len(shown) == 1, "the two sides show different hashes"
    load_config(server)
    plan = load_plan(folder / "plan.toml")
    pieces = [bench.write_valves(folder / f"piece-{at}", RECORDS, at) for at in range(DEVICES + 1)]
    own = Policy.load(device / "policy.toml")  # a device's defaults, and the rule for the task
    policy = own.model_copy(update={"n_ref": RECORDS, "data": record_policy(infer(pieces[0]))})
    assert {rule.hash for rule in own.own_tasks} == shown
    made = Federation(folder, DEVICES, pieces=pieces, policy=policy)
    tested = plan.evaluation.model_copy(update={"data": made.test})
    made.train(plan.model_copy(update={"evaluation": tested}))
    found = made.store.rounds()
    assert [row.outcome.value for row in found] == ["committed"] * plan.rounds.count
    assert found[-1].metrics["accuracy"] > 0.9
    made.close()


def test_the_records_of_the_page_are_those_of_its_plan_and_file():
    assert tomllib.loads(block("toml"))["task"] == {"id": "valve"}
    header = re.search(r"tables like `([^`]+)`", SECTION)[1]
    assert header == "flow,load,state"
