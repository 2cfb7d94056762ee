"""Converters: every format from every other, and nothing lost that the target has a word for."""

import json

import numpy as np
import pytest
from boxes_bench import (
    CLASSES,
    TRUTH,
    WRITERS,
    files_of,
    picture,
    write_coco,
    write_json,
    write_voc,
)
from typer.testing import CliRunner

from edgeveil.agent.cli.app import app
from edgeveil.shared.base.errors import ConfigError, DataError
from edgeveil.shared.data.boxes.formats.annotated import Fault
from edgeveil.shared.data.boxes.schema import BoxSchema
from edgeveil.shared.data.boxes.writing import convert

SCHEMA = BoxSchema(64, CLASSES)
FORMS = sorted(WRITERS)


@pytest.mark.parametrize("to", FORMS)
@pytest.mark.parametrize("form", FORMS)
def test_every_format_becomes_every_other(form, to, tmp_path):
    WRITERS[form](tmp_path / "from")
    told = convert(tmp_path / "from", tmp_path / "to", from_form=None, to_form=to)
    assert (told.pictures, told.boxes, told.left, told.notes) == (3, 3, (), ())
    before, after = SCHEMA.read(tmp_path / "from"), SCHEMA.read(tmp_path / "to")
    assert np.array_equal(before.pixels, after.pixels)
    assert np.allclose(before.rows, after.rows, atol=1e-2)
    assert (after.left, after.notes) == ((), ())


def test_a_way_through_all_formats_moves_no_box(tmp_path):
    truth = {"a": [("car", 1.25, 2.5, 20.125, 12), ("truck", 10.3, 5.7, 39.9, 19.1)]}
    write_coco(tmp_path / "0", truth)
    for at, to in enumerate(["voc", "yolo", "coco", "yolo", "voc"]):
        convert(tmp_path / str(at), tmp_path / str(at + 1), from_form=None, to_form=to)
    first, last = SCHEMA.read(tmp_path / "0"), SCHEMA.read(tmp_path / "5")
    assert np.allclose(first.rows, last.rows, atol=1e-2)


def test_crowds_stay_to_be_ignored_where_there_is_a_word_for_it(tmp_path):
    told = write_coco(tmp_path / "coco")
    told["annotations"][0]["iscrowd"] = 1
    write_json(tmp_path / "coco/instances.json", told)
    for to in ("voc", "yolo"):
        found = convert(tmp_path / "coco", tmp_path / to, from_form="coco", to_form=to)
        assert [note.fault for note in found.notes] == ([Fault.CROWD] if to == "yolo" else [])
    kinds = SCHEMA.read(tmp_path / "voc").rows[0, :, 0].tolist()
    assert kinds[:2] == [1, -4]
    assert SCHEMA.read(tmp_path / "yolo").objects == (0, 2)


def test_bad_boxes_and_pictures_are_left_behind_and_told(tmp_path):
    told = write_coco(tmp_path / "from")
    told["annotations"][0]["bbox"] = [90, 90, 1, 1]
    write_json(tmp_path / "from/instances.json", told)
    (tmp_path / "from/images/c.png").write_bytes(b"none")
    found = convert(tmp_path / "from", tmp_path / "to", from_form=None, to_form="yolo")
    assert (found.pictures, found.boxes, len(found.left)) == (2, 1, 1)
    assert [note.fault for note in found.notes] == [Fault.OUTSIDE]
    assert files_of(tmp_path / "to") == ["classes.txt", "images/a.png", "images/b.png", "labels/a.txt"]  # fmt: skip


def test_pictures_of_inner_folders_get_one_name_each(tmp_path):
    told = write_coco(tmp_path / "from")
    for at, name in ((0, "x/a.png"), (2, "y/a.png")):
        picture(tmp_path / "from/images" / name)
        told["images"][at]["file_name"] = name
    write_json(tmp_path / "from/instances.json", told)
    convert(tmp_path / "from", tmp_path / "to", from_form=None, to_form="voc")
    assert files_of(tmp_path / "to/Annotations") == ["b.xml", "x__a.xml", "y__a.xml"]


def test_a_target_that_is_there_is_kept(tmp_path):
    write_voc(tmp_path / "from")
    with pytest.raises(ConfigError, match="is there already"):
        convert(tmp_path / "from", tmp_path / "from", from_form=None, to_form="coco")
    with pytest.raises(DataError, match="no pictures with boxes"):
        convert(tmp_path / "from", tmp_path / "to", from_form="yolo", to_form="coco")


def test_the_command_says_what_it_wrote(tmp_path):
    write_voc(tmp_path / "from")
    (tmp_path / "from/Annotations/c.xml").write_text("<")
    arguments = ["--from", "voc", "--to", "coco", str(tmp_path / "from"), str(tmp_path / "to")]
    ended = CliRunner().invoke(app, ["data", "convert", *arguments])
    assert ended.exit_code == 0
    assert "2 pictures with 2 boxes" in ended.stdout
    assert "an annotation that cannot be used" in ended.stdout
    told = json.loads((tmp_path / "to/instances.json").read_text())
    assert len(told["annotations"]) == len(TRUTH["a"])
