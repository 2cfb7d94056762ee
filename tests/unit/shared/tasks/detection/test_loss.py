"""The loss of one picture: which rows answer for a box, and what each part says."""

import math

import numpy as np
import pytest
import torch
from torchvision.ops import box_iou, complete_box_iou_loss

from edgeveil.shared.data.boxes.fitting import truths
from edgeveil.shared.tasks.detection import geometry, targets
from edgeveil.shared.tasks.detection.loss import RATIO, DetectionLoss, Grid, assign
from edgeveil.shared.tasks.detection.networks import detector
from edgeveil.shared.tasks.detection.options import DetectionOptions

OPTIONS = DetectionOptions(labels="car,bus,bicycle", size=128, boxes_max=4)


def target(*boxes, options=OPTIONS, room=4):
    rows = torch.zeros(room, 5)
    rows[:, 0] = targets.NONE
    for at, box in enumerate(boxes):
        rows[at] = torch.tensor(box)
    grid = torch.from_numpy(targets.grid(options.scales, options.loss))
    return targets.with_grid(rows[None], grid)


def made(seed=0):
    torch.manual_seed(seed)
    module = detector(OPTIONS)
    with torch.no_grad():
        for p in module.parameters():
            p.add_(0.05 * torch.randn_like(p))
    return module


def answering(box, options=OPTIONS):
    """{row: weight} for one box, found cell by cell and anchor by anchor."""
    x1, y1, x2, y2 = box
    width, height, x, y = x2 - x1, y2 - y1, (x1 + x2) / 2, (y1 + y2) / 2
    shapes = [(scale, anchor) for scale in options.scales for anchor in scale.anchors]

    def alike(anchor):
        both = min(width, anchor[0]) * min(height, anchor[1])
        return both / (width * height + anchor[0] * anchor[1] - both)

    best = max(range(len(shapes)), key=lambda at: alike(shapes[at][1]))
    rows, offset = [], 0
    for at, (scale, anchor) in enumerate(shapes):
        near = all(max(a / b, b / a) < RATIO for a, b in zip(anchor, (width, height), strict=True))
        column, line = min(int(x / scale.stride), scale.side - 1), min(int(y / scale.stride), scale.side - 1)  # fmt: skip
        cells = [(line, column)] if near or at == best else []
        if near:
            cells += [
                (line, column + (1 if x / scale.stride - column >= 0.5 else -1)),
                (line + (1 if y / scale.stride - line >= 0.5 else -1), column),
            ]
        for row, place in cells:
            if 0 <= row < scale.side and 0 <= place < scale.side:
                rows.append(offset + row * scale.side + place)
        offset += scale.side**2
    return dict.fromkeys(rows, 1 / math.sqrt(len(rows)))


@pytest.mark.parametrize(
    "box",
    [(3, 3, 20, 30), (60, 61, 75, 88), (0, 0, 128, 128), (100, 2, 127, 127), (126, 126, 128, 128), (1, 90, 60, 120)],
)  # fmt: skip
def test_the_rows_that_answer_for_a_box_are_those_of_its_cells_and_anchors(box):
    wanted = answering(box)
    grid = Grid.of(target()[0, 4:])
    found = assign(torch.tensor([[box]], dtype=torch.float32), torch.tensor([[True]]), grid)
    rows = found.rows[0][found.weight[0] > 0].tolist()
    assert sorted(rows) == sorted(wanted)
    assert found.weight[0].max().item() == pytest.approx(next(iter(wanted.values())))


def test_the_box_part_is_complete_iou():
    random = torch.Generator().manual_seed(1)
    low = 60 * torch.rand((1, 50, 2), generator=random)
    wanted = torch.cat((low, low + 5 + 40 * torch.rand((1, 50, 2), generator=random)), dim=2)
    rows = torch.cat((20 + 60 * torch.rand((1, 50, 2), generator=random), 5 + 40 * torch.rand((1, 50, 2), generator=random)), dim=2)  # fmt: skip
    found, overlap = geometry.ciou_loss(rows, wanted)
    judge = complete_box_iou_loss(geometry.corners(rows)[0], wanted[0])
    assert torch.allclose(found[0], judge, atol=1e-5)
    assert torch.allclose(overlap[0], torch.diag(box_iou(geometry.corners(rows)[0], wanted[0])), atol=1e-5)  # fmt: skip
    whole = geometry.iou(rows, wanted)[0]
    assert torch.allclose(whole, box_iou(geometry.corners(rows)[0], wanted[0]), atol=1e-5)


def test_a_perfect_answer_costs_less_than_any_other():
    rows = torch.zeros(1, OPTIONS.rows, 8)
    rows[..., :4], rows[..., 4:] = 1.0, -20.0
    box = (40.0, 40.0, 58.0, 54.0)
    wanted = target((1, *box))
    nothing = DetectionLoss("none")(rows, wanted)
    for row in answering(box):
        rows[0, row] = torch.tensor([49, 47, 18, 14, 20, -20, 20, -20])
    perfect = DetectionLoss("none")(rows, wanted)
    assert perfect.item() == pytest.approx(0, abs=1e-4)
    assert nothing.item() > 5
    assert DetectionLoss("none")(rows, target()).item() > 5  # sure of an object where none is


def test_what_lies_on_a_box_to_be_ignored_is_not_told_that_nothing_is_there():
    rows = torch.zeros(1, OPTIONS.rows, 8)
    rows[..., :4], rows[..., 4:] = 1.0, -20.0
    rows[0, 100] = torch.tensor([50.0, 50, 20, 20, 20, 20, -20, -20])
    loss = DetectionLoss("none")
    assert loss(rows, target()).item() > 3
    ignored = target((targets.IGNORED - 2, 40.0, 40.0, 60.0, 60.0))
    assert loss(rows, ignored).item() == pytest.approx(0, abs=1e-4)
    boxes, which = truths(ignored[0].numpy())
    assert (boxes[0, 0], which.tolist()) == (2, [True])


@pytest.mark.parametrize("kind", ["ciou", "classic"])
def test_the_loss_of_a_picture_is_the_same_alone_and_with_room_for_more_boxes(kind):
    options = OPTIONS.model_copy(update={"loss": kind})
    module, loss = made(), DetectionLoss("none")
    images, wanted = targets.probe(6, torch.Generator().manual_seed(2), options)
    with torch.no_grad():
        outputs = module(images)
    whole = loss(outputs, wanted)
    for at in range(6):
        assert torch.allclose(loss(outputs[at : at + 1], wanted[at : at + 1]), whole[at], rtol=1e-6)
    boxes, grid = wanted[:, :4], wanted[:, 4:]
    empty = torch.zeros(6, 9, 5)
    empty[..., 0] = targets.NONE
    assert torch.allclose(loss(outputs, torch.cat((boxes, empty, grid), dim=1)), whole, rtol=1e-6)


@pytest.mark.parametrize("kind", ["ciou", "classic"])
def test_gradients_are_finite_for_boxes_of_any_size_and_place(kind):
    options = OPTIONS.model_copy(update={"loss": kind})
    module = made()
    hard = [(0, 0, 0, 128, 128), (1, 127, 127, 128, 128), (2, 5, 5, 5, 5), (0, -50, -50, 300, 2)]
    wanted = target(*hard, options=options)
    loss = DetectionLoss("none")(module(torch.zeros(1, 3, 128, 128)), wanted)
    assert torch.isfinite(loss).all()
    loss.sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in module.parameters())


@pytest.mark.parametrize("kind", ["ciou", "classic"])
def test_a_few_steps_make_it_fall(kind):
    options = OPTIONS.model_copy(update={"loss": kind})
    module, loss = made(), DetectionLoss("mean")
    images, wanted = targets.probe(4, torch.Generator().manual_seed(3), options)
    optimizer = torch.optim.Adam(module.parameters(), lr=2e-3)
    values = []
    for _ in range(12):
        optimizer.zero_grad()
        found = loss(module(images), wanted)
        found.backward()
        optimizer.step()
        values.append(found.item())
    assert min(values[-3:]) < 0.75 * values[0]


def test_rows_that_are_kept_and_taken_are_whole_squares():
    boxes = np.full((3, 4, 5), -1, np.float32)
    found = targets.Squares(
        np.full((3, 3, 64, 64), 51, np.uint8), boxes, targets.grid(OPTIONS.scales, "ciou")
    )
    images, wanted = found.take(np.array([2, 0]))
    assert images.shape == (2, 3, 64, 64)
    assert images.unique().tolist() == pytest.approx([0.2])
    assert wanted.shape == (2, 4 + 6, 5)
    assert len(found) == 3
