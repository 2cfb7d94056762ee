"""Boxes through policies, ledgers, the round machine and secure aggregation, in one process."""

import dataclasses

import numpy as np
from conforming_bench import boxes
from fakes_federation import POLICY, Federation, plan_for

from edgeveil.agent.home.records.record_policy import record_policy
from edgeveil.shared.data.kinds import infer

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
