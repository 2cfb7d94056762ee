"""COCO, Pascal VOC and YOLO folders say the same in three ways, and are told apart by their names."""

import numpy as np
import pytest
from boxes_bench import (
    TRUTH,
    WIDE,
    WRITERS,
    picture,
    write_coco,
    write_json,
    write_voc,
    write_yolo,
    xml_of,
)
from PIL import Image

from edgeveil.shared.base.errors import DataError
from edgeveil.shared.data.boxes.formats.annotated import Fault
from edgeveil.shared.data.boxes.formats.layout import annotations, form_of
from edgeveil.shared.data.boxes.schema import BoxSchema, infer_boxes
from edgeveil.shared.data.kinds import infer
from edgeveil.shared.data.left_out import Reason
from edgeveil.shared.data.probe import count_records, probe, raw_records

LABELS = ("car", "truck")


def read(root, **options):
    return BoxSchema(64, LABELS, **options).read(root)


def boxes_of(found, at):
    rows = found.rows[at]
    return rows[rows[:, 0] != -1].tolist()


@pytest.mark.parametrize("form", WRITERS)
def test_a_format_is_recognised_and_read_as_the_others(form, tmp_path):
    WRITERS[form](tmp_path)
    assert form_of(tmp_path) == form
    probe(tmp_path)
    assert count_records(tmp_path) == 3
    assert len(list(raw_records(tmp_path))) == 3
    schema = infer(tmp_path)
    assert schema == BoxSchema(128, LABELS)
    found = read(tmp_path)
    assert (found.left, found.notes) == ((), ())
    assert found.pixels.shape == (3, 3, 64, 64)
    assert found.objects == (1, 2)
    scale, top = 64 / WIDE, 16
    wanted = [
        [LABELS.index(label), x1 * scale, y1 * scale + top, x2 * scale, y2 * scale + top]
        for label, x1, y1, x2, y2 in TRUTH["a"]
    ]
    assert np.allclose(boxes_of(found, 0), sorted(wanted, reverse=True), atol=1e-4)
    assert boxes_of(found, 1) == []


def test_the_labels_come_from_the_owner_and_other_boxes_are_counted(tmp_path):
    write_coco(tmp_path)
    found = BoxSchema(64, ("truck",)).read(tmp_path)
    assert found.objects == (2,)
    (note,) = found.notes
    assert (note.fault, note.count, note.first) == (Fault.UNKNOWN, 1, ("'car'",))


def test_coco_lies_in_annotations_or_beside_its_pictures_too(tmp_path):
    write_coco(tmp_path / "one", name="annotations/instances_train.json")
    write_json(tmp_path / "one/annotations/captions_train.json", {})
    assert read(tmp_path / "one").objects == (1, 2)
    write_coco(tmp_path / "two", name="_annotations.coco.json")
    for path in (tmp_path / "two/images").iterdir():
        path.rename(tmp_path / "two" / path.name)
    (tmp_path / "two/images").rmdir()
    found = read(tmp_path / "two")
    assert (found.objects, found.left) == ((1, 2), ())


def test_two_files_that_may_hold_the_boxes_are_not_chosen_between(tmp_path):
    write_coco(tmp_path)
    write_json(tmp_path / "other.json", {})
    assert read(tmp_path).objects == (1, 2)  # the name says which
    (tmp_path / "instances.json").rename(tmp_path / "some.json")
    with pytest.raises(DataError, match=r"2 files may hold the boxes \(other.json, some.json\)"):
        annotations(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "names: ['car', \"truck\"]  # two\n",
        "nc: 2\nnames:\n  0: car\n  1: truck\ntrain: images\n",
        "names:\n- car\n- truck\n",
    ],
)
def test_names_of_yolo_come_from_its_settings_too(text, tmp_path):
    write_yolo(tmp_path)
    (tmp_path / "classes.txt").unlink()
    (tmp_path / "data.yaml").write_text(text)
    assert read(tmp_path).objects == (1, 2)


@pytest.mark.parametrize("text", [None, "nc: 2\n", "names: {0: car}\n", "names: *anchor\n"])
def test_without_names_yolo_says_how_to_write_them(text, tmp_path):
    write_yolo(tmp_path)
    (tmp_path / "classes.txt").unlink()
    if text is not None:
        (tmp_path / "data.yaml").write_text(text)
    with pytest.raises(DataError, match=r"write classes\.txt"):
        probe(tmp_path)


def test_pictures_of_yolo_may_lie_deeper_with_their_texts(tmp_path):
    write_yolo(tmp_path)
    for part in ("images", "labels"):
        (tmp_path / part / "train").mkdir()
        for path in [each for each in (tmp_path / part).iterdir() if each.is_file()]:
            path.rename(path.parent / "train" / path.name)
    assert read(tmp_path).objects == (1, 2)


def test_boxes_are_where_they_are_in_the_picture_as_it_is_shown(tmp_path):
    picture(tmp_path / "JPEGImages/a.png", 20, 40)
    turned = Image.Exif()
    turned[0x0112] = 6  # shown with 40 × 20
    with Image.open(tmp_path / "JPEGImages/a.png") as image:
        image.save(tmp_path / "JPEGImages/a.png", exif=turned)
    (tmp_path / "Annotations").mkdir()
    text = tmp_path / "Annotations/a.xml"
    text.write_text(xml_of(TRUTH["a"], 40, 20))
    assert read(tmp_path).objects == (1, 1)
    text.write_text(xml_of(TRUTH["a"], 20, 40))
    (left,) = read(tmp_path).left
    assert left.reason is Reason.ANNOTATION
    assert "annotated at 20×40 before it is turned as its EXIF says, and it is 40×20" in left.why


def test_difficult_boxes_are_to_be_ignored_unless_the_owner_takes_them(tmp_path):
    write_voc(tmp_path)
    (tmp_path / "Annotations/a.xml").write_text(xml_of(TRUTH["a"], extra="<difficult>1</difficult>"))  # fmt: skip
    found = read(tmp_path)
    assert found.objects == (0, 1)
    assert [row[0] for row in boxes_of(found, 0)] == [-5, -4]
    assert [(note.fault, note.count) for note in found.notes] == [(Fault.DIFFICULT, 2)]
    assert read(tmp_path, difficult=True).objects == (1, 2)


def test_crowds_of_coco_are_to_be_ignored(tmp_path):
    told = write_coco(tmp_path)
    told["annotations"][0]["iscrowd"] = 1
    write_json(tmp_path / "instances.json", told)
    found = read(tmp_path, difficult=True)
    assert found.objects == (0, 2)
    assert [row[0] for row in boxes_of(found, 0)] == [1, -4]


def test_large_pictures_give_tiles_with_the_boxes_that_they_show(tmp_path):
    truth = {"a": [("car", 2, 2, 30, 30), ("truck", 150, 20, 190, 60)], "b": []}
    (tmp_path / "Annotations").mkdir()
    for stem, boxes in truth.items():
        picture(tmp_path / "JPEGImages" / f"{stem}.png", 200, 80)
        (tmp_path / "Annotations" / f"{stem}.xml").write_text(xml_of(boxes, 200, 80))
    found = read(tmp_path, tile=100)
    assert found.groups.tolist() == [0, 0, 0, 1, 1, 1]
    assert [[row[0] for row in boxes_of(found, at)] for at in range(6)] == [[0], [], [1], [], [], []]  # fmt: skip
    survey = BoxSchema(64, LABELS, tile=100).survey(tmp_path)
    assert (survey.usable, survey.pictures, survey.empty, survey.objects) == ((6,), 2, 4, (1, 1))


def test_the_square_is_small_if_most_pictures_are(tmp_path):
    write_coco(tmp_path)
    assert infer_boxes(tmp_path).side == 128
    for stem in "ab":
        picture(tmp_path / "images" / f"{stem}.png", 300, 200)
    assert infer_boxes(tmp_path).side == 416


def test_a_plan_may_ask_for_some_of_the_classes_in_any_order():
    own = BoxSchema(128, ("car", "truck"))
    assert own.fits(BoxSchema(128, ("bus", "truck")))
    assert not own.fits(BoxSchema(128, ("bus",)))
    assert not own.fits(BoxSchema(256, ("car", "truck")))


def test_a_folder_of_class_folders_stays_one(tmp_path):
    for label in ("cat", "dog"):
        picture(tmp_path / label / "1.png")
    assert form_of(tmp_path) is None
    assert infer(tmp_path).kind == "images"
