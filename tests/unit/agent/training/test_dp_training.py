"""One local round on the real tasks and on canaries: the mechanism's size, seen from outside."""

import math

import dp_bench as bench
import numpy as np
import pytest
import torch

from edgeveil.agent.training import training
from edgeveil.agent.training.engines.optimizer import MARGIN
from edgeveil.agent.training.training import check_trainable, train
from edgeveil.shared.base.errors import DataError, PolicyRefusal, ProtocolError, RefusalCode
from edgeveil.shared.tasks import registry
from edgeveil.shared.tasks.modules import read_vector
from edgeveil.shared.tasks.records import ArrayRecords

CANARIES = bench.CanaryTask()


def canary_update(included, n_ref=1000, **changes):
    count = len(included)
    options = bench.CanaryOptions(count)
    result = train(
        CANARIES,
        options,
        bench.canary_examples(included),
        np.zeros(count, dtype=np.float32),
        CANARIES.tensors(options),
        bench.plan(**changes),
        n_ref,
    )
    return result.update.astype(np.float64)


@pytest.fixture(scope="module")
def digits():
    task = registry.load(registry.newest("feature-head"))
    options = task.parse_options({})
    random = np.random.default_rng(1)
    targets = random.integers(0, 10, 300)
    centres = random.normal(size=(10, 589))
    inputs = centres[targets] + random.normal(size=(300, 589))
    inputs /= np.linalg.norm(inputs, axis=1, keepdims=True)
    examples = ArrayRecords(inputs.astype(np.float32), targets)
    tensors = task.tensors(options)
    return task, options, examples, read_vector(task.build(options), tensors), tensors


def test_the_noise_of_an_update_has_exactly_the_planned_size():
    """No record at all: std = lr·σC·√steps/(q·n_ref)."""
    update = canary_update(np.zeros(5000, dtype=bool), steps=4)
    expected = 2.0 * 1.5 * 0.5 * math.sqrt(4) / 1000
    assert update.std() == pytest.approx(expected, rel=5 / math.sqrt(10_000))
    assert abs(update.mean()) < 5 * expected / math.sqrt(5000)


def test_the_divisor_is_public_and_does_not_follow_the_batch():
    update = canary_update(np.zeros(5000, dtype=bool), sample_rate=0.25, n_ref=500, steps=1)
    assert update.std() == pytest.approx(2.0 * 1.5 * 0.5 / (0.25 * 500), rel=0.05)


def test_each_record_moves_the_model_by_its_clipped_gradient():
    included = np.arange(5000) % 2 == 0
    update = canary_update(included, steps=4)
    gap = update[included].mean() - update[~included].mean()
    assert gap == pytest.approx(4 * 2.0 * 0.5 * MARGIN / 1000, rel=0.15)


def test_sampling_draws_the_planned_share_of_records():
    quiet = {"noise_multiplier": 1e-3}  # the draws alone: 0.15 is 7.7 standard errors of their mean
    update = canary_update(
        np.ones(2000, dtype=bool), sample_rate=0.25, steps=4, n_ref=1000, **quiet
    )
    # four steps, each of which draws a record with probability 1/4
    assert update.mean() == pytest.approx(4 * 0.25 * 2.0 * 0.5 / (0.25 * 1000), rel=0.15)


def test_two_rounds_from_the_same_state_differ(digits):
    task, options, examples, start, tensors = digits
    torch.manual_seed(0)
    one = train(task, options, examples, start, tensors, bench.plan(steps=1), 300)
    torch.manual_seed(0)
    two = train(task, options, examples, start, tensors, bench.plan(steps=1), 300)
    assert not np.array_equal(one.update, two.update)
    assert np.count_nonzero(one.update == two.update) < 10


def test_training_learns_when_there_is_little_noise(digits):
    task, options, examples, start, tensors = digits
    plan = bench.plan(steps=20, noise_multiplier=0.5, learning_rate=20.0)
    result = train(task, options, examples, start, tensors, plan, 300)
    assert (result.steps, result.update.dtype) == (20, np.float32)
    weights = (start + result.update).reshape(10, 589)
    accuracy = ((examples.inputs @ weights.T).argmax(1) == examples.targets).mean()
    assert accuracy > 0.8


@pytest.mark.parametrize("mode", ["hooks", "ghost", "single"])
def test_every_engine_can_be_asked_for_and_reports_itself(digits, mode):
    task, options, examples, start, tensors = digits
    seen = []
    result = train(
        task,
        options,
        examples,
        start,
        tensors,
        bench.plan(steps=2, sample_rate=0.1),
        300,
        modes=(mode,),
        progress=lambda done, planned: seen.append((done, planned)),
    )
    assert result.gradient_mode == mode
    assert seen == [(1, 2), (2, 2)]


@pytest.mark.parametrize("mode", ["hooks", "ghost", "single"])
def test_one_poisoned_record_leaves_the_update_finite(digits, mode):
    task, options, examples, start, tensors = digits
    inputs = examples.inputs.copy()
    inputs[7] = np.nan
    inputs[8, 0] = np.inf
    poisoned = ArrayRecords(inputs, examples.targets)
    plan = bench.plan(steps=3, sample_rate=1.0)
    result = train(task, options, poisoned, start, tensors, plan, 300, modes=(mode,))
    assert np.isfinite(result.update).all()


def test_a_dataset_of_no_records_trains_on_noise_alone(digits):
    task, options, examples, start, tensors = digits
    nothing = ArrayRecords(examples.inputs[:0], examples.targets[:0])
    result = train(task, options, nothing, start, tensors, bench.plan(), 300)
    assert np.isfinite(result.update).all()
    assert result.update.std() > 0


def test_chunked_training_gives_what_whole_batches_give(digits, monkeypatch):
    task, options, examples, start, tensors = digits
    monkeypatch.setattr(
        "edgeveil.agent.training.engines.optimizer.gaussian", lambda count, _std: np.zeros(count)
    )
    plan = bench.plan(steps=3)
    whole = train(task, options, examples, start, tensors, plan, 300, modes=("ghost",)).update
    choice = check_trainable(task, options, examples, modes=("ghost",))
    small = training.Choice(choice.mode, 37)
    monkeypatch.setattr(training, "check_trainable", lambda *_a, **_k: small)
    parts = train(task, options, examples, start, tensors, plan, 300).update
    assert np.linalg.norm(parts - whole) <= 1e-5 * np.linalg.norm(whole)


def test_foreign_tensors_are_refused(digits):
    task, options, examples, start, tensors = digits
    renamed = (type(tensors[0])("other", tensors[0].shape),)
    with pytest.raises(ProtocolError) as caught:
        train(task, options, examples, start, renamed, bench.plan(), 300)
    assert caught.value.code is RefusalCode.MODEL_INVALID


def test_a_plan_that_overflows_is_refused(digits):
    task, options, examples, start, tensors = digits
    plan = bench.plan(learning_rate=1e38, noise_multiplier=1e5, clip_norm=10.0)
    with pytest.raises(ProtocolError) as caught:
        train(task, options, examples, start, tensors, plan, 1)
    assert caught.value.code is RefusalCode.UPDATE_NON_FINITE


def test_records_of_another_shape_are_a_data_error(digits):
    task, options, examples, start, tensors = digits
    short = ArrayRecords(examples.inputs[:, :100], examples.targets)
    with pytest.raises(DataError, match="do not fit"):
        train(task, options, short, start, tensors, bench.plan(), 300)


def test_generators_are_tested_before_the_first_step(digits, monkeypatch):
    task, options, examples, start, tensors = digits

    def fails():
        raise PolicyRefusal(RefusalCode.SELF_TEST_FAILED, "planted")

    monkeypatch.setattr(training, "_ready_in", set())
    monkeypatch.setattr(training.noise, "self_test", fails)
    with pytest.raises(PolicyRefusal):
        train(task, options, examples, start, tensors, bench.plan(), 300)


@pytest.mark.parametrize("variant", ["cnn", "linear"])
def test_the_image_models_pass_validation_and_train(variant):
    task = registry.load(registry.newest("image-classification"))
    options = task.parse_options({"variant": variant})
    shape = (1, 28, 28) if variant == "cnn" else (785,)
    random = np.random.default_rng(2)
    inputs = random.normal(size=(20, *shape)).astype(np.float32)
    examples = ArrayRecords(inputs, random.integers(0, 10, 20))
    tensors = task.tensors(options)
    start = read_vector(task.build(options), tensors)
    result = train(task, options, examples, start, tensors, bench.plan(steps=1), 20)
    assert result.update.shape == start.shape
    assert result.gradient_mode in {"hooks", "ghost"}
