"""The coordinator takes masks off on all its cores, and hears of what goes wrong on any of them."""

import threading

import pytest

from edgeveil.coordinator.rounds import proposal as offers


def test_ranges_of_lanes_run_at_the_same_time(monkeypatch):
    monkeypatch.setattr(offers, "CORES", 2)
    together = threading.Barrier(2, timeout=60)  # one thread alone would break it
    done = []

    def work(lanes):
        together.wait()
        done.append(lanes)

    ranges = [range(3), range(3, 6)]
    for _ in offers._side_by_side(work, ranges):
        pass
    assert sorted(done, key=lambda lanes: lanes.start) == ranges


def test_an_error_in_a_range_is_not_lost():
    with pytest.raises(ZeroDivisionError):
        list(offers._side_by_side(lambda lanes: 1 // lanes.start, [range(1, 2), range(2)]))
