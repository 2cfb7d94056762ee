"""Every variant of the catalogue through the private trainer: the same update by the fast engine as by the exact one."""

import dp_bench as bench
import numpy as np
import pytest
from conforming_bench import CASES

from edgeveil.agent.training.conforming import PRIVATE_CHECKS
from edgeveil.agent.training.training import train
from edgeveil.shared.tasks.modules import read_vector

COUNT = 12

# Two runs of what is varied by chance differ; unit/shared/tasks/test_augmentation.py compares one step.
PLAIN = [case for case in CASES if "dropout" not in case.options]


def says_nothing_when_lower(case):
    """Of a loss that counts (docs/tasks/rare-classes.md)."""
    return case.task == "rare-classes"


def large(case, promise=""):
    """Minutes of larger detectors; the smallest has the same parts. Half a minute of steps in two stages."""
    larger = case.task == "detection" and case.variant != "lite"
    staged = case.task == "detection-two-stage" and "train" not in case.options
    return [pytest.mark.long] if larger or (staged and promise.startswith("learns")) else []


@pytest.fixture
def quiet(monkeypatch):
    monkeypatch.setattr(
        "edgeveil.agent.training.engines.optimizer.gaussian", lambda count, _std: np.zeros(count)
    )


def update(task, options, records, **changes):
    tensors = task.tensors(options)
    start = read_vector(task.build(options), tensors)
    plan = bench.plan(steps=2, learning_rate=0.5, clip_norm=0.5)
    return train(task, options, records, start, tensors, plan, COUNT, **changes)


@pytest.mark.parametrize(
    ("case", "check"),
    [
        pytest.param(case, check, id=f"{check}-{case}", marks=large(case, check.promise))
        for case in CASES
        for check in PRIVATE_CHECKS
        if not (says_nothing_when_lower(case) and check.promise.startswith("learns"))
    ],
)
def test_it_keeps_every_promise_of_private_training(case, check, tmp_path):
    check.holds(case.subject(), tmp_path)


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize(
    "case", [pytest.param(case, id=str(case), marks=large(case)) for case in PLAIN]
)
def test_the_fast_engine_and_one_record_at_a_time_give_the_same_update(case, tmp_path):
    task, options = case.made()
    records = task.load(case.write(tmp_path / "d", COUNT), options)
    fast = update(task, options, records)
    exact = update(task, options, records, modes=("single",))
    assert case.task.startswith("detection") or fast.gradient_mode in {"hooks", "ghost"}
    assert np.linalg.norm(exact.update) > 0
    away = np.linalg.norm(fast.update - exact.update)
    assert away <= case.close * np.linalg.norm(exact.update)


@pytest.mark.usefixtures("quiet")
def test_records_that_are_labelled_odd_teach_an_autoencoder_nothing(tmp_path):
    case = next(case for case in CASES if case.task == "anomaly")
    task, _ = case.made()
    options = task.parse_options({**case.options, "normal": "none-of-them"})
    records = task.load(case.write(tmp_path / "d", COUNT), options)
    assert not update(task, options, records).update.any()
