"""Bad annotations: each is counted and named, costs what is wrong alone, and never more than is bounded."""

import json
import os
import random
import time

import numpy as np
import pytest
from boxes_bench import (
    CLASSES,
    TRUTH,
    WRITERS,
    picture,
    write_coco,
    write_json,
    write_voc,
    write_yolo,
    xml_of,
)

from edgeveil.shared.base.errors import DataError
from edgeveil.shared.data.boxes import reading
from edgeveil.shared.data.boxes.fitting import MOST_BOXES
from edgeveil.shared.data.boxes.formats import coco
from edgeveil.shared.data.boxes.formats.annotated import Fault
from edgeveil.shared.data.boxes.formats.layout import annotations
from edgeveil.shared.data.boxes.reading import relabelled
from edgeveil.shared.data.boxes.schema import BoxSchema
from edgeveil.shared.data.left_out import Reason
from edgeveil.shared.data.probe import probe

SCHEMA = BoxSchema(64, CLASSES)
BAD = {
    "outside": ([100, 2, 5, 5], Fault.OUTSIDE),
    "left of it": ([-9, 2, 5, 5], Fault.OUTSIDE),
    "of no width": ([3, 2, 0, 5], Fault.EMPTY),
    "of negative height": ([3, 2, 5, -5], Fault.EMPTY),
    "not a number": ([float("nan"), 2, 5, 5], Fault.NUMBERS),
    "infinite": ([3, 2, float("inf"), 5], Fault.NUMBERS),
    "beyond every float": ([3, 2, 10**400, 5], Fault.NUMBERS),
    "of three numbers": ([3, 2, 5], Fault.NUMBERS),
    "of texts": (["3", "2", "5", "5"], Fault.NUMBERS),
    "no list": ({"x": 3}, Fault.NUMBERS),
    "a hair": ([3, 2, 0.3, 5], Fault.SMALL),
}


def with_box(root, **changed):
    told = write_coco(root, {"a": [("car", 4, 2, 20, 12)]})
    told["annotations"].append({**told["annotations"][0], "id": 9, **changed})
    write_json(root / "instances.json", told)
    return SCHEMA.read(root)


@pytest.mark.parametrize("name", BAD)
def test_a_bad_box_costs_itself_alone_and_is_counted(name, tmp_path):
    box, fault = BAD[name]
    found = with_box(tmp_path, bbox=box)
    assert found.objects == (1, 0)
    assert [(note.fault, note.count) for note in found.notes] == [(fault, 1)]
    assert found.notes[0].first[0].endswith("a.png")


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"category_id": 99}, Fault.UNKNOWN),
        ({"category_id": [1]}, Fault.UNKNOWN),
        ({"category_id": None}, Fault.UNKNOWN),
        ({"image_id": 99}, Fault.ORPHAN),
        ({"image_id": {}}, Fault.ORPHAN),
        ({}, Fault.TWICE),
    ],
)
def test_a_box_of_nothing_known_is_counted(changed, fault, tmp_path):
    found = with_box(tmp_path, **changed)
    assert [(note.fault, note.count) for note in found.notes] == [(fault, 1)]
    assert found.objects == (1, 0)


def test_a_box_that_reaches_beyond_is_cut_and_used(tmp_path):
    found = with_box(tmp_path, bbox=[30, 10, 50, 50])
    assert found.objects == (2, 0)
    assert [note.fault for note in found.notes] == [Fault.CUT]
    assert found.rows[0, :2, 1:].max() <= 64
    assert found.rows[0, :2, 1:].min() >= 0


def test_of_ten_thousand_boxes_the_largest_are_kept(tmp_path):
    boxes = [("car", at % 30, at % 7, at % 30 + 1 + at / 1000, 10 + at % 9) for at in range(10_000)]
    started = time.process_time()
    write_coco(tmp_path, {"a": boxes, "b": [("truck", 0, 0, 9, 9)]})
    found = SCHEMA.read(tmp_path)
    assert time.process_time() - started < 5
    assert found.objects == (MOST_BOXES, 1)
    counts = {note.fault: note.count for note in found.notes}
    assert counts[Fault.MANY] == 10_000 - MOST_BOXES
    sides = found.rows[0, :, 3:] - found.rows[0, :, 1:3]
    areas = sides.prod(axis=1)
    assert (np.diff(areas) <= 1e-3).all()


def test_json_that_is_too_large_is_not_parsed(tmp_path):
    write_coco(tmp_path)
    with (tmp_path / "instances.json").open("r+b") as file:
        file.truncate(1 << 30)
    with pytest.raises(DataError, match=r"more than 128 MiB; split the data set"):
        probe(tmp_path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[" * 1_000_000, "nested too deeply"),
        ('{"a":' * 200_000 + "1" + "}" * 200_000, "nested too deeply"),
        ("{", "this is not JSON"),
        ("9" * 5000, "this is not JSON"),
        ("[]", "this is not COCO"),
        ('{"images": [], "annotations": {}, "categories": []}', "this is not COCO"),
        ('{"images": [], "annotations": [], "categories": []}', "no picture in this folder"),
    ],
)
def test_what_is_not_coco_is_refused_with_a_sentence(text, said, tmp_path):
    picture(tmp_path / "images/a.png")
    (tmp_path / "instances.json").write_text(text)
    with pytest.raises(DataError, match=said):
        probe(tmp_path)


def left(root):
    found = SCHEMA.read(root)
    return {(each.reason, each.name.rpartition("/")[2]) for each in found.left}, found


def test_ids_that_stand_for_two_pictures_leave_both_out(tmp_path):
    told = write_coco(tmp_path)
    told["images"][2]["id"] = 0
    write_json(tmp_path / "instances.json", told)
    reasons, found = left(tmp_path)
    assert found.objects == (0, 0)
    assert len(found.pixels) == 1  # the one without boxes
    assert (Reason.ANNOTATION, "instances.json") in reasons
    assert "id 0 stands for 2 pictures, a.png among them" in found.left[0].why


def test_a_picture_that_is_listed_twice_is_left_out(tmp_path):
    told = write_coco(tmp_path)
    told["images"][2]["file_name"] = "./a.png"
    write_json(tmp_path / "instances.json", told)
    _, found = left(tmp_path)
    assert found.objects == (0, 0)
    assert "a.png is listed 2 times" in found.left[0].why


def test_a_category_with_two_names_has_none(tmp_path):
    told = write_coco(tmp_path)
    told["categories"].append({"id": 0, "name": "bus"})
    write_json(tmp_path / "instances.json", told)
    found = SCHEMA.read(tmp_path)
    assert found.objects == (0, 2)
    assert [note.fault for note in found.notes] == [Fault.UNKNOWN]


@pytest.mark.parametrize("name", ["../secret.png", "/etc/passwd", "a/../../b.png", "", "..\\c.png", "a\0.png"])  # fmt: skip
def test_names_in_coco_lead_nowhere_else(name, tmp_path):
    picture(tmp_path / "secret.png")
    told = write_coco(tmp_path / "set")
    told["images"][0]["file_name"] = name
    write_json(tmp_path / "set/instances.json", told)
    reasons, found = left(tmp_path / "set")
    assert len(found.pixels) == 2
    assert reasons == {(Reason.ANNOTATION, "instances.json"), (Reason.UNLABELLED, "a.png")}


@pytest.mark.parametrize("form", WRITERS)
def test_annotations_without_pictures_and_the_reverse_are_named(form, tmp_path):
    WRITERS[form](tmp_path)
    folder = tmp_path / ("JPEGImages" if form == "voc" else "images")
    (folder / "a.png").unlink()
    picture(folder / "new.png")
    reasons, found = left(tmp_path)
    absent = {"coco": "a.png", "voc": "a.xml", "yolo": "a.txt"}[form]
    wanted = {(Reason.ABSENT, absent)}
    if form == "yolo":  # a picture without a text file shows nothing
        assert len(found.pixels) == 3
    else:
        assert len(found.pixels) == 2
        wanted.add((Reason.UNLABELLED, "new.png"))
    assert reasons == wanted


@pytest.mark.parametrize("form", ["coco", "voc"])
def test_a_picture_of_another_size_than_annotated_is_left_out(form, tmp_path):
    WRITERS[form](tmp_path)
    picture(tmp_path / ("JPEGImages" if form == "voc" else "images") / "a.png", 80, 40)
    reasons, found = left(tmp_path)
    assert reasons == {(Reason.ANNOTATION, "a.png")}
    assert "annotated at 40×20, and it is 80×40" in found.left[0].why


@pytest.mark.parametrize("form", WRITERS)
def test_a_damaged_picture_is_left_out_alone(form, tmp_path):
    WRITERS[form](tmp_path)
    (tmp_path / ("JPEGImages" if form == "voc" else "images") / "a.png").write_bytes(b"\x89PNG")
    reasons, found = left(tmp_path)
    assert reasons == {(Reason.DAMAGED, "a.png")}
    assert len(found.pixels) == 2


ENTITY = '<!DOCTYPE a [<!ENTITY x "car">]>'
BILLION = '<!DOCTYPE a [<!ENTITY a "aaaa">' + "".join(
    f'<!ENTITY {chr(98 + at)} "{f"&{chr(97 + at)};" * 10}">' for at in range(9)
) + "]>"  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        ENTITY + xml_of(TRUTH["a"]).replace("car", "&x;"),
        '<!DOCTYPE a SYSTEM "file:///etc/passwd">' + xml_of(TRUTH["a"]),
        '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>' + xml_of(TRUTH["a"]),
        BILLION + xml_of(TRUTH["a"]).replace("car", "&j;"),
        "<annotation>",
        "",
        "<?xml version='1.0' encoding='nonsense'?><annotation/>",
        "\0\0\0\0",
    ],
)
def test_xml_with_entities_or_faults_leaves_its_picture_out(text, tmp_path):
    write_voc(tmp_path)
    (tmp_path / "Annotations/a.xml").write_text(text)
    reasons, found = left(tmp_path)
    assert reasons == {(Reason.ANNOTATION, "a.xml")}
    assert len(found.pixels) == 2


def test_xml_that_is_nested_deeply_or_too_large_is_bounded(tmp_path):
    write_voc(tmp_path)
    (tmp_path / "Annotations/a.xml").write_text("<a>" * 500_000 + "</a>" * 500_000)
    (tmp_path / "Annotations/c.xml").write_text("<a>" + " " * (5 << 20) + "</a>")
    started = time.process_time()
    reasons, found = left(tmp_path)
    assert time.process_time() - started < 5
    assert (Reason.TOO_LARGE, "c.xml") in reasons
    assert found.objects == (0, 0)


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("0 nan 0.5 0.1 0.1", Fault.NUMBERS),
        ("0 0.5 0.5 0.1", Fault.NUMBERS),
        ("0 0.5 0.5 1_0 0.1", Fault.NUMBERS),
        ("0 0.5 0.5 0 0.1", Fault.EMPTY),
        ("0 2.5 0.5 0.1 0.1", Fault.OUTSIDE),
        ("7 0.5 0.5 0.1 0.1", Fault.UNKNOWN),
        ("-1 0.5 0.5 0.1 0.1", Fault.UNKNOWN),
        ("0.5 0.5 0.5 0.1 0.1", Fault.UNKNOWN),
        ("car 0.5 0.5 0.1 0.1", Fault.UNKNOWN),
    ],
)
def test_a_bad_line_of_yolo_costs_itself_alone(line, fault, tmp_path):
    write_yolo(tmp_path)
    (tmp_path / "labels/c.txt").write_text(f"1 0.5 0.5 0.2 0.2\n\n{line}\n")
    found = SCHEMA.read(tmp_path)
    assert found.objects == (1, 2)
    assert [(note.fault, note.count) for note in found.notes] == [(fault, 1)]


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    write_coco(tmp_path)
    closed, listing = tmp_path / "images/more", os.scandir
    closed.mkdir()

    def scandir(path="."):
        if str(path) == str(closed):
            raise PermissionError(13, "Permission denied", str(path))
        return listing(path)

    monkeypatch.setattr(os, "scandir", scandir)
    reasons, found = left(tmp_path)
    assert reasons == {(Reason.UNREADABLE, "more")}
    assert len(found.pixels) == 3


def test_text_of_yolo_that_is_not_utf_8_leaves_its_picture_out(tmp_path):
    write_yolo(tmp_path)
    (tmp_path / "labels/c.txt").write_bytes(b"\xff\xfe1 0.5")
    reasons, _ = left(tmp_path)
    assert reasons == {(Reason.ANNOTATION, "c.txt")}


def test_two_pictures_of_one_name_are_left_out(tmp_path):
    write_yolo(tmp_path)
    (tmp_path / "images/a.bmp").write_bytes((tmp_path / "images/a.png").read_bytes())
    reasons, _ = left(tmp_path)
    assert reasons == {(Reason.ANNOTATION, "a.bmp"), (Reason.ANNOTATION, "a.png")}


def test_more_than_memory_should_hold_is_refused(tmp_path, monkeypatch):
    write_coco(tmp_path)
    monkeypatch.setattr(reading, "MOST_BYTES", 2 * 3 * 64 * 64)
    with pytest.raises(DataError, match="more than 2 records of 64×64"):
        SCHEMA.read(tmp_path)


def test_a_task_gets_its_own_classes_and_as_many_boxes_as_it_keeps(tmp_path):
    told = write_coco(tmp_path)
    told["annotations"][0]["iscrowd"] = 1
    write_json(tmp_path / "instances.json", told)
    found = SCHEMA.read(tmp_path)
    rows = relabelled(found, CLASSES, ("bus", "truck", "car"), 3)
    assert rows.shape == (3, 3, 5)
    assert rows[:, :, 0].tolist() == [[1, -6, -1], [-1, -1, -1], [1, -1, -1]]
    assert (rows[rows[:, :, 0] == -1][:, 1:] == 0).all()
    assert relabelled(found, CLASSES, ("car",), 2)[:, :, 0].tolist() == [[-4, -1], [-1, -1], [-1, -1]]  # fmt: skip


@pytest.mark.parametrize("form", WRITERS)
def test_whatever_bytes_the_annotations_have_reading_ends_with_records_or_a_sentence(
    form, tmp_path
):
    WRITERS[form](tmp_path)
    folder = {"coco": ".", "voc": "Annotations", "yolo": "labels"}[form]
    (file, *_) = sorted(path for path in (tmp_path / folder).iterdir() if path.is_file())
    good, dice = file.read_bytes(), random.Random(20261130)
    refused = 0
    for _ in range(150):
        bad = bytearray(good)
        for _ in range(dice.randint(1, 6)):
            at = dice.randrange(len(bad))
            match dice.randrange(4):
                case 0:
                    bad[at] = dice.randrange(256)
                case 1:
                    del bad[at : at + dice.randint(1, 40)]
                case 2:
                    bad[at:at] = dice.choice(
                        [b"-", b"1e99", b"NaN", b"[", b"<", b"null", b"\0", b'"']
                    )
                case 3:
                    bad[at:at] = bad[at : at + dice.randint(1, 60)]
            bad = bad or bytearray(b" ")
        file.write_bytes(bad)
        try:
            found = SCHEMA.read(tmp_path)
        except DataError:
            refused += 1
        else:
            assert np.isfinite(found.rows).all()
            assert found.rows[:, :, 1:].min() >= 0
            assert found.rows[:, :, 1:].max() <= 64
    assert refused < 150


@pytest.mark.parametrize("value", [None, 7, "x", [1], {"id": []}, {"id": True, "name": 3}])
@pytest.mark.parametrize("part", coco.PARTS)
def test_an_entry_of_coco_that_is_no_entry_is_passed_over(part, value, tmp_path):
    told = write_coco(tmp_path)
    told[part].append(value)
    (tmp_path / "instances.json").write_text(json.dumps(told))
    assert len(annotations(tmp_path).pictures) == 3


@pytest.mark.parametrize("closed", ["labels", "images"])
def test_a_linked_folder_is_named_and_its_pictures_are_not_said_to_show_nothing(closed, tmp_path):
    write_yolo(tmp_path / "real")
    for part in ("images", "labels"):
        (tmp_path / "d" / part).mkdir(parents=True)
        inner = tmp_path / "d" / part / "train"
        if part == closed:
            inner.symlink_to(tmp_path / "real" / part)
        else:
            (tmp_path / "real" / part).rename(inner)
    (tmp_path / "d" / "classes.txt").write_text("\n".join(CLASSES))
    found = annotations(tmp_path / "d")
    assert found.pictures == ()
    (link,) = [each for each in found.left if "not followed" in each.why]
    assert link.name == str(tmp_path / "d" / closed / "train")
    others = {each.reason for each in found.left} - {Reason.UNREADABLE}
    assert others == {Reason.UNLABELLED if closed == "labels" else Reason.ABSENT}
