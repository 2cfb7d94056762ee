"""From a network's rows to detections."""

import numpy as np
import pytest

from edgeveil.shared.scores.boxes import MOST, MOST_CANDIDATES, covered, detections, iou


def row(x, y, width, height, *, sure=9.0, classes=(9.0, -9.0)):
    return [x, y, width, height, sure, *classes]


def test_overlap_is_the_share_of_the_union_that_both_cover():
    first = np.array([[0, 0, 10, 10], [5, 5, 5, 5]], np.float64)
    second = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 30, 30]], np.float64)
    assert iou(first, second)[0].tolist() == pytest.approx([1, 1 / 3, 0])
    assert iou(first, second)[1].tolist() == [0, 0, 0]  # of no size
    assert covered(first, second)[0].tolist() == pytest.approx([1, 0.5, 0])


def test_of_boxes_on_one_object_the_surest_stays_and_another_class_beside_it():
    output = np.array(
        [row(30, 30, 20, 20, sure=4.0), row(31, 30, 20, 20), row(30, 30, 20, 20, sure=5.0, classes=(-9, 9)), row(90, 90, 20, 20)],
        np.float32,
    )  # fmt: skip
    found = detections(output, 128)
    assert found[:, 0].tolist() == [0, 0, 1]
    assert (np.diff(found[:, 1]) <= 0).all()
    assert sorted(found[:, 2].tolist()) == pytest.approx([20, 21, 80])


def test_boxes_end_where_the_picture_ends():
    found = detections(np.array([row(2, 126, 20, 20)], np.float32), 128)
    assert found[0, 2:].tolist() == [0, 116, 12, 128]


def test_what_is_not_finite_is_no_detection():
    rows = np.array([row(30, 30, 20, 20), row(np.nan, 1, 1, 1), row(1, 1, np.inf, 1)], np.float32)
    assert len(detections(rows, 128)) == 1
    assert detections(np.zeros((0, 7), np.float32), 128).shape == (0, 6)
    assert detections(np.full((3, 7), np.nan, np.float32), 128).shape == (0, 6)


def test_a_picture_full_of_boxes_is_bounded():
    rows = np.array([row(x, y, 1, 1) for x in range(60) for y in range(60)], np.float32)
    assert len(rows) > MOST_CANDIDATES
    assert len(detections(rows, 64)) == MOST
