"""`coordinator run PLAN --check` from the command line to the agents and back."""

import contextlib
import json
import threading

import pytest
from fakes_federation import Federation, plan_for
from typer.testing import CliRunner

from edgeveil.coordinator.cli import app as coordinator_cli
from edgeveil.coordinator.runs.open_run import Progress
from edgeveil.coordinator.serving.admin import AdminServer
from edgeveil.coordinator.serving.admin_client import SOCKET
from edgeveil.coordinator.serving.plan_checks import PlanChecks
from edgeveil.shared.base.errors import Busy, ConfigError, RunFailed, TransportError
from edgeveil.shared.base.exit_codes import ExitCode

PLAN = """
[task]
id = "feature-head"
options = { variant = "fixed" }
[training]
steps = 2
clip_norm = 0.3
learning_rate = 100.0
epsilon = 8.0
[rounds]
count = 2
[secagg]
c_min = 0
"""


@pytest.fixture(scope="module")
def divided(tmp_path_factory):
    folder = tmp_path_factory.mktemp("federation")
    made = Federation(folder, agents=3, own={"agent-2": {"steps_max": 1}})
    (made.home / "coordinator.toml").write_text(
        f'url = "https://127.0.0.1:1"\nfederation_public = "{made.federation.public.hex()}"\n'
    )
    yield made
    made.close()


@contextlib.contextmanager
def serving(federation, progress=None):
    """The admin socket of a running coordinator, and its main thread between two runs."""
    checks = PlanChecks(federation.store, federation.coordinator, progress or Progress())
    server = AdminServer(
        federation.home / SOCKET, {"check": lambda asked: checks.ask(asked, lambda: None)}
    )
    over = threading.Event()

    def work():
        while not over.wait(0.01):
            if progress is None:
                checks.answer(federation.hands())

    main = threading.Thread(target=work)
    server.start()
    main.start()
    try:
        yield checks
    finally:
        over.set()
        main.join()
        checks.close()
        server.stop()


def run(federation, text, *flags):
    path = federation.folder / "plan.toml"
    path.write_text(text)
    arguments = ["run", str(path), "--check", "--home", str(federation.home), *flags]
    return CliRunner().invoke(coordinator_cli.app, arguments)


def test_too_few_end_with_75_and_say_who_would_not_and_what_to_do(divided):
    with serving(divided):
        found = run(divided, PLAN)
    assert isinstance(found.exception, RunFailed)
    assert found.exception.exit_code is ExitCode.TEMPORARY
    assert str(found.exception).startswith("2 of 3 agents would take part; needs 3: agent-2 ")
    lines = {line.split()[0]: line for line in found.stdout.splitlines() if "agent-" in line}
    assert "yes" in lines["agent-1"]
    assert "no" in lines["agent-2"]
    assert divided.store.runs() == []


def test_json_says_the_same_and_enough_end_with_0(divided):
    with serving(divided):
        found = run(divided, PLAN.replace("steps = 2", "steps = 1"), "--json")
        short = run(divided, PLAN, "--json")
    assert found.exit_code == 0
    said = json.loads(found.stdout)
    assert (said["would"], said["asked"], said["needs"], said["enough"]) == (3, 3, 3, True)
    assert isinstance(short.exception, RunFailed)
    said = json.loads(short.stdout)
    assert said["sentence"] == str(short.exception)
    (no,) = [row for row in said["agents"] if not row["would"]]
    assert set(no) == {"agent", "would", "reason", "why", "fix"}
    assert no["reason"] == "refused:POLICY_STEPS"


def test_a_plan_that_learns_nothing_worth_its_cost_is_told_before_anybody_begins(divided):
    detector = PLAN.replace("feature-head", "detection").replace(
        'variant = "fixed"', 'labels = "car,bus", size = 128'
    )
    with serving(divided):
        found = run(divided, detector)
        said = json.loads(run(divided, detector, "--json").stdout)
    assert "mAP@0.5 below .01" in " ".join(found.stderr.split())
    assert any("mAP@0.5 below .01" in each for each in said["warnings"])


def test_a_check_does_not_wait_for_the_run_that_is_under_way(divided):
    with serving(divided, Progress(run="run-1")):
        found = run(divided, PLAN)
    assert isinstance(found.exception, Busy)
    assert "run-1 is under way" in str(found.exception)


def test_without_a_coordinator_and_with_a_bad_plan_it_says_so(divided):
    assert isinstance(run(divided, PLAN).exception, TransportError)
    with serving(divided):
        assert isinstance(run(divided, PLAN.replace("fixed", "odd")).exception, ConfigError)
        unknown = PLAN.replace("feature-head", "none-such")
        assert isinstance(run(divided, unknown).exception, ConfigError)


def test_a_coordinator_that_stops_leaves_no_check_waiting(divided):
    checks = PlanChecks(divided.store, divided.coordinator, Progress())
    said = []

    def ask():
        with pytest.raises(Busy, match="stopping"):
            checks.ask({"plan": plan_for(3).model_dump(mode="json")}, lambda: None)
        said.append(True)

    waiting = threading.Thread(target=ask)
    waiting.start()
    while checks._queue.empty():
        waiting.join(0.01)
    checks.close()
    waiting.join(5)
    assert said == [True]
