"""First plans where the records ask for a higher rate than any that was steady: more rounds, smaller steps, momentum."""

import math
import tomllib

import pytest

from edgeveil.coordinator.plan.first import Wanted, first_plan
from edgeveil.coordinator.plan.first_text import text
from edgeveil.coordinator.plan.plan import Plan

COLUMNS = "a 0..1, b 0..1"


def made(records, *, epsilon=3.0, **changes):
    values = {"labels": tuple("0123456789"), "shape": (28, 28, 1), "agents": 10} | changes
    return first_plan(Wanted(**values, records=records, epsilon=epsilon))


def how(found):
    plan = found.plan
    return plan.rounds.count, plan.training.steps, plan.server.strategy, plan.server.average


FEW, MANY = (20, 4, "fedavg", "none"), (100, 1, "fedavgm", "tail")


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"features": "blocks"},
        {"columns": COLUMNS, "shape": (2,), "labels": ("x", "y")},
        {"columns": COLUMNS, "shape": (50, 2), "labels": ("x", "y")},
    ],
)
def test_many_records_get_more_rounds_with_momentum_and_few_what_they_had(changes):
    assert how(made(1000, **changes)) == FEW
    assert how(made(6000, **changes)) == MANY


def test_the_plan_changes_where_the_rate_meets_its_limit_and_nowhere_else():
    found = [made(records) for records in range(500, 6001, 100)]
    for each in found:
        rate = each.plan.training.learning_rate
        assert rate < 1000 if how(each) == FEW else rate <= 600
    kinds = [how(each) for each in found]
    assert kinds == sorted(kinds, key=[FEW, MANY].index), (
        "once there are enough, more records change nothing"
    )
    assert set(kinds) == {FEW, MANY}


def test_what_momentum_adds_up_reaches_three_standard_deviations_of_noise_below_the_limit():
    found = made(4000)
    training, server = found.plan.training, found.plan.server
    adds_up = training.learning_rate / (1 - server.momentum)
    noise = training.clip_norm * found.noise_multiplier * math.sqrt(found.plan.rounds.count)
    assert adds_up * noise / (4000 * math.sqrt(10)) == pytest.approx(3, rel=0.02)
    assert made(6000, epsilon=8.0).plan.training.learning_rate == 600


@pytest.mark.parametrize(
    "changes",
    [
        {"features": "efficientnet-lite0", "shape": (128, 128, 3)},
        {"columns": COLUMNS, "shape": (2,), "labels": ("x", "y"), "task": "rare-classes"},
    ],
)
def test_what_was_not_tried_with_many_records_stays_as_it_was(changes):
    assert how(made(100_000, **changes)) == FEW


def test_the_file_for_many_records_says_what_the_plan_does_and_proposes_no_early_end(tmp_path):
    found = made(6000, test=tmp_path / "held-out")
    written = text(found)
    assert Plan.model_validate(tomllib.loads(written)) == found.plan
    assert "patience" not in written
    assert "patience" in text(made(1000, test=tmp_path / "held-out"))
