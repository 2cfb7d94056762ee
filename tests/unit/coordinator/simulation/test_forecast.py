"""What real devices would take, from what a simulated round took."""

import pytest

from edgeveil.coordinator.records.records import Outcome, RoundRecord
from edgeveil.coordinator.simulation.forecast import Fleet, forecast

FOUR = ("a", "b", "c", "d")
ROW = RoundRecord(
    "sim-1", 1, 1, Outcome.COMMITTED, selected=FOUR, seconds=5.0, bytes_up=4_000_000, bytes_down=1_000_000
)  # fmt: skip


def test_devices_work_side_by_side_and_the_rest_is_the_coordinators():
    found = forecast([ROW], 2.0, 2, Fleet(bandwidth=10.0, compute=0.5))
    assert (found.bytes_up, found.bytes_down) == (1_000_000, 250_000)
    assert found.device_s == 4.0
    assert found.transfer_s == pytest.approx(1.0)  # 10 Mbit each way
    assert found.coordinator_s == pytest.approx(1.0)  # four times 2 s on two workers took 4 of 5 s
    assert found.round_s == pytest.approx(6.0)
    assert found.as_json(10)["run_s"] == pytest.approx(60.0)


def test_before_the_first_committed_round_there_is_none():
    aborted = RoundRecord("sim-1", 1, 1, Outcome.ABORTED, selected=FOUR, seconds=5.0)
    assert forecast([aborted], 2.0, 2, Fleet()) is None
