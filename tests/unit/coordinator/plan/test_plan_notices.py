"""What an operator is told of a plan before it runs."""

import pytest
from fakes_federation import plan_for


def notices(*, initial=None, **options):
    asked = {"labels": "car,bus", "size": 128, **options}
    return plan_for(6, task__id="detection", task__version="1.0.0", task__options=asked, model__initial=initial, evaluation__metric="map50").notices  # fmt: skip


@pytest.mark.parametrize("options", [{}, {"train": "all"}])
def test_a_detector_that_learns_everything_with_noise_is_told_what_to_expect(options):
    (found,) = [each for each in notices(**options) if "detection" in each]
    assert "mAP@0.5 below .01" in found
    assert 'task.options.train = "classes"' in found


def test_a_detector_on_a_public_body_is_told_nothing():
    assert not [
        each for each in notices(train="classes", initial="a.safetensors") if "detection" in each
    ]


def test_other_tasks_are_told_nothing_of_it():
    assert not [each for each in plan_for(6).notices if "noise" in each]
