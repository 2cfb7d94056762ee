"""Other versions of a picture: its boxes move with it, and no record touches another."""

import numpy as np
import pytest
import torch

from edgeveil.shared.tasks.augmentation.draws import Draws
from edgeveil.shared.tasks.conformance.subject import Subject
from edgeveil.shared.tasks.conformance.variation_checks import varies_each_record_by_itself
from edgeveil.shared.tasks.detection import targets
from edgeveil.shared.tasks.detection.augmentation import DRAWS, GREY, augmented
from edgeveil.shared.tasks.detection.options import DetectionOptions
from edgeveil.shared.tasks.registry import load, newest

OPTIONS = DetectionOptions(labels="car,bus", size=128, boxes_max=2)


def draws(seed, count=60):
    return torch.rand((count, DRAWS), generator=torch.Generator().manual_seed(seed))


def drawn(count):
    """White rectangles on the grey of margins, and their boxes."""
    images = torch.full((count, 3, 128, 128), GREY)
    boxes = torch.zeros(count, 2, 5)
    boxes[:, 1, 0] = targets.NONE
    for at in range(count):
        x, y, width, height = 20 + 3 * at, 40, 40, 24
        images[at, :, y : y + height, x : x + width] = 1
        boxes[at, 0] = torch.tensor([at % 2, x, y, x + width, y + height])
    grid = torch.from_numpy(targets.grid(OPTIONS.scales, "ciou"))
    return images, targets.with_grid(boxes, grid)


@pytest.mark.parametrize(("options", "varied"), [({}, True), ({"vary": False}, False), ({"train": "classes"}, False)])  # fmt: skip
def test_the_task_varies_each_picture_by_itself_where_it_is_asked_to(options, varied):
    task = load(newest("detection"))
    made = task.parse_options({"labels": "car,bus", "size": 64, "boxes_max": 2, **options})
    subject = Subject(task, made, None)
    varies_each_record_by_itself(subject, None)
    inputs, targets = subject.drawn()
    found, _ = task.augment(inputs, targets, Draws(1, np.arange(len(inputs))), made)
    assert torch.equal(found, inputs) is not varied


def test_boxes_move_with_what_they_are_around():
    images, wanted = augmented(*drawn(12), draws(1, 12))
    for image, rows in zip(images, wanted, strict=True):
        kind, x1, y1, x2, y2 = rows[0].tolist()
        if kind < 0:
            continue
        bright = image.amin(dim=0)
        inside = bright > (bright.max() + bright.min()) / 2
        lines, columns = inside.any(dim=1).nonzero().flatten(), inside.any(dim=0).nonzero().flatten()  # fmt: skip
        for found, told in zip((columns[0], lines[0], columns[-1] + 1, lines[-1] + 1), (x1, y1, x2, y2), strict=True):  # fmt: skip
            assert abs(found.item() - told) <= 1.5


def test_the_grid_and_what_is_no_box_stay_as_they_are():
    before, after = drawn(5)[1], augmented(*drawn(5), draws(2, 5))[1]
    assert torch.equal(before[:, 1:], after[:, 1:])
    assert not torch.equal(before[:, 0], after[:, 0])


def test_a_box_of_which_little_is_left_is_gone():
    images, wanted = drawn(60)
    wanted[:, 0, 1:] = torch.tensor([0.0, 0, 16, 16])  # in a corner: many versions cut it off
    rows = augmented(images, wanted, draws(3))[1][:, 0]
    gone = rows[:, 0] < 0
    assert 3 <= int(gone.sum()) <= 40
    assert not rows[gone, 1:].any()


def test_a_record_follows_from_its_own_draws_alone():
    images, wanted = drawn(4)
    whole = augmented(images, wanted, draws(4, 4))
    images[2], wanted[2, 0] = 0.3, torch.tensor([1.0, 5, 5, 9, 9])
    other = augmented(images, wanted, draws(4, 4))
    for at in (0, 1, 3):
        assert torch.equal(whole[0][at], other[0][at])
        assert torch.equal(whole[1][at], other[1][at])
    again = augmented(images, wanted, draws(4, 4))
    assert torch.equal(other[0], again[0])
