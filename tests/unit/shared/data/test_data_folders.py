"""What lies in a folder of class folders: each entry is a picture or named, whatever it is."""

import os
import unicodedata

import numpy as np
import pytest
from catalogue_bench import write_png

from edgeveil.shared.base.errors import DataError
from edgeveil.shared.data.folders import read_folders, try_folders
from edgeveil.shared.data.left_out import Reason, total
from edgeveil.shared.data.probe import count_records, probe, raw_records
from edgeveil.shared.data.schema import infer
from edgeveil.shared.data.tree import look

CLASSES = ("cat", "dog")


def picture(path, level=0):
    return write_png(path, np.full((12, 12), level, dtype=np.uint8))


def left_in(found, reason):
    return [each.name.rpartition("/")[2] for each in found if each.reason is reason]


def test_reads_every_readable_file_in_the_order_of_classes_and_names(tmp_path):
    names = ("dog/b.png", "dog/a.PNG", "cat/z.jpeg", "cat/y.jpg")
    for name, level in zip(names, (40, 30, 20, 10), strict=True):
        picture(tmp_path / name, level)
    pixels, targets, left = read_folders(tmp_path, CLASSES, (8, 12, 1))
    assert pixels.shape == (4, 8, 12)
    assert (pixels.mean(axis=(1, 2)) * 255).round().tolist() == [10, 20, 30, 40]
    assert targets.tolist() == [0, 0, 1, 1]
    assert left == ()


def test_every_format_that_is_promised_is_read(tmp_path):
    suffixes = ("png", "jpg", "jpeg", "bmp", "gif", "tif", "tiff", "webp")
    for suffix in suffixes:
        picture(tmp_path / "cat" / f"a.{suffix}", 128)
    pixels, _, left = read_folders(tmp_path, CLASSES, (8, 8, 1))
    assert left == ()
    assert len(pixels) == len(suffixes)
    assert np.abs(pixels * 255 - 128).max() < 2


def odd_tree(root):
    """One good picture, and one of each thing that is none."""
    good = picture(root / "cat" / "good.png")
    (root / "cat" / "broken.png").write_bytes(good.read_bytes()[:40])
    (root / "cat" / "text.jpg").write_text("hello")
    (root / "cat" / "empty.png").touch()
    (root / "cat" / "gone.png").symlink_to(root / "nowhere.png")
    (root / "cat" / "loop.png").symlink_to(root / "cat" / "loop.png")
    os.mkfifo(root / "cat" / "pipe.png")
    (root / "cat" / "phone.heic").write_bytes(b"heic")
    (root / "cat" / ".DS_Store").touch()
    (root / "cat" / "folder.jpg").mkdir()
    picture(root / "cat" / "more" / "deep" / "a.png")
    picture(root / "cat" / "more" / "b.png")
    picture(root / "dgo" / "a.png")
    picture(root / "dgo" / "b.png")
    picture(root / "at-root.png")
    (root / "lost.npz.txt").touch()
    (root / ".cache").mkdir()


EXPECTED = {
    Reason.DAMAGED: ["broken.png", "empty.png", "text.jpg"],
    Reason.UNREADABLE: ["gone.png", "loop.png", "pipe.png"],
    Reason.LABEL: [""],
    Reason.KIND: ["lost.npz.txt", "phone.heic"],
    Reason.NESTED: ["folder.jpg", "more"],
    Reason.STRAY: ["at-root.png"],
    Reason.HIDDEN: [".DS_Store", ".cache"],
}


def test_nothing_is_left_out_in_silence(tmp_path):
    root = tmp_path / "data"
    odd_tree(root)
    _, targets, left = read_folders(root, CLASSES, (8, 8, 1))
    assert targets.tolist() == [0]
    found = {reason: sorted(left_in(left, reason)) for reason in Reason}
    found = {reason: names for reason, names in found.items() if names}
    assert {**found, Reason.LABEL: [""]} == EXPECTED
    (strange,) = [each for each in left if each.reason is Reason.LABEL]
    assert "'dgo' is not a class" in strange.why
    assert strange.count == 2
    counts = {
        each.name.rpartition("/")[2]: each.count for each in left if each.reason is Reason.NESTED
    }
    assert counts == {"folder.jpg": 0, "more": 2}
    assert [each.reason for each in left] == sorted(
        (e.reason for e in left), key=list(Reason).index
    )


def test_looking_through_a_folder_says_what_reading_it_says(tmp_path):
    odd_tree(tmp_path / "data")
    _, targets, left = read_folders(tmp_path / "data", CLASSES, (8, 8, 1))
    counts, again = try_folders(tmp_path / "data", CLASSES, (8, 8, 1))
    assert counts.tolist() == np.bincount(targets, minlength=2).tolist()
    assert again == left


def test_no_entry_stops_those_who_probe_count_hash_or_infer(tmp_path):
    root = tmp_path / "data"
    odd_tree(root)
    probe(root)
    listed = len(look(root).files)
    assert count_records(root) == listed == 6
    assert len(list(raw_records(root))) == 6
    assert infer(root).labels == ("cat", "dgo")


@pytest.mark.parametrize("fault", ["deleted", "a folder now", "forbidden"])
def test_what_happens_to_a_file_after_it_was_listed_stops_nobody(fault, tmp_path, monkeypatch):
    kept, lost = picture(tmp_path / "cat" / "a.png"), picture(tmp_path / "cat" / "b.png")
    tree = look(tmp_path)
    lost.unlink()
    if fault == "a folder now":
        lost.mkdir()
    if fault == "forbidden":
        real = os.open
        monkeypatch.setattr(
            os, "open", lambda path, *rest, **more: _refuse(real, lost, path, *rest, **more)
        )
    monkeypatch.setattr("edgeveil.shared.data.folders.look", lambda _: tree)
    monkeypatch.setattr("edgeveil.shared.data.sources.look", lambda _: tree)
    _, targets, left = read_folders(tmp_path, CLASSES, (8, 8, 1))
    assert targets.tolist() == [0]
    assert left_in(left, Reason.UNREADABLE) == ["b.png"]
    assert list(raw_records(tmp_path)) == [kept.read_bytes()]


def _refuse(real, lost, path, *rest, **more):
    if path == lost:
        raise PermissionError(13, "Permission denied")
    return real(path, *rest, **more)


def test_a_class_folder_that_nobody_may_enter_is_named(tmp_path, monkeypatch):
    picture(tmp_path / "cat" / "a.png")
    picture(tmp_path / "dog" / "b.png")
    real = os.scandir

    def scandir(path):
        if str(path).endswith("dog"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    _, targets, left = read_folders(tmp_path, CLASSES, (8, 8, 1))
    assert targets.tolist() == [0]
    assert left_in(left, Reason.UNREADABLE) == ["dog"]


def test_a_folder_that_cannot_be_listed_at_all_is_an_error_of_the_data(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        look(tmp_path / "nothing")


def test_no_folder_and_no_image_are_no_records(tmp_path):
    for _ in range(2):
        pixels, targets, _ = read_folders(tmp_path, CLASSES, (8, 8, 1))
        assert pixels.shape == (0, 8, 8)
        assert targets.shape == (0,)
        (tmp_path / "cat").mkdir(exist_ok=True)


@pytest.mark.parametrize(("on_disk", "asked"), [("NFD", "NFC"), ("NFC", "NFC")])
def test_a_class_is_the_same_however_its_accents_are_stored(on_disk, asked, tmp_path):
    name = "Bär-één"
    picture(tmp_path / unicodedata.normalize(on_disk, name) / "a.png")
    wanted = unicodedata.normalize(asked, name)
    assert infer(tmp_path).labels == (wanted,)
    _, targets, left = read_folders(tmp_path, (wanted,), (8, 8, 1))
    assert targets.tolist() == [0]
    assert left == ()


def test_two_spellings_of_one_class_are_one_class(tmp_path):
    for form in ("NFC", "NFD"):
        picture(tmp_path / unicodedata.normalize(form, "Bär") / f"{form}.png")
    assert infer(tmp_path).labels == ("Bär",)
    _, targets, _ = read_folders(tmp_path, ("Bär",), (8, 8, 1))
    assert len(targets) == 2


def test_a_folder_whose_name_is_no_text_is_left_out_and_named(tmp_path):
    picture(tmp_path / "cat" / "a.png")
    strange = os.fsdecode(b"d\xff\xfeg")
    picture(tmp_path / strange / "b.png")
    assert infer(tmp_path).labels == ("cat",)
    _, _, left = read_folders(tmp_path, CLASSES, (8, 8, 1))
    assert [(each.reason, each.count) for each in left] == [(Reason.LABEL, 1)]
    assert total(left) == 1


def test_where_nothing_is_usable_the_first_thing_that_is_there_is_named(tmp_path):
    picture(tmp_path / "train" / "cat" / "a.png")
    with pytest.raises(DataError, match=r"nothing usable.*train/cat: a folder, with 1 file in it"):
        probe(tmp_path)


def test_notes_of_another_system_beside_an_archive_are_no_archive(tmp_path):
    np.savez(tmp_path / "d.npz", X=np.zeros((2, 8, 8), np.uint8), y=np.zeros(2, np.int64))
    (tmp_path / "._d.npz").write_bytes(b"resource fork")
    (tmp_path / "old.npz").symlink_to(tmp_path / "nowhere")
    probe(tmp_path)
    assert count_records(tmp_path) == 2
    assert len(infer(tmp_path).read(tmp_path).targets) == 2
