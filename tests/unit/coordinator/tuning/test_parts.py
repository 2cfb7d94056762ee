"""How one data set is dealt to simulated devices and held out for validation."""

import numpy as np
import pytest
from conforming_bench import RANGES, images, windows
from fakes_federation import plan_for

from edgeveil.coordinator.tuning.parts import Parts, dealt, way
from edgeveil.shared.base.errors import ConfigError

KINDS = np.repeat(np.arange(4), 50)


def test_every_record_goes_to_one_place_and_a_fifth_of_each_kind_is_held_out():
    places = dealt(KINDS, 200, 5, "iid", 1)
    assert sorted(np.unique(places)) == [-1, 0, 1, 2, 3, 4]
    for kind in range(4):
        assert (places[kind == KINDS] == -1).sum() == 10
    assert {(places == each).sum() for each in range(5)} == {32}


def test_dirichlet_makes_devices_differ_and_the_seed_decides():
    even, uneven = dealt(KINDS, 200, 4, "iid", 1), dealt(KINDS, 200, 4, "dirichlet:0.3", 1)

    def spread(places):
        counts = [[((places == each) & (kind == KINDS)).sum() for kind in range(4)] for each in range(4)]  # fmt: skip
        return np.std(counts)

    assert spread(uneven) > spread(even) + 2
    assert (dealt(KINDS, 200, 4, "dirichlet:0.3", 1) == uneven).all()
    assert (dealt(KINDS, 200, 4, "dirichlet:0.3", 2) != uneven).any()


def test_too_few_records_or_targets_that_are_no_kinds_are_said():
    with pytest.raises(ConfigError, match="4 records are too few for 5 devices"):
        dealt(KINDS[:4], 4, 5, "iid", 1)
    with pytest.raises(ConfigError, match="use iid"):
        dealt(None, 200, 5, "dirichlet:1", 1)


@pytest.mark.parametrize("by", ["", "iid:1", "dirichlet", "dirichlet:x", "dirichlet:0", "dirichlet:nan", "group"])  # fmt: skip
def test_other_ways_to_deal_are_refused(by):
    with pytest.raises(ConfigError, match="--partition"):
        way(by)


def test_a_folder_that_was_dealt_is_taken_as_it_is(tmp_path):
    for name, count in (("device-1", 20), ("device-2", 30), ("device-3", 40), ("server", 10)):
        images(tmp_path / name, count)
    parts = Parts(tmp_path, plan_for(3), agents=3, by="iid", seed=1)
    assert (parts.sizes, parts.validation) == ([20, 30, 40], 10)
    with pytest.raises(ConfigError, match="dealt to 3 devices; give --agents 3"):
        Parts(tmp_path, plan_for(3), agents=4, by="iid", seed=1)


def test_windows_are_not_dealt_one_by_one(tmp_path):
    options = {"columns": RANGES, "labels": "0,1,2", "window": 32}
    plan = plan_for(3, task__id="sensor-sequence", task__options=options)
    with pytest.raises(ConfigError, match="deal whole recordings first"):
        Parts(windows(tmp_path / "w", 60), plan, agents=3, by="iid", seed=1)


def test_devices_of_another_size_than_the_plan_is_for_are_refused(tmp_path):
    images(tmp_path, 60)
    with pytest.raises(ConfigError, match=r"a device would hold 1[0-9] records"):
        Parts(tmp_path, plan_for(3, secagg__n_ref_min=50), agents=3, by="iid", seed=1)


def test_other_options_prepare_the_same_records_and_other_data_have_another_fingerprint(tmp_path):
    images(tmp_path / "a", 60)
    images(tmp_path / "b", 60, leave=7)
    plan = plan_for(3)
    blocks = plan_for(3, task__options={"variant": "fixed", "features": "blocks"})
    first = Parts(tmp_path / "a", plan, agents=3, by="iid", seed=1)
    assert first.of(blocks).sizes == first.of(plan).sizes
    other = Parts(tmp_path / "b", plan, agents=3, by="iid", seed=1)
    assert first.fingerprint(plan) == Parts(tmp_path / "a", plan, agents=3, by="iid", seed=1).fingerprint(plan)  # fmt: skip
    assert first.fingerprint(plan) != other.fingerprint(plan)
