"""Rounds that fail loudly or are undone, runs that stop by themselves, strategies that survive a restart."""

import shutil

import numpy as np
import pytest
from crash_bench import Scenario, World
from fakes_federation import on_device
from thin_bench import POLICY, thin_plan

from edgeveil.coordinator.records.records import Evaluation
from edgeveil.coordinator.rounds import training_round
from edgeveil.coordinator.runs import checkpoint
from edgeveil.shared.base.errors import RefusalCode, RunFailed
from edgeveil.shared.base.exit_codes import ExitCode


def world(folder, *, rounds=3, evaluate=None, attempts=3, **changes):
    made = World.make(folder / "world", Scenario(1, rounds=rounds, attempts=attempts, quiet=True))
    made.plan = thin_plan(4, rounds=rounds, rounds__attempts=attempts, **changes)
    made.evaluate = evaluate
    return made.open()


class Scores:
    """An evaluation that says these accuracies one after another, then the last for ever."""

    def __init__(self, *values):
        self.values = list(values)
        self.models = []

    def __call__(self, vector):
        self.models.append(vector.copy())
        value = self.values.pop(0) if len(self.values) > 1 else self.values[0]
        return Evaluation({"accuracy": value, "loss": 1 - value, "examples": 10.0})


def judged(folder, scores, *, rounds=3, attempts=3, **judge):
    made = world(folder, rounds=rounds, attempts=attempts, evaluate=scores)
    section = made.plan.evaluation.model_copy(update=judge)
    made.plan = made.plan.model_copy(update={"evaluation": section})
    made.close_coordinator()
    made.open_coordinator()
    return made


def test_a_round_that_harms_the_model_is_undone_and_tried_again(tmp_path):
    scores = Scores(0.8, 0.3, 0.85, 0.9)
    made = judged(tmp_path, scores, reject_below=0.1)
    made.work()
    rows = made.store.rounds()
    assert [(row.round, row.attempt, row.outcome.value, row.reason) for row in rows] == [
        (1, 1, "committed", ""),
        (2, 1, "aborted", "CANARY"),
        (2, 2, "committed", ""),
        (3, 1, "committed", ""),
    ]
    assert "worse than the best" in rows[1].extra["detail"]
    step = scores.models[0]
    assert np.allclose(scores.models[2], 2 * step, atol=1e-3), "the undone round left a trace"
    best = made.driver.run.folder / "best.safetensors"
    assert np.array_equal(checkpoint.load(best).vector, scores.models[-1])
    made.close()


def test_harm_in_every_attempt_fails_the_run_and_keeps_the_last_good_model(tmp_path):
    made = judged(tmp_path, Scores(0.8, 0.1), reject_below=0.1)
    with pytest.raises(RunFailed, match="CANARY") as caught:
        made.work()
    assert caught.value.exit_code is ExitCode.TEMPORARY
    last = made.store.last_committed(made.driver.run.run_id)
    saved = checkpoint.load(made.driver.run.folder / "last.safetensors", sha256=last.model_sha256)
    assert (last.round, np.array_equal(saved.vector, made.driver.learned.model)) == (1, True)
    made.close()


def test_a_loss_that_is_not_finite_aborts_with_its_code(tmp_path):
    made = judged(tmp_path, Scores(float("nan")), attempts=1)
    with pytest.raises(RunFailed, match="MODEL_INVALID"):
        made.work()
    assert made.store.rounds()[0].reason == RefusalCode.MODEL_INVALID
    made.close()


def test_a_sum_with_a_nan_aborts_with_its_code(tmp_path, monkeypatch):
    made = world(tmp_path, attempts=1)
    monkeypatch.setattr(
        training_round, "mean_update", lambda result, params: np.full(made.size, np.nan)
    )
    with pytest.raises(RunFailed, match="MODEL_INVALID"):
        made.work()
    made.close()


def test_a_run_without_gain_ends_early_and_says_why(tmp_path):
    made = judged(tmp_path, Scores(0.5, 0.9, 0.9), rounds=8, patience=2)
    made.work()
    assert made.ended == "converged after round 4"
    assert [row.round for row in made.store.rounds()] == [1, 2, 3, 4]
    made.close()


def test_nobody_s_update_is_never_a_success(tmp_path):
    made = world(tmp_path, attempts=2)
    strict = POLICY.model_copy(update={"steps_max": 1})
    for session in made.sessions.values():
        on_device(session, policy=strict)
    with pytest.raises(RunFailed, match=r"0 of 4 agents would take part.*POLICY_STEPS"):
        made.work()
    assert made.store.last_committed(made.driver.run.run_id) is None
    assert not (made.driver.run.folder / "round-0001.safetensors").exists()
    made.close()


@pytest.mark.parametrize("strategy", ["fedavgm", "fedadam", "scaffold"])
def test_a_strategy_with_memory_survives_a_restart_of_the_coordinator(tmp_path, strategy):
    changes = {"server__strategy": strategy, "server__average": "ema"}
    straight = world(tmp_path / "a", rounds=4, secagg__weights="uniform", **changes)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    straight.work()
    broken = World(tmp_path / "b" / "world", straight.scenario)
    broken.plan = straight.plan
    for session in straight.sessions.values():
        session.close()
    broken.open()
    for number in range(1, 5):
        broken.driver._complete(number)
        broken.close_coordinator()
        broken.open_coordinator()
        assert broken.first == number + 1
    assert np.allclose(straight.driver.learned.model, broken.driver.learned.model, atol=1e-3)
    assert set(broken.driver.learned.state) == set(straight.driver.learned.state)
    broken.close()
    straight.close_coordinator()
