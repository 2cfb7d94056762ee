"""The page of each task on columns or sounds: its plan is one, its schema.toml is one, and they fit each other."""

import re
import shlex
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from edgeveil.coordinator.cli.app import app
from edgeveil.coordinator.plan.derived import training_plan
from edgeveil.coordinator.plan.evaluation import judged_by
from edgeveil.coordinator.plan.plan import Plan
from edgeveil.shared.data.tabular.layout import Layout
from edgeveil.shared.data.tabular.schema import TableSchema
from edgeveil.shared.tasks import registry

PAGES = Path(__file__).resolve().parents[2] / "docs" / "tasks"
ON_COLUMNS = [entry for entry in registry.catalogue() if ".sensors." in entry.module]
WITH_A_PAGE = [
    *ON_COLUMNS,
    *(entry for entry in registry.catalogue() if ".sounds." in entry.module),
]
EACH = pytest.mark.parametrize("entry", WITH_A_PAGE, ids=lambda entry: entry.id)


def block(entry, file):
    text = (PAGES / f"{entry.id}.md").read_text()
    (found,) = re.findall(rf"```toml\n# {re.escape(file)}\n(.*?)```", text, re.DOTALL)
    return found


def planned(entry):
    plan = Plan.model_validate(tomllib.loads(block(entry, "plan.toml")))
    task = registry.load(entry)
    return plan, task, task.parse_options(plan.task.options)


def test_there_is_a_page_for_every_task_on_columns_or_sounds():
    assert {path.stem for path in PAGES.glob("*.md")} >= {entry.id for entry in WITH_A_PAGE}


@EACH
def test_the_plan_on_the_page_can_be_run(entry):
    plan, _, _ = planned(entry)
    assert (plan.task.id, plan.task.version) == (entry.id, entry.version)
    assert training_plan(plan).noise_multiplier > 0
    assert judged_by(plan).name == entry.scoring.headline.name


@pytest.mark.parametrize("entry", ON_COLUMNS, ids=lambda entry: entry.id)
def test_the_plan_on_the_page_is_what_the_command_on_it_writes(entry, tmp_path):
    text = (PAGES / f"{entry.id}.md").read_text()
    (command,) = re.findall(
        r"coordinator plan new --data \./held-out --test \./held-out (.*)", text
    )
    (tmp_path / "schema.toml").write_text(block(entry, "schema.toml"))
    target = tmp_path / "plan.toml"
    arguments = ["plan", "new", "--data", str(tmp_path), *shlex.split(command), "-o", str(target)]
    found = CliRunner().invoke(app, arguments)
    assert found.exit_code == 0, found.exception
    plan, _, _ = planned(entry)
    assert plan == Plan.model_validate(tomllib.loads(target.read_text()))


@pytest.mark.parametrize("entry", ON_COLUMNS, ids=lambda entry: entry.id)
def test_devices_with_the_schema_on_the_page_take_the_plan_on_it(entry, tmp_path):
    _, task, options = planned(entry)
    (tmp_path / "schema.toml").write_text(block(entry, "schema.toml"))
    assert TableSchema.of(Layout.load(tmp_path)).fits(task.schema(options))


@EACH
def test_every_option_stands_on_the_page(entry):
    _, _, options = planned(entry)
    text = (PAGES / f"{entry.id}.md").read_text()
    wanted = set(type(options).model_fields) - ({"variant"} if entry.id == "anomaly" else set())
    assert all(f"`{name}`" in text for name in wanted)
