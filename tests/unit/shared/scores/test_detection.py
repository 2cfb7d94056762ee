"""Average precision from counts that add up, held against pycocotools on the same detections."""

import contextlib
import io
import json

import numpy as np
import pytest

from edgeveil.shared.data.boxes.fitting import MOST_BOXES
from edgeveil.shared.scores import matching
from edgeveil.shared.scores.detection import DETECTION, SHOWN_AT, kept, scores
from edgeveil.shared.scores.tallies import Tallies, summed

CLASSES = 3
SIDE = 128
CLOSE = 0.002


def pictures(count, seed, *, noise=0.12, ignored=0.0, sure=1.5):
    """Truths (M, 5) with which are ignored, and detections (D, 6) around and beside them, of each picture."""
    random = np.random.default_rng(seed)
    for _ in range(count):
        many = int(random.integers(0, 7))
        corner, size = random.uniform(0, 80, (many, 2)), random.uniform(8, 45, (many, 2))
        truths = np.column_stack([random.integers(CLASSES, size=many), corner, corner + size])
        again = random.integers(0, 3, many)
        near = np.repeat(truths, again, axis=0)
        length = np.tile(size, 2)
        near[:, 1:] += np.repeat(length, again, axis=0) * random.normal(0, noise, (len(near), 4))
        stray = np.column_stack([random.integers(CLASSES, size=3), np.zeros((3, 4))])
        place = random.uniform(0, 80, (3, 2))
        stray[:, 1:] = np.hstack([place, place + random.uniform(8, 45, (3, 2))])
        logits = np.concatenate([random.normal(sure, 2, len(near)), random.normal(-sure, 1.5, 3)])
        boxes = np.concatenate([near, stray])
        found = np.column_stack([boxes[:, 0], 1 / (1 + np.exp(-logits)), boxes[:, 1:]])
        yield truths, random.uniform(size=many) < ignored, found[found[:, 1] > 0.01]


def counted(found, truths, ignored, classes):
    cells = matching.cells(found, truths, ignored, classes)
    return summed(Tallies.listed([cells]), matching.form(classes, MOST_BOXES))


def ours(made, classes=CLASSES):
    cells = [matching.cells(found, truths, ignored, classes) for truths, ignored, found in made]
    return summed(Tallies.listed(cells), matching.form(classes, MOST_BOXES))


def judged(made):
    """mAP@0.5:0.95, mAP@0.5 and AP (overlaps, recalls, classes) by pycocotools."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    images, annotations, results = [], [], []
    for number, (truths, ignored, found) in enumerate(made, 1):
        images.append({"id": number, "width": SIDE, "height": SIDE})
        for (kind, *box), crowd in zip(truths.tolist(), ignored.tolist(), strict=True):
            annotations.append({**as_coco(number, kind, box), "id": len(annotations) + 1, "iscrowd": int(crowd)})  # fmt: skip
        for kind, score, *box in found.tolist():
            results.append({**as_coco(number, kind, box), "score": score})
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {
            "images": images,
            "annotations": annotations,
            "categories": [{"id": kind, "name": str(kind)} for kind in range(1, CLASSES + 1)],
        }
        truth.createIndex()
        judge = COCOeval(truth, truth.loadRes(results), "bbox")
        judge.evaluate()
        judge.accumulate()
    precision = judge.eval["precision"][:, :, :, 0, 2]  # every size, 100 detections
    return precision.mean(), precision[0].mean(), precision


def as_coco(number, kind, box):
    x, y, right, bottom = box
    return {
        "image_id": number,
        "category_id": int(kind) + 1,
        "bbox": [x, y, right - x, bottom - y],
        "area": (right - x) * (bottom - y),
    }


@pytest.mark.parametrize("sure", [0.5, 1.5, 4.0])
@pytest.mark.parametrize(("count", "seed", "ignored"), [(40, 1, 0.0), (100, 2, 0.2), (300, 3, 0.1)])
def test_average_precision_is_that_of_pycocotools(count, seed, ignored, sure):
    made = list(pictures(count, seed, ignored=ignored, sure=sure))
    found = scores(ours(made), CLASSES)
    whole, half, precision = judged(made)
    assert 0.05 < whole < 0.8
    figures = found.figures()
    assert abs(figures["map"] - whole) <= CLOSE
    assert abs(figures["map50"] - half) <= CLOSE
    assert np.abs(found.ap50 - precision[0].mean(axis=0)).max() <= 2 * CLOSE
    assert np.abs(found.ap - precision.mean(axis=(0, 1))).max() <= 2 * CLOSE


def test_counts_of_devices_add_up_to_those_of_all_pictures():
    made = list(pictures(30, 5))
    assert (ours(made) == ours(made[:11]) + ours(made[11:])).all()


def test_perfect_boxes_have_every_figure_at_one():
    made = [
        (truths, ignored, np.insert(truths, 1, 0.99, axis=1))
        for truths, ignored, _ in pictures(20, 7)
    ]
    figures = scores(ours(made), CLASSES).figures()
    assert figures == {"map50": 1, "map": 1, "micro_f1": 1, "macro_f1": 1}


def test_a_crowd_is_no_miss_and_what_lies_on_it_no_error():
    truth = np.array([[0, 10, 10, 60, 60]], np.float64)
    inside = np.array([[0, 0.9, 20, 20, 40, 40], [0, 0.8, 22, 20, 40, 40]], np.float64)
    counts = counted(inside, truth, np.array([True]), 1)
    assert not counts.any()
    elsewhere = np.array([[0, 0.9, 80, 80, 90, 90]], np.float64)
    found, there = matching.parted(counted(elsewhere, truth, np.array([True]), 1), 1)
    assert found[0, :, matching.WRONG].sum(axis=1).tolist() == [1] * 10
    assert there.tolist() == [0]


def test_a_second_box_on_one_object_is_wrong():
    truth = np.array([[0, 10, 10, 60, 60]], np.float64)
    twice = np.array([[0, 0.9, 10, 10, 60, 58], [0, 0.8, 10, 10, 60, 60]], np.float64)
    found = scores(counted(twice, truth, np.array([False]), 1), 1)
    assert (found.right[0].tolist(), found.wrong[0].tolist()) == ([1], [1])


def test_precision_and_recall_count_boxes_above_the_score_that_is_told():
    truths = np.array([[0, 0, 0, 10, 10], [0, 20, 0, 30, 10], [1, 40, 0, 50, 10]], np.float64)
    above, below = SHOWN_AT + 0.05, SHOWN_AT - 0.05
    found = np.array([[0, above, 0, 0, 10, 10], [0, below, 20, 0, 30, 10], [1, above, 80, 0, 90, 10]])  # fmt: skip
    made = scores(counted(found, truths, np.zeros(3, np.bool_), 2), 2)
    precision, recall, f1 = made.averages(2)["micro"]
    assert (precision, recall) == (0.5, pytest.approx(1 / 3))
    assert f1 == pytest.approx(0.4)
    assert made.averages(2)["macro"][1] == pytest.approx((0.5 + 0) / 2)
    assert made.averages(2)["weighted"][1] == pytest.approx((0.5 * 2 + 0) / 3)


def test_a_class_without_truths_counts_in_no_mean():
    made = list(pictures(40, 9))
    three = scores(ours(made), CLASSES).figures()
    five = scores(ours(made, 5), 5).figures()
    assert three == pytest.approx(five)


def test_noise_on_the_counts_leaves_every_figure_within_its_range():
    tally = ours(list(pictures(30, 11)))
    noisy = tally + np.random.default_rng(0).integers(-30, 30, tally.shape)
    for each in (noisy, -tally, np.zeros_like(tally)):
        assert all(0 <= value <= 1 for value in scores(each, CLASSES).figures().values())


def test_a_rounds_record_shows_classes_and_thresholds():
    extra = json.loads(json.dumps(kept(ours(list(pictures(30, 13))), ("car", "bus", "bicycle"))))
    by_class, by_score = DETECTION.views(extra)
    assert [row[0] for row in by_class.rows[:3]] == ["car", "bus", "bicycle"]
    assert len(by_score.rows) == 9
    told = DETECTION.summary(extra)["detection"]
    assert {each["label"] for each in told["labels"]} == {"car", "bus", "bicycle"}
    assert DETECTION.views({}) == ()
    assert DETECTION.summary({}) == {"detection": None}
    assert kept(ours([], 101), tuple(map(str, range(101)))) == {}
