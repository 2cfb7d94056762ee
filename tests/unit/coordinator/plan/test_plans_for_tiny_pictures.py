"""Pictures of so few pixels that edges tell less than the pixels themselves."""

import pytest

from edgeveil.coordinator.plan.first import Wanted, first_plan
from edgeveil.coordinator.plan.first_found import pictures
from edgeveil.shared.tasks import registry

LABELS = tuple("0123456789")


@pytest.mark.parametrize(
    ("side", "asked", "features"),
    [(8, None, "pixels"), (15, None, "pixels"), (16, None, "orientation"), (28, None, "orientation"),
     (8, "orientation", "orientation"), (28, "pixels", "pixels")],
)  # fmt: skip
def test_what_is_asked_for_wins_and_otherwise_the_size_decides(side, asked, features):
    shape, found = pictures((side, side, 1), None, None, 1, asked)
    assert (shape, found) == ((side, side, 1), features)


def test_a_plan_on_pixels_is_one_that_its_task_takes():
    made = first_plan(Wanted(LABELS, (8, 8, 1), agents=10, records=140, features="pixels"))
    task = made.plan.task
    assert (task.id, task.options["variant"]) == ("image-classification", "linear")
    assert "features" not in task.options
    built = registry.load(registry.newest(task.id))
    assert built.tensors(built.parse_options(task.options))[0].shape == (10, 65)
    other = first_plan(Wanted(LABELS, (8, 8, 1), agents=10, records=140))
    assert other.plan.task.id == "feature-head"
    assert other.plan.training.learning_rate == made.plan.training.learning_rate, (
        "features of length 1"
    )
