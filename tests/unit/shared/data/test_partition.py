"""scripts/partition.py: every unit goes to one place, by each way, for folders, arrays, rows and recordings."""

import csv
import sys

import numpy as np
import pytest
from boxes_bench import write_yolo
from catalogue_bench import script

partition = script("partition")
ROWS_SCHEMA = """\
[[columns]]
name = "heat"
range = [0, 100]

[[columns]]
name = "state"
role = "label"
labels = ["on", "off"]

[[columns]]
name = "site"
role = "group"
"""


def run(*arguments):
    return partition.main([*map(str, arguments)])


def photos(folder, classes=3, each=20):
    for label in range(classes):
        (folder / f"class-{label}").mkdir(parents=True)
        for number in range(each):
            (folder / f"class-{label}" / f"{number:03}.jpg").write_text(f"{label} {number}")
    return folder


def table(folder, *, sites=4, each=30, window=0):
    folder.mkdir()
    head = f"window = {window}\n" if window else ""
    (folder / "schema.toml").write_text(head + ROWS_SCHEMA)
    with (folder / "a.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["heat", "state", "site"])
        for site in range(sites):
            for at in range(each):
                writer.writerow([f"{site}.{at}", "on" if at < each // 2 else "off", f"site {site}"])
    return folder


def lines_of(folder):
    found = []
    for path in sorted(folder.glob("*.csv")):
        with path.open(newline="") as file:
            found += [tuple(row) for row in csv.reader(file)][1:]
    return found


@pytest.mark.parametrize("way", ["iid", "dirichlet:0.3", "shards:2", "time"])
def test_every_photo_goes_to_one_place_and_the_same_again(way, tmp_path, capsys):
    source = photos(tmp_path / "photos")
    for name in ("once", "again"):
        assert run(source, tmp_path / name, "--devices", 5, "--by", way, "--held-out", 0.2) == 0
    once, again = (
        sorted(p.relative_to(tmp_path / name) for p in (tmp_path / name).rglob("*.jpg"))
        for name in ("once", "again")
    )
    assert once == again
    assert sorted(path.name for path in once) == sorted(p.name for p in source.rglob("*.jpg"))
    assert len({p.relative_to(source) for p in source.rglob("*.jpg")}) == len(once) == 60
    held = [path for path in once if path.parts[0] == "server"]
    assert len(held) == 12
    assert {path.parts[0] for path in once} == {"server", *(f"device-{n}" for n in range(1, 6))}


def test_in_equal_shares_sizes_differ_by_at_most_one(tmp_path, capsys):
    assert run(photos(tmp_path / "photos", each=7), tmp_path / "out", "--devices", 4) == 0
    sizes = [len(list((tmp_path / "out" / f"device-{n}").rglob("*.jpg"))) for n in range(1, 5)]
    assert sorted(sizes) == [5, 5, 5, 6]


def test_shards_give_a_device_few_classes(tmp_path, capsys):
    source = photos(tmp_path / "photos", classes=10, each=10)
    assert run(source, tmp_path / "out", "--devices", 10, "--by", "shards:2") == 0
    for number in range(1, 11):
        assert 1 <= len(list((tmp_path / "out" / f"device-{number}").iterdir())) <= 4


def test_groups_of_a_table_stay_together(tmp_path, capsys):
    assert run(table(tmp_path / "t"), tmp_path / "out", "--devices", 3, "--by", "group") == 0
    seen = {}
    for number in range(1, 4):
        for _, _, site in lines_of(tmp_path / "out" / f"device-{number}"):
            assert seen.setdefault(site, number) == number
    assert len(seen) == 4


def test_with_as_many_groups_as_devices_each_gets_its_own_in_order(tmp_path, capsys):
    assert run(table(tmp_path / "t"), tmp_path / "out", "--devices", 4, "--by", "group") == 0
    for number in range(1, 5):
        found = lines_of(tmp_path / "out" / f"device-{number}")
        assert {site for _, _, site in found} == {f"site {number - 1}"}


def test_rows_are_dealt_one_by_one_and_recordings_whole(tmp_path, capsys):
    rows, whole = table(tmp_path / "rows"), table(tmp_path / "whole", window=5)
    assert run(rows, tmp_path / "a", "--devices", 3) == 0
    assert run(whole, tmp_path / "b", "--devices", 3) == 0
    for out in (tmp_path / "a", tmp_path / "b"):
        found = [line for n in range(1, 4) for line in lines_of(out / f"device-{n}")]
        assert sorted(found) == sorted(lines_of(rows))
        assert (out / "device-1" / "schema.toml").is_file()
    recordings = [
        path for n in range(1, 4) for path in (tmp_path / "b" / f"device-{n}").glob("*.csv")
    ]
    assert len(recordings) == 8
    assert all(len(path.read_text().splitlines()) == 16 for path in recordings)


def test_the_latest_rows_are_what_time_holds_out(tmp_path, capsys):
    assert run(table(tmp_path / "t"), tmp_path / "out", "--devices", 2, "--by", "time", "--held-out", 0.25) == 0  # fmt: skip
    held = lines_of(tmp_path / "out" / "server")
    assert held == lines_of(tmp_path / "t")[-30:]


def test_arrays_are_parted_with_their_labels(tmp_path, capsys):
    (tmp_path / "d").mkdir()
    labels = np.repeat([0, 1], 10)
    np.savez(tmp_path / "d" / "data.npz", X=np.arange(20) * 10 + labels, y=labels)
    assert run(tmp_path / "d", tmp_path / "out", "--devices", 2) == 0
    for number in (1, 2):
        with np.load(tmp_path / "out" / f"device-{number}" / "data.npz") as found:
            assert (found["X"] % 10 == found["y"]).all()
            assert np.bincount(found["y"]).tolist() == [5, 5]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--by", "dirichlet"], "none of iid"),
        (["--by", "shards:0"], "none of iid"),
        (["--by", "dirichlet:nan"], "none of iid"),
        (["--devices", "0"], "not between"),
        (["--held-out", "1"], "not a share"),
        (["--held-out", "nan"], "not a share"),
        (["--by", "group"], "name no groups"),
        (["--devices", "61"], "too few for 61 devices"),
    ],
)
def test_what_cannot_be_parted_is_one_sentence_and_leaves_nothing(more, words, tmp_path, capsys):
    arguments = [photos(tmp_path / "photos"), tmp_path / "out", "--devices", 3, *more]
    with pytest.raises(SystemExit) as stopped:
        sys.exit(run(*arguments))
    assert stopped.value.code in {2, 65}
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["boxes", "parquet"])
def test_what_is_not_parted_here_is_refused(kind, tmp_path, capsys):
    if kind == "boxes":
        write_yolo(tmp_path / "d")
    else:
        table(tmp_path / "d")
        (tmp_path / "d" / "b.parquet").write_bytes(b"PAR1")
    assert run(tmp_path / "d", tmp_path / "out", "--devices", 2) == 65
    assert "not parted here" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
