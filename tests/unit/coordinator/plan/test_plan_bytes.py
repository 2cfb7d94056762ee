"""A plan's bytes, on the disk and on the wire, stay those that release 0.1.0 wrote."""

import json
from pathlib import Path

import pytest
from fakes_federation import plan_for

from edgeveil.coordinator.plan.derived import training_plan
from edgeveil.coordinator.plan.plan import Plan
from edgeveil.shared.wire.plan import TrainingPlan

FOUND = json.loads((Path(__file__).parents[3] / "vectors/v1/plans.json").read_text())["plans"]


@pytest.mark.parametrize("known", FOUND, ids=[known["name"] for known in FOUND])
def test_a_plan_is_stored_and_sent_in_the_bytes_that_were_recorded(known):
    plan = plan_for(4, task__version="1.0.0", **known["changes"])
    assert plan.model_dump_json() == known["stored"]
    assert training_plan(plan).to_json().decode() == known["sent"]


@pytest.mark.parametrize("known", FOUND, ids=[known["name"] for known in FOUND])
def test_recorded_bytes_read_back_to_the_same_plan(known):
    plan = plan_for(4, task__version="1.0.0", **known["changes"])
    assert Plan.model_validate_json(known["stored"]) == plan
    assert TrainingPlan.from_json(known["sent"].encode()) == training_plan(plan)
