"""Of every kind of records that come in groups, no group is on both sides; of the others, each record is by itself."""

from types import SimpleNamespace

import numpy as np
import pytest
from boxes_bench import write_coco
from catalogue_bench import write_png
from conforming_bench import images, rows
from sensors_bench import SCHEMA, windows_of, write_table
from sounds_bench import write_pairs

from edgeveil.agent.home.records.held_out import HeldOut
from edgeveil.shared.data.kinds import infer
from edgeveil.shared.tasks.records import ArrayRecords

WHO = SCHEMA + '\n[[columns]]\nname = "who"\nrole = "group"\n'
TIMED = SCHEMA + '\n[[columns]]\nname = "t"\nrole = "time"\n'
RANDOM = np.random.default_rng


def people(folder, window):
    """Records of 40 people in two files, each person in both."""
    for name in ("a.csv", "b.csv"):
        temps = RANDOM(ord(name[0])).uniform(0, 80, (40, 12))
        lines = [f"{t:.3f},50,ok,p{who}" for who in range(40) for t in temps[who]]
        text = "temp,load,state,who\n" + "\n".join(lines)
        schema = windows_of(4, step=2, columns=WHO) if window else WHO
        write_table(folder, text, schema, name)
    each = 5 if window else 12
    return np.tile(np.repeat(np.arange(40), each), 2)


def recordings(folder):
    """60 recordings, told apart by time alone; windows of which overlap."""
    temps = RANDOM(2).uniform(0, 80, (60, 10))
    lines = [f"{t:.3f},50,ok,{100 * at + n}" for at in range(60) for n, t in enumerate(temps[at])]
    text = "temp,load,state,t\n" + "\n".join(lines)
    write_table(folder, text, windows_of(4, step=2, more="gap = 50", columns=TIMED))
    return np.repeat(np.arange(60), 4)


def tiles(folder):
    """40 pictures, each larger than a tile."""
    names = [f"{at:03}" for at in range(40)]
    write_coco(folder, {name: [("car", 2, 2, 20, 15)] for name in names})
    for at, name in enumerate(names):
        write_png(folder / "images" / f"{name}.png", RANDOM(at).integers(0, 256, (20, 40, 3)).astype(np.uint8))  # fmt: skip
    return np.repeat(np.arange(40), 2)


def moments(folder):
    """30 recordings, each with two pictures."""
    write_pairs(folder, 60)
    head, *lines = (folder / "records.csv").read_text().split()
    parts = [line.split(",") for line in lines]
    first = {}
    changed = []
    for at, (_, label, image) in enumerate(parts):
        sound = first.setdefault((label, at // 2), parts[at][0])
        changed.append(f"{sound},{label},{image}")
    (folder / "records.csv").write_text("\n".join([head, *changed]) + "\n")
    return np.unique([each.split(",")[0] for each in changed], return_inverse=True)[1]


GROUPED = {
    "rows of people": lambda folder: people(folder, window=False),
    "windows of people": lambda folder: people(folder, window=True),
    "recordings": recordings,
    "tiles": tiles,
    "moments": moments,
}


def read(folder, kind):
    schema = infer(folder)
    if kind == "tiles":
        schema = type(schema)(32, schema.labels, tile=24)
    return schema.read(folder)


def sides(home, found, count):
    shelf = SimpleNamespace(
        found=found, load=lambda *_: ArrayRecords(np.zeros(count), np.arange(count))
    )
    line = HeldOut(home, 0.4)
    held = line.evaluation(shelf, None, None)
    return np.isin(np.arange(count), held.take(np.arange(len(held)))[1].numpy())


@pytest.mark.parametrize("kind", GROUPED)
def test_no_group_is_on_both_sides(tmp_path, kind):
    groups = GROUPED[kind](tmp_path / "d")
    found = read(tmp_path / "d", kind)
    assert len(groups) == len(found.targets)
    held = sides(tmp_path, found, len(groups))
    shares = [held[groups == each].mean() for each in np.unique(groups)]
    assert set(shares) == {0.0, 1.0}, "both sides, and each group wholly on one"
    assert 0.15 < held.mean() < 0.65


@pytest.mark.parametrize("kind", GROUPED)
def test_another_group_decides_about_none(tmp_path, kind):
    GROUPED[kind](tmp_path / "d")
    found = read(tmp_path / "d", kind).group_ids
    assert len(set(found)) == len(set(GROUPED[kind](tmp_path / "e")))
    assert read(tmp_path / "e", kind).group_ids == found


def test_a_recording_keeps_its_side_while_it_and_others_go_on(tmp_path):
    folder = tmp_path / "d"
    recordings(folder)
    before = read(folder, "recordings").group_ids
    whole = (folder / "a.csv").read_text()
    (folder / "a.csv").write_text(whole + "\n7,50,ok,5911\n8,50,ok,5912\n1,50,ok,9000" + "\n2,50,ok,9001" * 4)  # fmt: skip
    after = read(folder, "recordings").group_ids
    assert after[: len(before)] == before
    assert after[len(before)] == before[-1]
    head, *lines = whole.splitlines()
    (folder / "a.csv").write_text("\n".join([head, *lines[10:]]))  # without the first recording
    assert read(folder, "recordings").group_ids == before[4:]


@pytest.mark.parametrize("make", [images, rows])
def test_records_without_groups_are_each_by_themselves(tmp_path, make):
    make(tmp_path / "d", 80)
    found = infer(tmp_path / "d").read(tmp_path / "d")
    assert getattr(found, "group_ids", None) is None
    assert 0 < sides(tmp_path, found, 80).sum() < 80
