"""Records that are not one array: tuples of tensors, lists of unequal things, through the trainer and the audit."""

import dp_bench as bench
import numpy as np
import pytest
import torch
from odd_tasks_bench import BOXES, SEQUENCES, TASK, LengthOptions, NoOptions, write_series

from edgeveil.agent.training.auditing.audit import audit
from edgeveil.agent.training.training import check_trainable, train
from edgeveil.shared.base.errors import DataError, PolicyRefusal, RefusalCode
from edgeveil.shared.tasks.modules import read_vector
from edgeveil.shared.tasks.records import ArrayRecords

OPTIONS = NoOptions()


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    monkeypatch.setattr(
        "edgeveil.agent.training.engines.optimizer.gaussian", lambda count, _std: np.zeros(count)
    )


def update(task, records, modes, **changes):
    tensors = task.tensors(OPTIONS)
    start = read_vector(task.build(OPTIONS), tensors)
    plan = bench.plan(steps=2, learning_rate=0.5, **changes)
    return train(task, OPTIONS, records, start, tensors, plan, 20, modes=modes)


def test_a_recurrent_model_on_pairs_of_tensors_has_the_same_update_by_every_engine_that_fits():
    records = SEQUENCES.records(20)
    exact = update(SEQUENCES, records, ("single",)).update
    fast = update(SEQUENCES, records, ("hooks", "ghost", "single"))
    assert fast.gradient_mode == "hooks"
    assert np.linalg.norm(fast.update - exact) <= 1e-4 * np.linalg.norm(exact)
    assert np.linalg.norm(exact) > 0


def test_records_of_unequal_size_go_one_at_a_time_and_each_is_clipped():
    records = BOXES.records(20)
    found = update(BOXES, records, ("hooks", "ghost", "single"), clip_norm=0.01)
    assert found.gradient_mode == "single"
    by_hand = torch.zeros(found.update.size, dtype=torch.float64)
    module = BOXES.build(OPTIONS)
    named = sorted(module.named_parameters())
    for row in range(20):
        inputs, targets = records.take(np.array([row]))
        loss = BOXES.criterion("none")(module(inputs), targets).sum()
        parts = torch.autograd.grad(loss, [p for _, p in named])
        flat = torch.cat([part.flatten() for part in parts]).double()
        by_hand += flat * min(1.0, 0.01 / float(flat.norm()))
    one_step = train(
        BOXES, OPTIONS, records, read_vector(module, BOXES.tensors(OPTIONS)), BOXES.tensors(OPTIONS),
        bench.plan(steps=1, learning_rate=20.0, clip_norm=0.01), 20,
    ).update  # fmt: skip
    assert np.linalg.norm(one_step + by_hand.numpy()) <= 1e-3 * float(by_hand.norm())


def test_a_policy_without_one_at_a_time_refuses_records_of_unequal_size():
    with pytest.raises(PolicyRefusal, match='add "single"') as caught:
        check_trainable(BOXES, OPTIONS, BOXES.records(3), modes=("hooks", "ghost"))
    assert caught.value.code is RefusalCode.MODEL_NOT_INDEPENDENT


def test_no_record_at_all_trains_and_another_form_is_refused_whatever_it_holds():
    assert update(SEQUENCES, SEQUENCES.records(0), ("hooks",)).update.any() == np.False_
    flat = ArrayRecords(np.zeros((0, 6, 3), np.float32), np.zeros(0, np.float32))
    with pytest.raises(DataError, match="do not fit the model of sequences"):
        check_trainable(SEQUENCES, OPTIONS, flat)


def test_an_audit_needs_to_know_nothing_about_the_records(tmp_path, monkeypatch):
    monkeypatch.undo()  # with noise
    options = LengthOptions()
    real = TASK.load(write_series(tmp_path / "d.npz", 30, 1), options)
    found = audit(TASK, options, real, canaries=500, steps=2, delta=1e-5)
    assert (found.passed, found.gradient_mode, found.records) == (True, "single", 30)
