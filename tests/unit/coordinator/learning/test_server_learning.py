"""Schedules, averages, judgement of rounds, medians over shards, and a state that survives a restart."""

import math

import numpy as np
import pytest
from pydantic import ValidationError

from edgeveil.coordinator.learning.judgement import Scored, best, converged, harmful, scored
from edgeveil.coordinator.learning.robust import robust_mean
from edgeveil.coordinator.learning.schedules import averaged
from edgeveil.coordinator.learning.strategies import STRATEGIES
from edgeveil.coordinator.plan.plan import Plan
from edgeveil.coordinator.records.records import Outcome, RoundRecord
from edgeveil.coordinator.runs import run_files
from edgeveil.coordinator.runs.learner import Learned, Learner
from edgeveil.shared.base.errors import StateDamaged
from edgeveil.shared.base.schedule import factor
from edgeveil.shared.scores.class_scores import CLASSES
from edgeveil.shared.wire.messages import Tensor

ACCURACY, _, LOSS = CLASSES.metrics
SIZE = 12
TENSORS = (Tensor("a", (3, 2)), Tensor("b", (6,)))


def plan(**changes):
    values = {
        "task": {"id": "feature-head"},
        "training": {"steps": 1, "clip_norm": 1.0, "learning_rate": 1.0, "epsilon": 8.0},
        "rounds": {"count": 8, "goal": 9},
    }
    for name, value in changes.items():
        section, key = name.split("__")
        values.setdefault(section, {})[key] = value
    return Plan.model_validate(values)


def test_schedules_begin_at_one_and_end_where_they_should():
    for kind in ("linear", "cosine"):
        rates = [factor(kind, number, 10, end=0.2) for number in range(1, 11)]
        assert rates[0] == 1
        assert rates[-1] == pytest.approx(0.2)
        assert rates == sorted(rates, reverse=True)
    assert [factor("step", number, 9, end=0.1) for number in (1, 3, 5, 7, 9)] == [
        1, 0.5, 0.25, 0.125, 0.125,
    ]  # fmt: skip
    assert factor("constant", 7, 10) == 1
    assert factor("cosine", 1, 1) == 1


def test_a_warm_up_rises_and_joins_the_schedule():
    assert [factor("constant", n, 10, warmup=3) for n in (1, 2, 3, 4)] == [0.25, 0.5, 0.75, 1]
    assert factor("linear", 4, 10, warmup=3, end=0.5) == 1


def test_the_tail_average_is_the_mean_of_the_models_from_its_start_on():
    models = [np.full(3, float(value), np.float32) for value in (9, 9, 1, 2, 6)]
    found = None
    for number, model in enumerate(models, start=1):
        found = averaged("tail", found, model, number, decay=0.9, start=3)
        assert (found is None) == (number < 3)
    assert found.tolist() == [3, 3, 3]


def test_the_moving_average_follows_by_its_decay():
    found = averaged("ema", None, np.ones(2, np.float32), 1, decay=0.75, start=1)
    found = averaged("ema", found, np.full(2, 5, np.float32), 2, decay=0.75, start=1)
    assert found.tolist() == [2, 2]
    assert averaged("none", None, np.ones(2, np.float32), 1, decay=0.5, start=1) is None


def test_the_best_round_is_the_earliest_of_the_best_and_loss_counts_downwards():
    rounds = [Scored(1, 0.5), Scored(2, 0.9), Scored(3, 0.9), Scored(4, 0.7)]
    assert best(rounds) == Scored(2, 0.9)
    assert best([]) is None
    assert LOSS.score(0.3) > LOSS.score(0.4)


def test_a_run_has_converged_after_so_many_evaluations_without_gain():
    flat = [Scored(n, 0.9) for n in range(1, 5)]
    assert not converged(flat, patience=0, least_gain=0.0)
    assert converged(flat, patience=3, least_gain=0.0)
    assert not converged(flat, patience=4, least_gain=0.0)
    rising = [Scored(n, 0.1 * n) for n in range(1, 9)]
    assert not converged(rising, patience=1, least_gain=0.0)
    assert converged(rising, patience=1, least_gain=0.15)
    assert not converged([*flat, Scored(5, 0.95)], patience=3, least_gain=0.0)


def test_harm_is_a_fall_below_the_best_by_more_than_the_tolerance():
    rounds = [Scored(1, 0.8), Scored(2, 0.9)]
    assert harmful(0.79, rounds, tolerance=0.1)
    assert not harmful(0.81, rounds, tolerance=0.1)
    assert not harmful(0.0, rounds, tolerance=0.0)
    assert not harmful(0.0, [], tolerance=0.1)


def test_aborted_and_unevaluated_rounds_have_no_score():
    records = [
        RoundRecord("r", 1, 1, Outcome.ABORTED, metrics={"accuracy": 1.0}),
        RoundRecord("r", 1, 2, Outcome.COMMITTED, metrics={"accuracy": 0.5}),
        RoundRecord("r", 2, 1, Outcome.COMMITTED),
    ]
    assert scored(records, ACCURACY) == [Scored(1, 0.5)]


def test_a_median_over_shards_ignores_what_one_shard_of_three_says():
    honest = [np.array([1.0, -2.0]), np.array([1.2, -2.2])]
    wild = np.array([1e9, -1e9])
    found = robust_mean("median", [*honest, wild], trim=0.2)
    assert np.all(np.abs(found - [1.1, -2.1]) < 0.2)
    trimmed = robust_mean("trimmed", [*honest, honest[0], honest[1], wild], trim=0.2)
    assert np.all(np.abs(trimmed - [1.1, -2.1]) < 0.2)
    assert np.abs(robust_mean("none", [*honest, wild], trim=0.2)).max() > 1e8


@pytest.mark.parametrize("kind", ["none", "median", "trimmed"])
def test_equal_means_are_left_as_they_are(kind):
    same_mean = np.array([0.5, -0.25])
    assert np.array_equal(robust_mean(kind, [same_mean] * 4, trim=0.25), same_mean)


@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
@pytest.mark.parametrize("average", ["none", "ema", "tail"])
def test_a_run_stopped_after_any_round_goes_on_bit_by_bit(tmp_path, strategy, average):
    learner = Learner(
        plan(server__strategy=strategy, server__average=average, server__schedule="cosine")
    )
    source = np.random.default_rng(2)
    updates = [source.normal(size=SIZE) for _ in range(8)]
    straight = Learned(np.zeros(SIZE, np.float32))
    broken = straight
    for number, update in enumerate(updates, start=1):
        straight = learner.next(straight, [update], number)
        broken = learner.next(broken, [update], number)
        sha256, extra = run_files.save(tmp_path, number, broken, TENSORS, {"round": str(number)})
        record = RoundRecord("r", number, 1, Outcome.COMMITTED, model_sha256=sha256, extra=extra)
        broken = run_files.load(tmp_path, record, TENSORS)
        assert straight.model.tobytes() == broken.model.tobytes(), f"round {number}"
        assert {name: part.tobytes() for name, part in straight.state.items()} == {
            name: part.tobytes() for name, part in broken.state.items()
        }


def test_weight_decay_shrinks_the_model_before_each_update_on_the_schedule():
    before = Learned(np.full(SIZE, 2.0, np.float32))
    for number, schedule, wanted in ((1, "constant", 1.5 + 1), (8, "linear", 2 * 0.95 + 0.2)):
        made = plan(server__weight_decay=0.25, server__schedule=schedule, server__final_rate=0.2)
        found = Learner(made).next(before, [np.ones(SIZE)], number).model
        assert found == pytest.approx(np.full(SIZE, wanted))
    assert "weight_decay" in plan(server__weight_decay=0.25).model_dump_json()
    assert "weight_decay" not in plan().model_dump_json()


def test_a_changed_state_file_is_noticed(tmp_path):
    learned = Learner(plan(server__strategy="fedadam")).next(
        Learned(np.zeros(SIZE, np.float32)), [np.ones(SIZE)], 1
    )
    sha256, extra = run_files.save(tmp_path, 1, learned, TENSORS, {})
    record = RoundRecord("r", 1, 1, Outcome.COMMITTED, model_sha256=sha256, extra=extra)
    path = run_files.state_path(tmp_path, 1)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(StateDamaged, match="SHA-256"):
        run_files.load(tmp_path, record, TENSORS)


def test_best_and_last_are_the_models_the_records_name(tmp_path):
    for number in (1, 2, 3):
        run_files.save(tmp_path, number, Learned(np.full(SIZE, number, np.float32)), TENSORS, {})
    run_files.link(tmp_path, 3, Scored(2, 0.9))
    assert (tmp_path / "best.safetensors").samefile(run_files.model_path(tmp_path, 2))
    assert (tmp_path / "last.safetensors").samefile(run_files.model_path(tmp_path, 3))
    run_files.link(tmp_path, 3, Scored(1, 0.95))
    assert (tmp_path / "best.safetensors").samefile(run_files.model_path(tmp_path, 1))


def test_a_median_needs_three_shards_and_judging_needs_data():
    with pytest.raises(ValidationError, match="a median needs 3 shards"):
        plan(server__robust="median")
    wide = {"rounds__goal": 18, "secagg__shard_max": 6, "secagg__shard_min": 3, "secagg__c_min": 0}
    assert plan(server__robust="median", **wide).sum_max == 6
    with pytest.raises(ValidationError, match=r"need evaluation\.data"):
        plan(evaluation__patience=2)
    assert not math.isnan(plan().server.final_rate)
