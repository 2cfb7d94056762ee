"""The one bar for long work: on a terminal, when it takes long, and nowhere else."""

import io
import time
from contextlib import contextmanager
from unittest.mock import patch

import pytest
from fakes_federation import Federation, plan_for, write_digits
from look_bench import fill, initialised, run
from report_bench import joined_device
from rich.console import Console

from edgeveil.agent.cli import app as agent_cli
from edgeveil.agent.training.auditing.audit import audit_home
from edgeveil.coordinator.runs.evaluation import Evaluator, initial_model
from edgeveil.coordinator.store.store import Store
from edgeveil.shared.tasks import registry
from edgeveil.shared.terminal import progress as bars
from edgeveil.shared.terminal.progress import counted, progress, silent


@contextmanager
def a_terminal(*, real=True, columns=60):
    written = io.StringIO()
    console = Console(file=written, force_terminal=real, width=columns, highlight=False)
    with patch.object(bars, "stderr", console):
        yield written


def work(steps, seconds, **options):
    with progress("reading rounds", steps, **options) as step:
        for _ in range(steps):
            time.sleep(seconds)
            step(1)


def test_long_work_shows_what_it_is_and_how_far_it_got():
    with a_terminal() as written:
        work(8, 0.12)
    assert "reading rounds" in written.getvalue()
    assert "%" in written.getvalue()


@pytest.mark.parametrize("columns", [20, 40])
def test_a_narrow_terminal_gets_no_line_that_wraps(columns):
    with a_terminal(columns=columns) as written:
        work(8, 0.12)
    assert "reading" in written.getvalue()


def test_work_that_ends_soon_shows_nothing(monkeypatch):
    monkeypatch.setattr(bars, "PATIENCE_S", 60.0)  # soon, on however busy a machine
    with a_terminal() as written:
        work(100, 0.0)
    assert written.getvalue() == ""


def test_pipes_quiet_and_json_modes_get_nothing():
    with a_terminal(real=False) as written:
        work(8, 0.12)
    assert written.getvalue() == ""
    with a_terminal() as written:
        work(8, 0.12, quiet=True)
    assert written.getvalue() == ""


def test_the_bar_is_taken_away_when_the_work_fails():
    def fail():
        with progress("failing", 10) as step:
            time.sleep(bars.PATIENCE_S)
            step(1)
            raise ZeroDivisionError

    with a_terminal() as written, pytest.raises(ZeroDivisionError):
        fail()
    assert "\x1b[?25h" in written.getvalue(), "the cursor is back"


def test_items_are_counted_one_by_one():
    seen = []
    assert list(counted("abc", seen.append)) == ["a", "b", "c"]
    assert seen == [1, 1, 1]
    silent(1)


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(bars, "PATIENCE_S", 0.0)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = initialised(tmp_path_factory.mktemp("long"))
    with Store.open(home) as store:
        fill(store, 40)
    return home


@pytest.mark.parametrize(
    ("command", "what"),
    [
        ("report --html FOLDER/run.html", "reading rounds"),
        ("privacy", "reading rounds"),
        ("export --tensorboard FOLDER/boards", "TensorBoard"),
        ("backup FOLDER/backup", "copying"),
    ],
)
def test_long_commands_of_the_coordinator_have_a_bar(home, tmp_path, command, what, impatient):
    words = command.replace("FOLDER", str(tmp_path)).split()
    assert what in run(home, *words, terminal=True).stderr
    again = [word.replace(str(tmp_path), f"{tmp_path}/again") for word in words]
    (tmp_path / "again").mkdir()
    assert what not in run(home, *again).stderr, "not in a pipe"
    if command != "privacy":
        third = [word.replace(str(tmp_path), f"{tmp_path}/third") for word in words]
        (tmp_path / "third").mkdir()
        assert what not in run(home, *third, "--json", terminal=True).stderr, "not beside JSON"


def test_a_restore_has_a_bar_for_checking_and_one_for_copying(home, tmp_path, impatient):
    run(home, "backup", tmp_path / "copy")
    said = run(tmp_path / "back", "restore", tmp_path / "copy", terminal=True).stderr
    assert "checking" in said
    assert "restoring" in said


def test_verifying_a_ledger_has_a_bar(tmp_path, impatient):
    device = joined_device(tmp_path)
    device.train(3)
    said = run(device.path, "verify", terminal=True, program=agent_cli.main)
    assert "verifying records" in said.stderr
    assert "recomputing" in said.stderr
    assert "every hash and signature" in said.stdout
    assert run(device.path, "verify", program=agent_cli.main).stderr == ""


def test_evaluating_has_a_bar(tmp_path, impatient):
    task = registry.load(registry.newest("feature-head"))
    options = task.parse_options({"variant": "fixed"})
    *_, test_set = write_digits(tmp_path, 3, 60)
    model, _ = initial_model(task, options)
    for quiet in (False, True):
        with a_terminal() as written:
            Evaluator(task, options, test_set, quiet=quiet).examine(model)
        assert ("evaluating the model" in written.getvalue()) != quiet


def test_a_device_shows_its_training_and_its_audit_as_bars(tmp_path, impatient):
    federation = Federation(tmp_path)
    with a_terminal() as written:
        federation.train(plan_for(4, rounds__count=1))
    federation.close()
    assert "round 1: training" in written.getvalue()
    with a_terminal() as written:
        found = audit_home(
            federation.homes[0].path, data=federation.pieces[0], dataset=None, task_id="feature-head",
            given={"variant": "fixed"}, canaries=100, steps=2, quiet=False,
        )  # fmt: skip
    assert "training copies" in written.getvalue()
    assert found.steps == 2
