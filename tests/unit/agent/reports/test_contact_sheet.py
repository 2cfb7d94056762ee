"""The contact sheet: boxes drawn where they are, names made harmless, bounded, for its owner alone."""

import io
import re
from base64 import b64decode

import numpy as np
import pytest
from boxes_bench import CLASSES, TRUTH, picture, write_coco, write_voc, xml_of
from PIL import Image
from typer.testing import CliRunner

from edgeveil.agent.cli.app import app
from edgeveil.agent.reports import box_sheet as sheets
from edgeveil.agent.reports.box_sheet import box_sheet
from edgeveil.shared.data.boxes.drawing import COLOURS, draw
from edgeveil.shared.data.boxes.schema import BoxSchema
from edgeveil.shared.data.boxes.sights import Drawn


def pictures_of(page):
    for found in re.findall(r'src="data:image/jpeg;base64,([^"]+)"', page):
        yield np.asarray(Image.open(io.BytesIO(b64decode(found))), dtype=int)


def test_every_class_is_shown_with_boxes_and_pictures_without(tmp_path):
    write_coco(tmp_path)
    page = box_sheet(tmp_path, BoxSchema(128, CLASSES), {"folder": tmp_path})
    assert re.findall(r'<h2 id="group-\d+-h">([^<]+)', page) == [
        "car",
        "truck",
        "without a box",
    ]
    assert len(list(pictures_of(page))) == 3  # one of each kind, none twice
    assert "images/a.png" in page
    assert str(tmp_path / "images") not in page


def test_a_frame_lies_on_the_box():
    drawn = np.asarray(draw(np.zeros((60, 80, 3), np.uint8), [Drawn("car", (20, 30, 70, 55), 9)]))
    assert tuple(drawn[54, 40]) == COLOURS[2]
    assert tuple(drawn[40, 69]) == COLOURS[2]
    assert not drawn[56:].any()
    assert not drawn[:, 71:].any()
    assert drawn[31:54, 21:69].sum() == 0


@pytest.mark.parametrize("label", ["卡车", "\x1b[31m", "x" * 5000, "\udcff", ""])
def test_any_label_can_be_drawn(label):
    draw(
        np.zeros((20, 20, 3), np.uint8), [Drawn(label, (0, 0, 20, 20)), Drawn(label, (5, 5, 5, 5))]
    )


def test_hostile_names_are_text_and_the_page_asks_nobody(tmp_path):
    (tmp_path / "Annotations").mkdir()
    name = "<img src=x onerror=alert(1)>\u202e"
    picture(tmp_path / "JPEGImages" / f"{name}.png")
    label = "&lt;script&gt;alert(2)&lt;/script&gt;"
    (tmp_path / "Annotations" / f"{name}.xml").write_text(xml_of(TRUTH["a"]).replace("car", label))
    picture(tmp_path / "JPEGImages" / "<b>left.png")
    page = box_sheet(tmp_path, BoxSchema(64, ("<script>alert(2)</script>",)), {})
    assert "<script" not in page
    assert "<img src=x" not in page
    assert "\u202e" not in page
    assert "&lt;b&gt;left.png" in page
    assert "default-src &#x27;none&#x27;" in page
    assert "script-src" not in page
    assert not re.findall(r'(?:src|href)="(?!data:image/jpeg;base64,)', page)


def test_a_sheet_is_bounded(tmp_path, monkeypatch):
    write_coco(tmp_path, {f"p{at}": [("car", 1, 1, 9, 9)] for at in range(30)})
    page = box_sheet(tmp_path, BoxSchema(64, CLASSES), {})
    assert len(list(pictures_of(page))) == sheets.SHOWN
    assert f"{sheets.SHOWN} of 30" in page
    monkeypatch.setattr(sheets, "MOST_SHOWN", 5)
    assert len(list(pictures_of(box_sheet(tmp_path, BoxSchema(64, CLASSES), {})))) == 5


def test_the_command_writes_it_for_its_owner_alone(tmp_path):
    write_voc(tmp_path / "data")
    target = tmp_path / "sheet.html"
    arguments = ["data", "check", "--home", str(tmp_path / "home"), "--sheet", str(target)]
    ended = CliRunner().invoke(app, [*arguments, "--data", str(tmp_path / "data")])
    assert ended.exit_code == 0
    assert target.stat().st_mode & 0o777 == 0o600
    assert len(list(pictures_of(target.read_text()))) == 3
