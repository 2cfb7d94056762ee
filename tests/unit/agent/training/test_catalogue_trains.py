"""Every variant of the catalogue through the private trainer: the same update by the fast engine as by the exact one."""

import dp_bench as bench
import numpy as np
import pytest
from conforming_bench import CASES

from edgeveil.agent.training.training import train
from edgeveil.shared.tasks.modules import read_vector
from edgeveil.shared.tasks.records import ArrayRecords

COUNT = 12


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    monkeypatch.setattr(
        "edgeveil.agent.training.engines.optimizer.gaussian", lambda count, _std: np.zeros(count)
    )


def update(task, options, records, **changes):
    tensors = task.tensors(options)
    start = read_vector(task.build(options), tensors)
    plan = bench.plan(steps=2, learning_rate=0.5, clip_norm=0.5)
    return train(task, options, records, start, tensors, plan, COUNT, **changes)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_fast_engine_and_one_record_at_a_time_give_the_same_update(case, tmp_path):
    task, options = case.made()
    records = task.load(case.write(tmp_path / "d", COUNT), options)
    fast = update(task, options, records)
    exact = update(task, options, records, modes=("single",))
    assert case.task == "detection" or fast.gradient_mode in {"hooks", "ghost"}
    assert np.linalg.norm(exact.update) > 0
    away = np.linalg.norm(fast.update - exact.update)
    assert away <= case.close * np.linalg.norm(exact.update)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_record_of_nans_adds_nothing_to_the_update(case, tmp_path):
    task, options = case.made()
    records = task.load(case.write(tmp_path / "d", COUNT), options)
    less = task.load(case.write(tmp_path / "less", COUNT, leave=4), options)
    inputs, targets = (part.numpy() for part in records.take(np.arange(COUNT)))
    inputs[4] = np.nan
    spoiled = ArrayRecords(inputs, targets)
    with_nan, without = (update(task, options, each).update for each in (spoiled, less))
    assert np.isfinite(with_nan).all()
    assert np.linalg.norm(with_nan - without) <= case.close * np.linalg.norm(without)


def test_records_that_are_labelled_odd_teach_an_autoencoder_nothing(tmp_path):
    case = next(case for case in CASES if case.task == "anomaly")
    task, _ = case.made()
    options = task.parse_options({**case.options, "normal": "none-of-them"})
    records = task.load(case.write(tmp_path / "d", COUNT), options)
    assert not update(task, options, records).update.any()
