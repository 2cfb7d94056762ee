"""Plans whose noise hides a whole device on the wire: one spelling, strict, and no byte of other plans changed."""

import json

import pytest
from privacy_bench import PLAN

from edgeveil.shared.base.errors import ProtocolError, RefusalCode
from edgeveil.shared.wire.plan import TrainingPlan, read_plan

WHOLE = {**PLAN, "unit": "device", "batch_size": 4, "optimizer": "adamw", "noise_bits": 16}


def test_it_reads_back_and_names_no_key_of_noisy_steps():
    plan = TrainingPlan(**WHOLE)
    spelled = json.loads(plan.to_json())
    assert spelled["unit"] == "device"
    assert not {"privacy", "sample_rate", "average", "proximal", "honest"} & set(spelled)
    assert read_plan(plan.to_json()) == plan
    assert (plan.noised, plan.plain, plan.integer_noise, plan.charged_steps) == (True, True, True, 1)  # fmt: skip


def test_a_plan_per_record_has_the_bytes_it_always_had():
    plan = TrainingPlan(**PLAN)
    assert b"unit" not in plan.to_json()
    assert plan.charged_steps == plan.steps == 8
    named = {**json.loads(plan.to_json()), "unit": "record"}
    with pytest.raises(ProtocolError) as refusal:
        read_plan(json.dumps(named, sort_keys=True, separators=(",", ":")).encode())
    assert refusal.value.code is RefusalCode.MALFORMED


@pytest.mark.parametrize(
    "wrong",
    [
        {"sample_rate": 0.5}, {"average": 0.5}, {"proximal": 0.001}, {"noise_bits": 0}, {"noise_bits": 3},
        {"noise_multiplier": 0.0}, {"delta": 0.0}, {"control_variates": True, "optimizer": "sgd"},
        {"privacy": "none", "noise_multiplier": 0.0, "delta": 0.0}, {"honest": 1}, {"unit": "person"},
        {"unit": "record"}, {"unit": "record", "batch_size": 16, "optimizer": "sgd"},
    ],
    ids=str,
)  # fmt: skip
def test_what_is_no_such_plan_is_refused(wrong):
    fields = json.loads(TrainingPlan(**WHOLE).to_json())
    spelled = {key: repr(value) if isinstance(value, float) else value for key, value in wrong.items()}  # fmt: skip
    data = json.dumps({**fields, **spelled}, sort_keys=True, separators=(",", ":")).encode()
    with pytest.raises(ProtocolError) as refusal:
        read_plan(data)
    assert refusal.value.code is RefusalCode.MALFORMED


def test_shares_go_with_any_number_of_local_steps():
    plan = TrainingPlan(**{**WHOLE, "steps": 50, "honest": 6})
    assert plan.shared_noise
    assert read_plan(plan.to_json()) == plan
