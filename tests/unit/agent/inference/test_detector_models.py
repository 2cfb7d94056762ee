"""Models that find boxes: from pictures of any shape to boxes in their own pixels, drawn, counted, told."""

import io
import json
import subprocess
import sys

import numpy as np
import pytest
from catalogue_bench import write_png
from detector_bench import LABELS, SIDE, package, scene
from PIL import Image
from pydantic import ValidationError

from edgeveil.agent.inference import drawing
from edgeveil.agent.inference.boxes import Box, Boxes, Finder
from edgeveil.agent.inference.evaluation import evaluate
from edgeveil.agent.inference.inputs import read
from edgeveil.agent.inference.runtime import open_model
from edgeveil.agent.inference.serving.answers import answer
from edgeveil.shared.base.errors import DataError, ModelError
from edgeveil.shared.data.boxes.letterbox import Letterbox

CORNERS = {0: (0, 0, 50, 25), 1: (50, 0, 100, 25), 2: (0, 25, 50, 50), 3: (50, 25, 100, 50)}


@pytest.fixture
def file(tmp_path):
    (tmp_path / "quarters.evm").write_bytes(package())
    return tmp_path / "quarters.evm"


@pytest.fixture
def model(file):
    return open_model(file)


def corners(box):
    return box.x1, box.y1, box.x2, box.y2


def agent(*arguments, code=0):
    command = [sys.executable, "-P", "-c", "from edgeveil.agent.cli.app import main; main()"]
    found = subprocess.run([*command, *map(str, arguments)], capture_output=True, text=True)
    assert found.returncode == code, found.stdout + found.stderr
    assert "Traceback" not in found.stderr
    return found.stdout, found.stderr


def test_boxes_are_in_pixels_of_the_picture_whatever_its_shape(model, tmp_path):
    write_png(tmp_path / "wide.png", scene(1, 2))
    (found,) = model.predict(tmp_path / "wide.png")
    sure = found.above(0.3).boxes
    assert {(box.label, *map(round, corners(box))) for box in sure} == {("bus", *CORNERS[1]), ("car", *CORNERS[2])}  # fmt: skip
    assert all(0.9 < box.score <= 1 for box in sure)
    write_png(tmp_path / "square.png", scene(3, wide=64, high=64))
    (found,) = model.predict([tmp_path / "square.png"])
    assert corners(found.above(0.3).boxes[0]) == (32, 32, 64, 64)


def test_an_array_is_the_square_itself(model):
    (found,) = model.predict(scene(0, wide=SIDE, high=SIDE))
    assert corners(found.above(0.3).boxes[0]) == (0, 0, 32, 32)
    assert model.predict(np.zeros((0, SIDE, SIDE, 3), np.uint8)) == []


def test_a_picture_in_which_nothing_is_has_no_boxes(model, tmp_path):
    write_png(tmp_path / "black.png", scene(wide=64, high=64))
    assert model.predict(tmp_path / "black.png")[0].boxes == ()


def test_what_lies_in_the_margins_alone_is_no_box():
    output = np.array([[32, 4, 20, 8, 9, 9], [32, 16, 20, 20, 9, 9]], np.float32)
    found = Finder(("car",), SIDE).found(output, Letterbox.of(100, 50, SIDE))
    assert len(found.boxes) == 1
    assert found.boxes[0].y1 == 0


def test_predict_tells_json_csv_and_a_table(file, tmp_path):
    write_png(tmp_path / "a.png", scene(1, 2))
    write_png(tmp_path / "b.png", scene(wide=64, high=64))
    out, _ = agent("predict", file, tmp_path / "a.png", tmp_path / "b.png", "--json")
    first, second = map(json.loads, out.splitlines())
    assert [list(box) for box in first["boxes"]] == [["label", "score", "x1", "y1", "x2", "y2"]] * 2
    assert second == {"input": str(tmp_path / "b.png"), "boxes": []}
    out, _ = agent("predict", file, tmp_path / "a.png", "--csv")
    assert out.splitlines()[0] == "input,label,score,x1,y1,x2,y2"
    assert len(out.splitlines()) == 3
    out, _ = agent("predict", file, tmp_path / "a.png", tmp_path / "b.png")
    assert "bus" in out
    assert "–" in out


def test_predict_draws_into_copies_and_never_over_another_file(file, tmp_path):
    for folder in ("one", "two"):
        write_png(tmp_path / folder / "a.png", scene(1))
    agent("predict", file, tmp_path / "one", tmp_path / "two", "--draw", tmp_path / "out", "--csv")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a-2.png", "a.png"]
    with Image.open(tmp_path / "out/a.png") as image:
        assert image.size == (100, 50)
        assert len(set(image.getdata())) > 2
    with Image.open(tmp_path / "one/a.png") as image:
        assert len(set(image.getdata())) == 2
    (tmp_path / "file").write_text("in the way")
    _, err = agent("predict", file, tmp_path / "one", "--draw", tmp_path / "file", code=65)
    assert "cannot write pictures there" in err


def test_a_model_that_chooses_labels_draws_nothing(tmp_path):
    from models_bench import VECTORS

    _, err = agent("predict", VECTORS / "cnn.evm", "-", "--draw", tmp_path, code=2)
    assert "finds no boxes" in err


def test_captions_stay_within_what_can_be_drawn():
    found = Boxes((Box("汽车", 0.5, -5, -5, 300, 3), Box("汽车", 0.5, 10, 10, 10, 10)))
    image = drawing.drawn(scene(0), found, ("汽车",))
    assert image.size == (100, 50)
    with pytest.raises(DataError, match=r"nowhere\.png"):
        drawing.write_drawn("nowhere.png", found, ("汽车",), None)


def test_evaluation_counts_boxes_of_a_folder_as_training_reads_it(model, file, tmp_path):
    root = tmp_path / "camera"
    shown = {"a": (1, 2), "b": (0,), "c": (), "d": (3,)}
    for name, quarters in shown.items():
        write_png(root / "images" / f"{name}.png", scene(*quarters))
    (root / "labels").mkdir()
    (root / "classes.txt").write_text("\n".join(LABELS) + "\n")
    for name, quarters in shown.items():
        kept = quarters if name != "d" else ()  # its box is missing: what is found there is wrong
        lines = [f"{at % 2} {0.25 + 0.5 * (at % 2)} {0.25 + 0.5 * (at // 2)} 0.5 0.5" for at in kept]  # fmt: skip
        (root / "labels" / f"{name}.txt").write_text("\n".join(lines))
    found = evaluate(model, root, quiet=True)
    told = found.as_json()
    assert told["records"] == 4
    assert {each["label"]: each["support"] for each in told["labels"]} == {"car": 2, "bus": 1}
    assert told["labels"][0]["ap50"] == 1
    assert told["averages"]["micro"] == {"precision": 0.75, "recall": 1.0, "f1": pytest.approx(6 / 7)}  # fmt: skip
    out, _ = agent("evaluate", file, "--data", root)
    assert "Boxes found, by class" in out
    assert json.loads(agent("evaluate", file, "--data", root, "--json")[0])["map50"] == told["map50"]  # fmt: skip
    agent("evaluate", file, "--data", root, "--html", tmp_path / "page.html")
    assert "mAP" in (tmp_path / "page.html").read_text() or "AP@0.5" in (tmp_path / "page.html").read_text()  # fmt: skip


def test_what_is_found_on_a_crowd_is_neither_right_nor_wrong(model, tmp_path):
    root = tmp_path / "camera"
    write_png(root / "images" / "a.png", scene(0, 1))
    boxes = [(1, [0, 0, 50, 25], 1), (2, [50, 0, 50, 25], 0)]
    annotations = [
        {"id": at, "image_id": 1, "category_id": kind, "bbox": box, "iscrowd": crowd}
        for at, (kind, box, crowd) in enumerate(boxes, 1)
    ]
    categories = [{"id": at, "name": name} for at, name in enumerate(LABELS, 1)]
    images = [{"id": 1, "file_name": "a.png", "width": 100, "height": 50}]
    text = json.dumps({"images": images, "annotations": annotations, "categories": categories})
    (root / "instances.json").write_text(text)
    told = evaluate(model, root, quiet=True).as_json()
    assert {each["label"]: each["support"] for each in told["labels"]} == {"car": 0, "bus": 1}
    assert told["averages"]["micro"] == {"precision": 1.0, "recall": 1.0, "f1": 1.0}


def test_a_service_answers_with_boxes(model, tmp_path):
    write_png(tmp_path / "a.png", scene(1))
    (item,) = read(str(tmp_path / "a.png"), model.input, io.BytesIO())
    first = answer(model, item)["boxes"][0]
    assert first["label"] == "bus"
    assert (round(first["x1"]), round(first["x2"])) == (50, 100)


@pytest.mark.parametrize(
    "output",
    [
        {"kind": "boxes", "name": "rows", "labels": ("car",), "rows": 4},
        {"kind": "boxes", "name": "rows", "labels": LABELS, "rows": 5},
        {"kind": "logits", "name": "rows", "labels": LABELS},
    ],
)
def test_a_graph_that_gives_other_rows_than_it_says_is_refused(output, tmp_path):
    (tmp_path / "a.evm").write_bytes(package(output=output))
    with pytest.raises(ModelError, match="another output"):
        open_model(tmp_path / "a.evm")


def test_a_manifest_of_boxes_is_closed():
    for wrong in ({"rows": 0}, {"rows": 1 << 30}, {"labels": ()}, {"labels": ("a", "a")}, {"suppression": "none"}):  # fmt: skip
        with pytest.raises(ValidationError):
            package(output={"kind": "boxes", "name": "rows", "labels": LABELS, "rows": 4, **wrong})
