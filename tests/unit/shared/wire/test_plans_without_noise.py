"""A plan without noise says so, names nothing of noise, and is never what a damaged plan with noise reads as."""

import json
from itertools import pairwise

import pytest
from pydantic import ValidationError

from edgeveil.shared.base.errors import ProtocolError
from edgeveil.shared.wire.plan import TrainingPlan

PLAIN = {
    "privacy": "none",
    "steps": 18,
    "batch_size": 16,
    "clip_norm": 5.0,
    "learning_rate": 0.002,
    "optimizer": "adamw",
    "weight_decay": 0.0001,
    "schedule": "cosine",
    "warmup": 3,
    "rounds": 20,
}
NOISED = {
    "steps": 2,
    "clip_norm": 0.3,
    "learning_rate": 100.0,
    "noise_multiplier": 4.0,
    "delta": 1e-5,
    "rounds": 2,
}


def sent(values, **changes):
    return json.dumps(values | changes, sort_keys=True, separators=(",", ":")).encode()


def test_its_bytes_name_the_way_to_train_and_nothing_of_noise():
    made = TrainingPlan(**PLAIN).to_json()
    assert made == (
        b'{"batch_size":16,"clip_norm":"5.0","final_rate":"0.1","kind":"train","learning_rate":"0.002",'
        b'"momentum":"0.0","optimizer":"adamw","options":{},"privacy":"none","rounds":20,'
        b'"schedule":"cosine","steps":18,"warmup":3,"weight_decay":"0.0001"}'
    )
    assert TrainingPlan.from_json(made) == TrainingPlan(**PLAIN)


def test_a_plan_with_noise_has_the_bytes_it_had_before_there_was_another_way():
    names = json.loads(TrainingPlan(**NOISED).to_json())
    assert not {"privacy", "batch_size", "weight_decay", "schedule", "warmup"} & names.keys()


@pytest.mark.parametrize(
    ("base", "changes", "said"),
    [
        (NOISED, {"noise_multiplier": 0.0}, "must be above 0"),
        (NOISED, {"delta": 0.0}, "must be above 0"),
        (NOISED, {"optimizer": "adamw"}, 'adamw" belongs to privacy = "none"'),
        (NOISED, {"weight_decay": 0.1}, 'weight_decay belongs to privacy = "none"'),
        (NOISED, {"schedule": "cosine"}, 'schedule belongs to privacy = "none"'),
        (PLAIN, {"noise_multiplier": 1.0}, 'noise_multiplier belongs to privacy = "dp"'),
        (PLAIN, {"sample_rate": 0.5}, 'sample_rate belongs to privacy = "dp"'),
        (PLAIN, {"momentum": 0.9}, "momentum belongs to sgd"),
        (PLAIN, {"optimizer": "sgd", "control_variates": True}, 'scaffold belongs to privacy = "dp"'),
        (PLAIN, {"privacy": "some"}, "'dp' or 'none'"),
    ],
)  # fmt: skip
def test_what_would_not_happen_is_not_asked_for(base, changes, said):
    with pytest.raises(ValidationError, match=said):
        TrainingPlan(**base | changes)


def test_an_offer_without_its_noise_is_malformed_and_no_plan_without_noise():
    fields = json.loads(TrainingPlan(**NOISED).to_json())
    for missing in ("noise_multiplier", "delta"):
        rest = {name: value for name, value in fields.items() if name != missing}
        with pytest.raises(ProtocolError) as caught:
            TrainingPlan.from_json(sent(rest))
        assert caught.value.code == "MALFORMED"
    for lie in ({"privacy": "dp"}, {"noise_multiplier": "0.0"}, {"batch_size": 16}):
        with pytest.raises(ProtocolError) as caught:
            TrainingPlan.from_json(sent(fields, **lie))
        assert caught.value.code == "MALFORMED"


def test_the_rate_rises_in_the_first_rounds_and_falls_to_its_end_at_the_last():
    plan = TrainingPlan(**PLAIN)
    rates = [plan.rate(number, plan.rounds) for number in range(1, 21)]
    assert rates[:4] == pytest.approx([0.0005, 0.001, 0.0015, 0.002])
    assert all(later < sooner for sooner, later in pairwise(rates[3:]))
    assert rates[-1] == pytest.approx(0.0002)
