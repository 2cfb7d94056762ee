"""What a data folder is taken for before any task has read it."""

import numpy as np
import pytest

from edgeveil.shared.base.errors import DataError
from edgeveil.shared.data.probe import count_records, probe, raw_records
from edgeveil.shared.data.sources import SOURCES


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "data"
    made.mkdir()
    return made


def archive(path, records=3, labels=None):
    values = np.arange(records * 4.0).reshape(records, 2, 2)
    np.savez(path, X=values, y=np.zeros(records if labels is None else labels, int))
    return [value.tobytes() for value in values]


def image(folder, name, content):
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(content)


def test_an_archive_has_the_same_records_alone_and_in_a_folder(folder):
    records = archive(folder / "d.npz")
    for path in (folder, folder / "d.npz"):
        probe(path)
        assert list(raw_records(path)) == records
        assert count_records(path) == 3


def test_images_come_in_the_order_of_folders_and_names_without_hidden_ones(folder):
    for name in ("b/2.PNG", "a/1.jpg", ".h/3.png", "a/notes.txt"):
        image(folder, name, name.encode())
    probe(folder)
    assert list(raw_records(folder)) == [b"a/1.jpg", b"b/2.PNG"]
    assert count_records(folder) == 2


def test_where_an_archive_lies_beside_images_the_archive_is_meant(folder):
    image(folder, "a/1.png", b"one")
    assert list(raw_records(folder)) == [b"one"]
    records = archive(folder / "d.npz")
    assert list(raw_records(folder)) == records


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda folder: folder.rmdir(), r"this data folder does not exist; give --data PATH"),
        (lambda folder: None, r"nothing usable in this data folder; expected CLASS/\*\.png\|jpg\|bmp\|gif\|tif\|webp folders, or CLASS/\*\.wav\|flac\|ogg folders, or images/ with one COCO \.json, or with labels/ \(YOLO\), or JPEGImages/ with Annotations/ \(VOC\), or one \.npz file with X and y, or records\.csv that names pictures, recordings or windows beside it, or schema\.toml beside files \.csv\|\.tsv\|\.txt\|\.parquet or one \.npz file$"),
        (lambda folder: (archive(folder / "d.npz"), archive(folder / "e.npz")), "holds 2 .npz files"),
        (lambda folder: archive(folder / "d.npz", 3, 2), r"d\.npz: X has shape \(3, 2, 2\) and y \(2,\)"),
        (lambda folder: archive(folder / "d.npz", 0), r"d\.npz: holds no record"),
    ],
)  # fmt: skip
def test_what_no_task_could_read_is_named(folder, make, says):
    make(folder)
    with pytest.raises(DataError, match=says):
        probe(folder)


def test_a_folder_that_was_emptied_since_it_was_probed_holds_no_record(folder):
    assert list(raw_records(folder)) == []
    assert count_records(folder) == 0


def test_a_file_of_no_known_kind_is_never_read(folder):
    (folder / "x.txt").write_text("x")
    for ask in (probe, count_records, lambda path: list(raw_records(path))):
        with pytest.raises(DataError, match="not a data file"):
            ask(folder / "x.txt")


def test_every_source_says_what_it_expects():
    assert len({source.expected for source in SOURCES}) == len(SOURCES)
