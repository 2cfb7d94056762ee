"""What is not going to work is not tried for ever, and an exit code says whether trying again helps."""

import json

import numpy as np
import pytest
from crash_bench import Scenario, World
from desk_bench import desk
from look_bench import initialised, run
from thin_bench import thin_plan

from edgeveil.agent.rounds import work
from edgeveil.coordinator.plan.plan import Plan
from edgeveil.coordinator.records.records import Failure, RunState
from edgeveil.coordinator.runs import evaluation
from edgeveil.coordinator.runs.runs import submit
from edgeveil.coordinator.serving.admin_client import kind_of
from edgeveil.shared.base.errors import RunClosed
from edgeveil.shared.base.exit_codes import ExitCode

PLAN = """
[task]
id = "feature-head"
[training]
steps = 1
clip_norm = 0.3
learning_rate = 1.0
epsilon = 8.0
[rounds]
count = 5
[evaluation]
data = "test.npz"
"""


@pytest.fixture
def home(tmp_path):
    return initialised(tmp_path)


def write_plan(folder):
    np.savez(folder / "test.npz", X=np.zeros((4, 28, 28), np.uint8), y=np.arange(4))
    path = folder / "plan.toml"
    path.write_text(PLAN)
    return path


def test_a_run_whose_held_out_data_cannot_be_read_twice_is_quarantined_until_told(home, tmp_path):
    path = write_plan(tmp_path)
    with desk(home) as made:
        said = json.loads(run(home, "run", path, "--detach", "--json").stdout)
        (tmp_path / "test.npz").write_bytes(b"no archive")
        plan = Plan.model_validate_json(made.store.run(said["run"]).plan)
        states = []
        for _ in range(4):  # every start of `serve --plan` hands the plan in
            submit(made.store, plan)
            made.work()
            states.append(made.store.run(said["run"]).state)
        assert states == [RunState.FAILED] + [RunState.QUARANTINED] * 3
        assert made.store.failure(said["run"]).times == 2
        shown = json.loads(run(home, "status", "--json").stdout)["last_run"]
        assert shown["state"] == "quarantined"
        assert "test.npz" in shown["reason"]
        write_plan(tmp_path)
        refused = run(home, "run", path, check=False)
        assert refused.returncode == ExitCode.DAMAGED
        assert "is quarantined" in refused.stderr
        assert "--again" in refused.stderr
        told = json.loads(run(home, "run", path, "--again", "--detach", "--json").stdout)
        assert (told["run"], told["taken"]) == (said["run"], "continues")
        assert made.store.failure(said["run"]) is None


def test_a_bug_at_the_start_of_a_run_ends_one_process_and_not_every_one(
    home, tmp_path, monkeypatch
):
    path = write_plan(tmp_path)
    with desk(home) as made:
        known = json.loads(run(home, "run", path, "--detach", "--json").stdout)["run"]

        def fail(*_arguments, **_options):
            raise TypeError("an odd photo")

        monkeypatch.setattr(evaluation.Evaluator, "__init__", fail)
        with pytest.raises(TypeError):
            made.work()
        assert made.store.run(known).state is RunState.STOPPED
        assert made.work() == 1
        assert made.store.run(known).state is RunState.QUARANTINED
        assert "an odd photo" in made.store.run(known).reason
        assert made.work() == 0


def test_run_ends_with_the_code_of_what_failed_and_not_with_try_again(home, tmp_path, monkeypatch):
    path = write_plan(tmp_path)
    with desk(home) as made:

        def broken(*_arguments, **_options):
            (tmp_path / "test.npz").write_bytes(b"no archive")
            return 4

        from edgeveil.coordinator.runs import runs

        monkeypatch.setattr(runs, "rehearse", broken)
        failed = made.follow(path)
    assert failed.returncode == ExitCode.DAMAGED
    assert "not a readable .npz file" in failed.stderr


NO_ERRORS = {ExitCode.DONE, ExitCode.TOO_LITTLE_NOISE}  # how a command that worked may end


@pytest.mark.parametrize("code", sorted(set(ExitCode) - NO_ERRORS))
def test_the_running_coordinators_answer_keeps_its_exit_code(code):
    assert kind_of(code)("a sentence").exit_code is code


def test_a_model_that_diverges_is_charged_once_and_the_plan_keys_are_named(tmp_path, monkeypatch):
    made = World.make(tmp_path / "world", Scenario(1, rounds=2, attempts=5, quiet=True))
    made.plan = thin_plan(4, rounds=2, rounds__attempts=5)
    made.open()
    usual = work.from_blob
    monkeypatch.setattr(work, "from_blob", lambda blob: usual(blob) * np.float32("nan"))
    with pytest.raises(RunClosed, match=r"training\.learning_rate.*coordinator run PLAN") as caught:
        made.work()
    assert caught.value.exit_code is ExitCode.USAGE
    assert len(made.store.rounds()) == 1, "it was tried once, at full price"
    made.close()


def test_failures_count_in_a_row_at_one_place_and_are_kept_over_restarts(home):
    with desk(home) as made:
        assert made.store.note_failure("run-1", Failure("round 3", "a", 65)).times == 1
        assert made.store.note_failure("run-1", Failure("round 3", "b", 65)).times == 2
        assert made.store.note_failure("run-2", Failure("round 3", "a", 65)).times == 1
    with desk(home) as made:
        assert made.store.failure("run-1") == Failure("round 3", "b", 65, 2)
        assert made.store.note_failure("run-1", Failure("round 4", "b", 65)).times == 1
        made.store.forgive("run-1")
        assert made.store.failure("run-1") is None
