"""`coordinator tune` on real digits; and what a trial computes, beside what a device computes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from conforming_bench import CASES
from public_data_bench import mnist_5000, stratified_order
from typer.testing import CliRunner

from edgeveil.agent.training.training import summed_gradients
from edgeveil.coordinator.cli.app import app
from edgeveil.coordinator.plan.plan_file import load_plan
from edgeveil.coordinator.tuning.private_sgd import Gradients, Trainer
from edgeveil.shared.tasks.modules import read_vector
from edgeveil.shared.tasks.records import ArrayRecords
from edgeveil.shared.wire.plan import TrainingPlan

MOST_PARAMETERS = 50_000  # the engines are the same for larger ones, and take minutes
PLAN = """\
# a poor start
[task]
id = "feature-head"

[training]
steps = 1
clip_norm = 0.3
learning_rate = 0.5
epsilon = 8.0

[rounds]
count = 3
goal = 3
"""
SPACE = """\
[training.learning_rate]
low = 0.5
high = 300.0
log = true

[training.steps]
low = 1
high = 4
"""


@pytest.fixture
def folder(tmp_path):
    digits = mnist_5000()
    some = digits.take(stratified_order(digits.labels, 3)[:600])
    (tmp_path / "public").mkdir()
    np.savez(tmp_path / "public/digits.npz", X=some.pixels, y=some.labels)
    (tmp_path / "plan.toml").write_text(PLAN)
    (tmp_path / "space.toml").write_text(SPACE)
    return tmp_path


def arguments(folder, trials, *more):
    return [
        "tune", str(folder / "plan.toml"), "--space", str(folder / "space.toml"), "--data", str(folder / "public"),
        "--trials", str(trials), "--home", str(folder / "home"), "--json", *more,
    ]  # fmt: skip


def tune(folder, trials, *more):
    found = CliRunner().invoke(app, arguments(folder, trials, *more))
    assert found.exit_code == 0, found.output + repr(found.exception)
    return json.loads(found.stdout)


class Probed:
    def __init__(self, inputs, targets):
        self.inputs, self.targets, self.skipped = inputs, targets, ()

    def __len__(self):
        return len(self.targets)

    def take(self, rows):
        def some(part):
            if isinstance(part, tuple):
                return tuple(map(some, part))
            return (
                [part[row] for row in rows]
                if isinstance(part, list)
                else part[torch.from_numpy(rows)]
            )

        return some(self.inputs), some(self.targets)


def varied(options):
    """Whether chance varies the records, so that two sums differ by it."""
    told = options.model_dump()
    return any(told.get(key) for key in ("flip", "crop", "brightness", "contrast", "dropout", "jitter", "noise"))  # fmt: skip


CLIPPED = [case for case in CASES if case.size <= MOST_PARAMETERS and not varied(case.made()[1])]


@pytest.mark.parametrize("case", CLIPPED, ids=str)
def test_a_trial_sums_the_same_clipped_gradients_as_a_device(case):
    task, options = case.made()
    inputs, targets = task.probe(7, torch.Generator().manual_seed(5), options)
    tensors = task.tensors(options)
    start = read_vector(task.build(options), tensors)
    asked = {"clip_norm": 0.2, "learning_rate": 1.0, "noise_multiplier": 1.0, "delta": 1e-5}
    plan = TrainingPlan(steps=1, rounds=1, **asked)
    theirs = summed_gradients(task, options, Probed(inputs, targets), start, tensors, plan, 7).sums
    ours = Gradients(task, options, task.build(options).train(), 0.2).clipped_sum(inputs, targets)
    assert np.linalg.norm(theirs) > 0.01
    assert np.abs(ours.detach().numpy() - theirs).max() < 1e-4


@pytest.mark.parametrize("keys", [{}, {"momentum": 0.5}, {"average": 0.5}])
def test_the_noise_of_a_step_is_that_of_the_plan(keys):
    """Of one record, whose share is small beside it."""
    task, options = next(case for case in CLIPPED if case.task == "feature-head").made()
    asked = {"clip_norm": 0.2, "learning_rate": 3.0, "noise_multiplier": 1.5, "delta": 1e-5}
    plan = TrainingPlan(steps=1, rounds=1, **asked, **keys)
    records = ArrayRecords(
        *(part.numpy()[:1] for part in task.probe(1, torch.Generator(), options))
    )
    start = read_vector(task.build(options), task.tensors(options))
    trainer = Trainer(task, options, plan)
    update = trainer.update(start, records, np.random.default_rng(3))
    assert abs(update.std() / (3.0 * 0.2 * 1.5) - 1) < 0.05


def test_a_study_improves_on_a_bad_start_and_its_plan_runs(folder):
    found = tune(folder, 5)
    assert found["better_than_plan"]
    assert found["best"]["value"] > found["baseline"] + 0.05
    assert found["epsilon_spent"] == 0
    tuned = load_plan(Path(found["tuned"]))
    assert tuned.training.learning_rate == found["best"]["values"]["training.learning_rate"]
    assert tuned.training.epsilon == 8.0
    page = Path(found["page"]).read_text()
    assert page.count("<polyline") >= 5
    assert "http" not in page.replace("http-equiv", "")
    again = tune(folder, 1, "--home", str(folder / "elsewhere"), "-o", str(folder / "again.toml"))
    (folder / "plan.toml").write_text(Path(found["tuned"]).read_text())
    once = tune(folder, 1, "--home", str(folder / "third"), "-o", str(folder / "third.toml"))
    assert once["baseline"] == found["best"]["value"], "the tuned plan is what was measured"
    assert again["baseline"] == found["baseline"]


def test_the_same_seed_gives_the_same_trials_and_another_seed_others(folder):
    def told(*more):
        found = tune(folder, 2, "-o", str(folder / "o.toml"), *more)
        return [(each["values"], each["value"]) for each in found["trials"]]

    first = told("--home", str(folder / "a"))
    assert told("--home", str(folder / "b")) == first
    assert told("--home", str(folder / "c"), "--seed", "2") != first


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_study_that_was_stopped_goes_on_as_if_it_had_not_been(folder, how):
    heard = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"  # also behind a shell's `&`
    code = f"{heard}; from edgeveil.coordinator.cli.app import main; main()"
    with subprocess.Popen(
        [sys.executable, "-c", code, *arguments(folder, 40)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as process:  # fmt: skip
        for line in process.stderr:
            if "trial 2 of 40" in line:
                break
        time.sleep(0.05)
        process.send_signal(how)
        rest = process.communicate(timeout=60)[1]
    assert process.returncode == (130 if how is signal.SIGINT else -signal.SIGKILL), rest
    assert "Traceback" not in rest
    assert (folder / "home/tuning/plan/tune.html").exists()
    stopped = tune(folder, 4)["trials"]
    whole = tune(folder, 4, "--home", str(folder / "whole"))["trials"]
    assert [(each["values"], each["value"]) for each in stopped[:4]] == [
        (each["values"], each["value"]) for each in whole
    ]
