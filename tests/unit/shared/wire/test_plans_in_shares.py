"""What a plan with noise in shares may ask, and that no other plan's bytes changed."""

import json

import pytest

from edgeveil.shared.base.errors import ProtocolError, RefusalCode
from edgeveil.shared.wire.plan import TrainingPlan

PLAN = {
    "steps": 1, "clip_norm": 0.3, "learning_rate": 100.0, "noise_multiplier": 4.0, "delta": 1e-5, "rounds": 5,
}  # fmt: skip
SHARES = {"honest": 4, "noise_bits": 20}


def test_a_plan_with_shares_survives_the_way_and_another_does_not_name_them():
    plan = TrainingPlan(**PLAN, **SHARES)
    assert plan.shared_noise
    assert TrainingPlan.from_json(plan.to_json()) == plan
    local = TrainingPlan(**PLAN)
    assert not local.shared_noise
    assert not {"honest", "noise_bits"} & set(json.loads(local.to_json()))


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 2}, {"optimizer": "adam"}, {"momentum": 0.5}, {"average": 0.5}, {"proximal": 0.001},
        {"control_variates": True}, {"honest": 1}, {"honest": 0}, {"noise_bits": 3}, {"noise_bits": 0},
        {"noise_bits": 29}, {"honest": -4}, {"honest": 70_000},
    ],
    ids=str,
)  # fmt: skip
def test_what_is_not_proven_is_malformed(wrong):
    fields = {**json.loads(TrainingPlan(**PLAN, **SHARES).to_json()), **wrong}
    fields = {
        key: repr(value) if isinstance(value, float) else value for key, value in fields.items()
    }
    data = json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()
    with pytest.raises(ProtocolError) as refusal:
        TrainingPlan.from_json(data)
    assert refusal.value.code is RefusalCode.MALFORMED


def test_a_plan_without_any_noise_has_no_shares_of_it():
    with pytest.raises(ValueError, match="noise in shares"):
        TrainingPlan(privacy="none", steps=1, clip_norm=1.0, learning_rate=0.1, rounds=1, **SHARES)
