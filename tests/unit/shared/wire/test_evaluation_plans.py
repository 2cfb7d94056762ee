"""plan_json of an evaluation: one spelling, never without noise, and refused cleanly by who does not know it."""

import json

import pytest

from edgeveil.shared.base.errors import ProtocolError
from edgeveil.shared.wire.plan import EvaluationPlan, TrainingPlan, read_plan

PLAN = EvaluationPlan(
    every=5, rounds=12, noise_multiplier=8.5, sensitivity=2**0.5, delta=1e-5, noise_bits=19
)


def spelled(**changes):
    fields = json.loads(PLAN.to_json()) | changes
    return json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()


def test_it_reads_back_and_training_is_still_training():
    assert read_plan(PLAN.to_json()) == PLAN
    training = TrainingPlan(
        steps=1, clip_norm=1.0, learning_rate=1.0, noise_multiplier=2.0, delta=1e-5, rounds=3
    )
    assert read_plan(training.to_json()) == training


def test_an_agent_of_before_asks_for_an_update():
    with pytest.raises(ProtocolError) as refused:
        TrainingPlan.from_json(PLAN.to_json())
    assert refused.value.code == "VERSION"
    assert "update this agent" in str(refused.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"noise_multiplier": "0.0"},
        {"noise_bits": 3},
        {"noise_bits": 29},
        {"sensitivity": "0.0"},
        {"delta": "0.0"},
        {"honest": 1},
        {"every": 0},
        {"kind": "measure"},
        {"delta": 1e-5},
    ],
)
def test_anything_without_noise_or_in_another_spelling_is_malformed(changes):
    with pytest.raises(ProtocolError) as refused:
        read_plan(spelled(**changes))
    assert refused.value.code in {"MALFORMED", "VERSION"}


def test_an_unknown_key_is_what_a_newer_release_asks_for():
    with pytest.raises(ProtocolError) as refused:
        read_plan(spelled(bins=7))
    assert refused.value.code == "VERSION"


def test_it_says_which_rounds_it_follows():
    assert [n for n in range(1, 14) if PLAN.due(n)] == [5, 10, 12]
    assert [PLAN.left(n) for n in (1, 5, 6, 10, 11, 12, 13)] == [3, 3, 2, 2, 1, 1, 0]
