"""Rounds on the numbers of the frozen network, and devices that have no weights."""

import numpy as np
import pytest
from fakes_federation import POLICY, Federation, plan_for

from edgeveil.agent.home.records.record_policy import DataPolicy
from edgeveil.agent.ledger.budget import read_budget
from edgeveil.coordinator.runs.runs import rehearse
from edgeveil.shared.base.errors import NotInstalled, RunRefused
from edgeveil.shared.tasks.backbone import asset

SIDE = 96
OPTIONS = {
    "variant": "fixed",
    "features": "efficientnet-lite0",
    "height": SIDE,
    "width": SIDE,
    "channels": 3,
    "classes": 2,
}


@pytest.fixture(autouse=True)
def looked_at_anew():
    """Whether the weights are there is asked once per process."""
    yield
    asset.check_weights.cache_clear()


@pytest.fixture
def federation(tmp_path):
    """Three devices with three pictures each: stripes of one direction or the other."""
    random = np.random.default_rng(4)
    pieces = []
    for number in range(4):
        labels = np.arange(3 + number) % 2
        stripes = np.broadcast_to((np.arange(SIDE) // 8 % 2 * 200).astype(np.uint8), (SIDE, SIDE))
        X = np.stack([stripes if label else stripes.T for label in labels])[..., np.newaxis]
        noise = random.integers(0, 50, (*X.shape[:3], 3), dtype=np.uint8)
        pieces.append(tmp_path / f"piece-{number}.npz")
        np.savez(pieces[-1], X=X + noise, y=labels)
    data = DataPolicy(height=SIDE, width=SIDE, channels=3, labels=("0", "1"))
    policy = POLICY.model_copy(update={"data": data})
    made = Federation(tmp_path, 3, policy=policy, pieces=pieces)
    yield made
    made.close()


def test_devices_train_a_head_on_the_numbers_of_the_network(federation):
    plan = plan_for(3, task__options=OPTIONS, evaluation__data=str(federation.test))
    driver = federation.train(plan)
    last = federation.store.last_committed(driver.run.run_id)
    assert last.metrics["examples"] == 6
    assert len(last.survived) == 3


def test_a_device_without_the_weights_refuses_before_it_spends_or_reads_anything(
    federation, monkeypatch
):
    driver, first = federation.driver(plan_for(3, task__options=OPTIONS))
    asset.check_weights.cache_clear()
    monkeypatch.setattr(asset, "PACKAGE", "weights_that_nobody_has")
    with pytest.raises(RunRefused, match="TASK_UNKNOWN"):
        driver.attempt(first)
    assert all(read_budget(home.path).rounds == 0 for home in federation.homes)
    assert any("edgeveil[backbone]" in said for said in federation.statuses), federation.statuses


def test_a_coordinator_without_the_weights_says_so_before_a_run_begins(monkeypatch):
    plan = plan_for(3, task__options=OPTIONS)
    assert rehearse(plan) == (0, "")
    asset.check_weights.cache_clear()
    monkeypatch.setattr(asset, "PACKAGE", "weights_that_nobody_has")
    with pytest.raises(NotInstalled, match=r"edgeveil\[backbone\]"):
        rehearse(plan)
