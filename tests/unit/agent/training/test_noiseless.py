"""Training without noise: torch's own optimisers on batches of an epoch, and an update within its public bound."""

import dp_bench as bench
import numpy as np
import pytest
import torch
from odd_tasks_bench import BOXES, SEQUENCES, NoOptions

from edgeveil.agent.training import noiseless
from edgeveil.agent.training.compute import CPU
from edgeveil.agent.training.training import Trainer
from edgeveil.shared.base.errors import DataError, ProtocolError
from edgeveil.shared.tasks.modules import read_vector
from edgeveil.shared.tasks.records import ArrayRecords
from edgeveil.shared.wire.plan import TrainingPlan

OPTIONS = NoOptions()
FIELDS = {
    "privacy": "none",
    "steps": 4,
    "batch_size": 64,
    "clip_norm": 100.0,
    "learning_rate": 0.05,
    "optimizer": "adamw",
    "weight_decay": 0.1,
    "schedule": "cosine",
    "warmup": 1,
    "rounds": 10,
}


def plan(**changes):
    return TrainingPlan(**FIELDS | changes)


def start_of(task):
    return read_vector(task.build(OPTIONS), task.tensors(OPTIONS))


def trained(task, records, asked, number=3):
    return Trainer(CPU).train_without_noise(
        task, OPTIONS, records, start_of(task), task.tensors(OPTIONS), asked, number
    )


def by_hand(task, records, asked, number):
    """Whole-batch steps of torch's AdamW on the mean loss, one record at a time."""
    module = task.build(OPTIONS).train()
    start = read_vector(module, task.tensors(OPTIONS))
    rate = asked.rate(number, asked.rounds)
    optimizer = torch.optim.AdamW(module.parameters(), lr=rate, weight_decay=asked.weight_decay)
    for _ in range(asked.steps):
        optimizer.zero_grad()
        for row in range(len(records)):
            inputs, targets = records.take(np.array([row]))
            loss = task.criterion("none")(module(inputs), targets).sum()
            (loss / len(records)).backward()
        optimizer.step()
    return read_vector(module, task.tensors(OPTIONS)) - start


@pytest.mark.parametrize("task", [SEQUENCES, BOXES], ids=["pairs of tensors", "unequal sizes"])
def test_the_update_is_that_of_torchs_adamw_at_the_rate_of_the_round(task):
    records = task.records(12)
    for number in (1, 3, 10):
        found = trained(task, records, plan(), number).update
        wanted = by_hand(task, records, plan(), number)
        assert np.linalg.norm(found - wanted) <= 1e-4 * np.linalg.norm(wanted)
        assert np.linalg.norm(wanted) > 1e-3


def test_momentum_and_plain_steps_are_torchs_too():
    records = SEQUENCES.records(12)
    plain = trained(SEQUENCES, records, plan(optimizer="sgd")).update
    rolling = trained(SEQUENCES, records, plan(optimizer="sgd", momentum=0.9)).update
    adam = trained(SEQUENCES, records, plan(optimizer="adam")).update
    assert np.linalg.norm(rolling) > 1.5 * np.linalg.norm(plain) > 0
    assert np.abs(adam).max() <= 4 * 0.05 * 1.01


@pytest.mark.parametrize("clip_norm", [1e-3, 0.25])
def test_no_update_is_longer_than_the_plans_bound(clip_norm):
    found = trained(SEQUENCES, SEQUENCES.records(12), plan(clip_norm=clip_norm)).update
    length = np.linalg.norm(found.astype(np.float64))
    assert 0.99 * clip_norm < length <= clip_norm


def test_a_short_update_is_left_as_it_is():
    update = np.array([3.0, 4.0])
    assert np.array_equal(noiseless.bounded(update, 5.1), update.astype(np.float32))
    assert np.linalg.norm(noiseless.bounded(10 * update, 5.0)) == pytest.approx(5.0, rel=1e-5)
    assert not noiseless.bounded(np.zeros(3), 1.0).any()


@pytest.mark.parametrize("poison", [np.nan, np.inf, 1e38])
def test_no_record_makes_a_round_fail_or_its_update_infinite(poison):
    inputs = np.ones((8, 3), np.float32)
    inputs[2] = poison
    task, options = bench.CanaryTask(), bench.CanaryOptions(3)
    tensors = task.tensors(options)
    asked = plan(optimizer="sgd", weight_decay=0.0, learning_rate=1e30, batch_size=1, steps=16)
    found = noiseless.train(
        task, options, ArrayRecords(inputs, np.zeros(8, np.int64)), np.zeros(3, np.float32), tensors, asked, 3
    )  # fmt: skip
    assert np.isfinite(found).all()
    assert np.linalg.norm(found.astype(np.float64)) <= 100.0


def test_an_epoch_holds_every_record_once_and_the_next_has_another_order():
    rows = list(noiseless.batches(10, 5, 40))
    epochs = [np.concatenate(rows[at : at + 2]) for at in range(0, 40, 2)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 15


@pytest.mark.parametrize(("records", "size"), [(3, 3), (7, 4), (0, 0)])
def test_every_step_of_a_plan_is_made_whatever_the_number_of_records(records, size):
    rows = list(noiseless.batches(records, 4, 6))
    assert [len(each) for each in rows] == [size] * 6
    done = []
    task, options = bench.CanaryTask(), bench.CanaryOptions(3)
    examples = ArrayRecords(np.ones((records, 3), np.float32), np.zeros(records, np.int64))
    found = noiseless.train(
        task, options, examples, np.zeros(3, np.float32), task.tensors(options), plan(), 1,
        progress=lambda step, _steps: done.append(step),
    )  # fmt: skip
    assert done == [1, 2, 3, 4]
    assert found.any() == (records > 0)


def test_records_of_another_form_and_a_foreign_model_are_named():
    other = ArrayRecords(np.ones((4, 5), np.float32), np.zeros(4, np.int64))
    with pytest.raises(DataError, match="do not fit the model"):
        trained(SEQUENCES, other, plan())
    tensors = BOXES.tensors(OPTIONS)
    with pytest.raises(ProtocolError, match="tensors offered") as caught:
        noiseless.train(
            SEQUENCES, OPTIONS, SEQUENCES.records(4), start_of(BOXES), tensors, plan(), 1
        )
    assert caught.value.code == "MODEL_INVALID"
