"""Which records are held out: by a secret and each record alone, a share that only ever grows by more of them."""

from types import SimpleNamespace

import numpy as np
import pytest

from edgeveil.agent.home.records.held_out import KEY, HeldOut
from edgeveil.shared.base.errors import StateDamaged
from edgeveil.shared.base.files import write_secret
from edgeveil.shared.tasks.records import ArrayRecords

CONTENTS = [number.to_bytes(4, "big") for number in range(4000)]


def held(folder, share, contents=CONTENTS):
    return HeldOut(folder, share).held(iter(contents))


def test_so_many_are_held_out_as_the_owner_says(tmp_path):
    assert 0.22 < held(tmp_path, 0.25).mean() < 0.28
    assert not held(tmp_path, 0.0).any()


def test_no_other_record_and_no_order_decides_about_one(tmp_path):
    whole = held(tmp_path, 0.3)
    assert (held(tmp_path, 0.3, CONTENTS[::-1]) == whole[::-1]).all()
    assert (held(tmp_path, 0.3, CONTENTS[:7] + CONTENTS[8:]) == np.delete(whole, 7)).all()


def test_a_larger_share_holds_out_the_same_and_more(tmp_path):
    assert (held(tmp_path, 0.2) <= held(tmp_path, 0.4)).all()


def test_another_device_draws_another_line(tmp_path):
    homes = [tmp_path / "a", tmp_path / "b"]
    for home in homes:
        home.mkdir()
    one, other = (held(home, 0.5) for home in homes)
    assert 0.4 < (one == other).mean() < 0.6


def test_a_damaged_key_is_not_used(tmp_path):
    write_secret(tmp_path / KEY, b"short")
    with pytest.raises(StateDamaged, match=KEY):
        held(tmp_path, 0.5)


class Shelf:
    def __init__(self, inputs, found=None):
        self.records = ArrayRecords(inputs, np.arange(len(inputs)))
        self.found = found

    def load(self, _task, _options):
        return self.records


@pytest.mark.parametrize("declared", [True, False])
def test_every_record_is_on_one_side_whoever_reads_it(tmp_path, declared):
    inputs = np.random.default_rng(0).normal(size=(200, 5)).astype(np.float32)
    shelf = Shelf(inputs, SimpleNamespace(pixels=inputs) if declared else None)
    line = HeldOut(tmp_path, 0.3)
    sides = [line.training(shelf, None, None), line.evaluation(shelf, None, None)]
    targets = [side.take(np.arange(len(side)))[1].tolist() for side in sides]
    assert sorted(targets[0] + targets[1]) == list(range(200))
    assert 30 < len(sides[1]) < 95
    assert len(HeldOut(tmp_path, 0.0).training(shelf, None, None)) == 200
    assert len(HeldOut(tmp_path, 0.0).evaluation(shelf, None, None)) == 0


def test_records_of_one_group_stay_together(tmp_path):
    inputs = np.random.default_rng(0).normal(size=(300, 2)).astype(np.float32)
    groups = [b"%d" % (number // 10) for number in range(300)]
    shelf = Shelf(inputs, SimpleNamespace(values=inputs, group_ids=groups))
    side = HeldOut(tmp_path, 0.4).evaluation(shelf, None, None)
    found = side.take(np.arange(len(side)))[1].numpy() // 10
    assert all((found == group).sum() == 10 for group in np.unique(found))
