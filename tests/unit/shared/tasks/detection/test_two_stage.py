"""Faster R-CNN, one picture at a time: what is frozen, what counts, and that it learns."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from edgeveil.shared.data.boxes.fitting import IGNORED
from edgeveil.shared.tasks.detection.two_stage.network import Affine, Look, Residual, anchor_sides
from edgeveil.shared.tasks.detection.two_stage.task import found_in
from edgeveil.shared.tasks.graphs import packaged
from edgeveil.shared.tasks.registry import load, newest

TASK = load(newest("detection-two-stage"))
RAW = {"labels": "car,bus", "size": 64, "boxes_max": 4, "width": 32}
STEPS = 28
SURE, UNSURE = [-9.0, 9.0, -9.0], [9.0, -9.0, -9.0]


@pytest.fixture(scope="module")
def built():
    return TASK.build(TASK.parse_options(RAW))


def look(logits, proposals, anchors=((0.0, 0, 8, 8),), there=(0.0,)):
    rows = torch.tensor(proposals).reshape(-1, 4)
    anchors = torch.tensor(anchors)
    return Look(
        torch.tensor(there), torch.zeros(len(anchors), 4), anchors, rows,
        torch.tensor(logits).reshape(-1, 3), torch.zeros(len(rows), 4),
    )  # fmt: skip


def loss(seen, *boxes):
    rows = [*boxes, *[[-1.0, 0, 0, 0, 0]] * (4 - len(boxes))]
    return float(TASK.criterion("none")([seen], torch.tensor([rows]))[0])


def test_the_body_is_frozen_without_batch_statistics_and_nothing_happens_in_place(built):
    assert not any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in built.modules())
    assert sum(isinstance(part, Affine) for part in built.modules()) == 39
    assert sum(isinstance(part, Residual) for part in built.modules()) == 13
    assert not any(getattr(part, "inplace", False) for part in built.modules())
    trained = {name.split(".")[0] for name, p in built.named_parameters() if p.requires_grad}
    assert trained == {"backbone", "rpn", "box_head", "box_predictor"}
    assert not any(p.requires_grad for p in built.backbone.body.parameters())
    classes = TASK.build(TASK.parse_options({**RAW, "train": "classes"}))
    assert {n.split(".")[0] for n, p in classes.named_parameters() if p.requires_grad} == {"box_predictor"}  # fmt: skip
    assert not classes.box_predictor.shift.weight.requires_grad
    assert not classes.box_predictor.classes.weight.any()


def test_signals_keep_their_size_on_the_way_through_the_body(built):
    images, _ = TASK.probe(1, torch.Generator().manual_seed(0), TASK.parse_options(RAW))
    with torch.no_grad():
        for level in built.backbone.body((torch.stack(images) - 0.45) / 0.22).values():
            assert 0.1 < float(level.std()) < 10


def test_a_picture_has_at_most_so_many_boxes_and_one_for_each_thing():
    options = TASK.parse_options({**RAW, "found_max": 2})
    places = [[0.0, 0, 10, 10], [1, 0, 11, 10], [30, 30, 50, 50], [10, 40, 20, 60]]
    found = found_in(look([SURE, [-9, 8, -9], SURE, [-9, 7, -9]], places), options)
    assert found.shape == (2, 6)
    assert found[:, 0].tolist() == [0, 0]
    assert {tuple(row[2:].tolist()) for row in found} == {(0, 0, 10, 10), (30, 30, 50, 50)}
    assert not len(found_in(look([], []), options))
    odd = found_in(look([[float("nan")] * 3, SURE], [[0.0, 0, 10, 10], [0, 0, float("inf"), 9]]), options)  # fmt: skip
    assert np.isfinite(odd).all()


def test_a_box_of_its_class_costs_less_than_nothing_or_another_class():
    box, place = [0.0, 10, 10, 30, 30], [10.0, 10, 30, 30]
    assert loss(look(SURE, place), box) < 1
    assert loss(look(UNSURE, place), box) > 5
    assert loss(look([-9.0, -9, 9], place), box) > 5
    assert loss(look(SURE, place)) > 5  # nothing is there
    moved = look(SURE, [12.0, 12, 32, 32])
    assert loss(moved, box) > 0.5 + loss(look(SURE, place), box)


def test_what_lies_on_a_crowd_is_no_mistake():
    place = [10.0, 10, 30, 30]
    crowd = [float(IGNORED), 10, 10, 30, 30]
    assert loss(look(SURE, place), crowd) < 1 < loss(look(SURE, place))
    anchored = look([], [], anchors=(tuple(place),), there=(9.0,))
    assert loss(anchored, crowd) < 0.1 < loss(anchored)


def test_it_is_not_packaged_and_says_why(built):
    with pytest.raises(TypeError, match="no fixed length; for devices train detection"):
        packaged(TASK, TASK.parse_options(RAW), built)


def test_a_few_steps_lower_the_loss(built):
    options = TASK.parse_options(RAW)
    module = TASK.build(options).train()
    inputs, targets = TASK.probe(1, torch.Generator().manual_seed(0), options)
    optimizer = torch.optim.Adam([p for p in module.parameters() if p.requires_grad], lr=3e-4)
    criterion, told = TASK.criterion("mean"), []
    for _ in range(STEPS):
        optimizer.zero_grad()
        error = criterion(module(inputs), targets)
        error.backward()
        optimizer.step()
        told.append(float(error.detach()))
    assert sum(told[-4:]) / 4 < 0.6 * told[0]


def test_things_of_every_size_have_anchors_of_about_theirs():
    for size in (64, 128, 320, 640):
        every = [side for level in anchor_sides(size) for side in level]
        assert every == sorted(every)
        assert (every[0], every[-1]) == pytest.approx((16, 0.9 * size))
        assert max(large / small for small, large in itertools.pairwise(every)) < 2
