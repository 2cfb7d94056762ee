"""A simulation's home: whose it is, and that it stays of the same devices."""

import pytest

from edgeveil.coordinator.plan.config import SIMULATION, refuse_simulated
from edgeveil.coordinator.simulation.memory import check
from edgeveil.coordinator.simulation.settings import ENROLLED, settle, wanted
from edgeveil.shared.base.errors import ConfigError

FOUR = {"agents": 4}


def test_an_unknown_partition_is_refused_with_those_that_are_known():
    with pytest.raises(ConfigError, match="none of iid, dirichlet"):
        wanted({"agents": 4, "partition": "random"})


def test_a_home_is_marked_before_anything_else_is_in_it(tmp_path):
    settle(tmp_path / "home", wanted(FOUR))
    assert [path.name for path in (tmp_path / "home").iterdir()] == [SIMULATION]
    with pytest.raises(ConfigError, match="whose devices are made up"):
        refuse_simulated(tmp_path / "home")


def test_a_folder_with_anything_in_it_is_never_taken(tmp_path):
    (tmp_path / "coordinator.toml").touch()
    with pytest.raises(ConfigError, match="not empty"):
        settle(tmp_path, wanted(FOUR))
    assert not (tmp_path / SIMULATION).exists()


def test_devices_that_have_joined_cannot_become_others(tmp_path):
    settle(tmp_path, wanted(FOUR))
    (tmp_path / ENROLLED).touch()
    settle(tmp_path, wanted(FOUR))
    with pytest.raises(ConfigError, match="--agents 4, --secagg real"):
        settle(tmp_path, wanted({"agents": 5, "secagg": "sum"}))


def test_before_any_has_joined_other_settings_take_their_place_and_the_parts_go(tmp_path):
    settle(tmp_path, wanted(FOUR))
    (tmp_path / "data").mkdir()
    settle(tmp_path, wanted(FOUR))
    assert (tmp_path / "data").exists()
    settle(tmp_path, wanted({"agents": 5}))
    assert not (tmp_path / "data").exists()


def test_more_devices_than_memory_holds_are_refused_with_the_number_that_fits():
    room = (900 << 20) + 100 * (
        (1 << 20) + 24_000
    )  # a worker, and a hundred devices of 1,000 numbers
    check(100, 1, 1000, 0, room)
    with pytest.raises(ConfigError, match="--agents 101: 100 fit"):
        check(101, 1, 1000, 0, room)
