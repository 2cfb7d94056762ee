"""Boxes through policies, ledgers, the round machine and secure aggregation, in one process."""

import dataclasses
import io

import numpy as np
import torch
from conforming_bench import boxes
from fakes_federation import POLICY, Federation, plan_for
from PIL import Image

from edgeveil.agent.home.records.record_policy import record_policy
from edgeveil.coordinator.reports.pictures import galleries
from edgeveil.shared.data.boxes.drawing import shown
from edgeveil.shared.data.boxes.fitting import IGNORED
from edgeveil.shared.data.kinds import infer
from edgeveil.shared.tasks.registry import load, newest

TASK = load(newest("detection"))

OPTIONS = {"labels": "car,truck", "size": 64, "boxes_max": 4, "variant": "tiny"}


def test_a_detector_is_trained_on_folders_with_boxes_and_measured_in_every_round(tmp_path):
    pieces = [boxes(tmp_path / f"piece-{at}", 12) for at in range(5)]
    own = dataclasses.replace(infer(pieces[0]), side=64)
    made = Federation(tmp_path, pieces=pieces, policy=POLICY.model_copy(update={"data": record_policy(own)}))  # fmt: skip
    plan = plan_for(
        4, task__id="detection", task__options=OPTIONS, evaluation__data=str(made.test),
        evaluation__metric="map50", rounds__count=2, training__learning_rate=0.1,
    )  # fmt: skip
    made.train(plan)
    found = made.store.rounds()
    assert [row.outcome.value for row in found] == ["committed"] * 2
    assert all(row.metrics["examples"] == 12 for row in found)
    assert all(0 <= row.metrics["map50"] <= 1 for row in found)
    assert all(np.isfinite(row.metrics["loss"]) for row in found)
    assert found[0].metrics["loss"] != found[1].metrics["loss"]
    assert found[0].extra["detection"]["classes"] == ["car", "truck"]
    made.close()
    folder = made.home / "runs" / found[0].run
    kept = galleries(folder)
    assert {moment: each.round for moment, each in kept.items()} == {"truth": 0, "before": 0, "after": 2}  # fmt: skip
    assert all(len(each.jpegs) == 6 for each in kept.values())
    assert kept["truth"].jpegs != kept["before"].jpegs
    assert all(path.stat().st_mode & 0o077 == 0 for path in folder.glob("pictures-*.json"))


def test_a_detector_of_two_stages_is_trained_one_picture_at_a_time_and_measured_alike(tmp_path):
    pieces = [boxes(tmp_path / f"piece-{at}", 4) for at in range(4)]
    own = dataclasses.replace(infer(pieces[0]), side=64)
    made = Federation(tmp_path, 3, pieces=pieces, policy=POLICY.model_copy(update={"data": record_policy(own)}))  # fmt: skip
    options = {"labels": "car,truck", "size": 64, "boxes_max": 4, "width": 32}
    plan = plan_for(
        3, task__id="detection-two-stage", task__options=options, evaluation__data=str(made.test),
        evaluation__metric="map50", rounds__count=1, training__learning_rate=0.01,
    )  # fmt: skip
    assert "finds nothing" in " ".join(plan.notices)
    made.train(plan)
    (record,) = made.store.rounds()
    assert record.outcome.value == "committed"
    assert np.isfinite(record.metrics["loss"])
    assert set(galleries(made.home / "runs" / record.run)) == {"truth", "before", "after"}
    made.close()


def test_a_detector_shows_what_is_there_and_what_it_is_sure_of():
    options = TASK.parse_options({"labels": "car,truck", "size": 64, "boxes_max": 3})
    images, _ = TASK.probe(1, torch.Generator().manual_seed(0), options)
    boxes = torch.tensor([[[1.0, 2, 2, 20, 20], [IGNORED, 30, 30, 60, 60], [-1, 0, 0, 0, 0]]])
    outputs = torch.tensor([[[11.0, 11, 18, 18, 9, -9, 9], [40, 40, 8, 8, -2, 0, 0]]])
    (sight,) = TASK.show(images, outputs, boxes, options)
    assert sight.pixels.shape == (64, 64, 3)
    assert [(each.text, each.corners) for each in sight.truth] == [("truck", (2, 2, 20, 20))]
    assert [each.text for each in sight.found] == ["truck 1.00"]
    with Image.open(io.BytesIO(shown(sight.pixels, sight.found))) as image:
        assert image.size == (288, 288)
