"""`agent predict` and `agent evaluate` as a person calls them."""

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from models_bench import VECTORS, pictures, resigned
from PIL import Image

from edgeveil.agent.inference import inputs as inputs_room
from edgeveil.agent.inference.boxes import Boxes
from edgeveil.agent.inference.drawing import write_drawn
from edgeveil.shared.models.package import read_package

AGENT = Path(sys.executable).parent / "agent"
SIGNER = read_package(VECTORS / "cnn.evm").signer.hex()


def agent(*arguments, code=0, **options):
    command = [sys.executable, "-P", "-c", "from edgeveil.agent.cli.app import main; main()"]
    found = subprocess.run([*command, *map(str, arguments)], capture_output=True, env=os.environ | {"EDGEVEIL_HOME": "/nonexistent/home"}, **options)  # fmt: skip
    assert found.returncode == code, found.stdout.decode() + found.stderr.decode()
    assert b"Traceback" not in found.stderr
    return found.stdout.decode(), found.stderr.decode()


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    raw = pictures(6, 8, 8)
    (folder / "deep/er").mkdir(parents=True)
    for at, name in enumerate(("a.png", "b.bmp", "deep/c.png", "deep/er/d.png")):
        Image.fromarray(raw[at]).save(folder / name)
    np.savez(folder / "rest.npz", X=raw[4:])
    (folder / "notes.txt").write_text("no picture")
    (folder / ".hidden.png").write_text("no picture")
    return folder


def test_everything_in_a_folder_gets_a_line_of_json(inputs):
    out, err = agent("predict", VECTORS / "cnn.evm", inputs, "--json")
    lines = [json.loads(line) for line in out.splitlines()]
    names = [Path(line["input"]).name for line in lines]
    assert names == ["a.png", "b.bmp", "rest.npz[0]", "rest.npz[1]", "c.png", "d.png"]
    assert all(list(line) == ["input", "label", "score", "scores"] for line in lines)
    assert all(set(line["scores"]) == {"apple", "pear", "plum"} for line in lines)
    assert all(line["score"] == max(line["scores"].values()) for line in lines)
    assert err.count(SIGNER) == 1
    assert "1 files in folders are nothing that this model takes" in err


def test_csv_and_table_hold_the_same_answers(inputs):
    (out, _), (table, _) = (agent("predict", VECTORS / "cnn.evm", inputs, *more, "--trust", SIGNER) for more in (["--csv"], []))  # fmt: skip
    rows = list(csv.DictReader(io.StringIO(out)))
    assert len(rows) == 6
    for row in rows:
        assert row["input"] in table
    assert agent("predict", VECTORS / "cnn.evm", inputs / "a.png", "--json", "--csv", code=2)


def test_a_picture_on_standard_input_is_the_same_picture(inputs):
    arguments = ("predict", VECTORS / "cnn.evm", "--json", "--trust", SIGNER)
    by_name = json.loads(agent(*arguments, inputs / "a.png")[0])
    by_pipe = json.loads(agent(*arguments, "-", input=(inputs / "a.png").read_bytes())[0])
    assert by_pipe == by_name | {"input": "-"}


def test_a_threshold_leaves_the_label_out_and_the_scores_in(inputs):
    out, _ = agent("predict", VECTORS / "cnn.evm", inputs / "a.png", "--json", "--threshold", "0.99")  # fmt: skip
    found = json.loads(out)
    assert found["label"] is None
    assert 0 < found["score"] < 0.99


def test_what_cannot_be_read_is_named_and_counted_and_the_rest_is_answered(inputs, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"x" * 50)
    (tmp_path / "evil\x1b[31m.png").write_text("x")
    np.savez(tmp_path / "wrong.npz", X=np.zeros((2, 5, 5), np.uint8))
    Image.new("1", (20_000, 20_000)).save(tmp_path / "bomb.png")
    out, err = agent("predict", VECTORS / "cnn.evm", tmp_path, inputs / "a.png", "gone.png", "--json", code=65)  # fmt: skip
    assert len(out.splitlines()) == 1
    assert "5 of 6 inputs could not be used" in err
    for words in ("broken.png", "wrong.npz: an array of shape", "bomb.png: more than", "gone.png"):
        assert words in err
    assert "\x1b" not in err


def test_nothing_to_predict_is_said(tmp_path):
    _, err = agent("predict", VECTORS / "cnn.evm", tmp_path, code=65)
    assert "nothing to predict" in err


def test_a_damaged_package_ends_with_65_and_a_strangers_with_77(inputs, tmp_path):
    data = (VECTORS / "cnn.evm").read_bytes()
    (tmp_path / "cut.evm").write_bytes(data[:-5])
    (tmp_path / "other.evm").write_bytes(resigned(read_package(VECTORS / "cnn.evm"), key=bytes(32)))  # fmt: skip
    _, err = agent("predict", tmp_path / "cut.evm", inputs / "a.png", code=65)
    assert err.count("\n") == 1
    _, err = agent("predict", tmp_path / "other.evm", inputs / "a.png", "--trust", SIGNER, code=77)
    assert err.count("\n") == 1


def test_an_evaluation_prints_tables_json_and_a_page(tmp_path):
    raw, labels = pictures(30, 8, 8), np.arange(30) % 3
    np.savez(tmp_path / "a.npz", X=raw, y=labels)
    arguments = ("evaluate", VECTORS / "cnn.evm", "--data", tmp_path / "a.npz", "--trust", SIGNER)
    table, _ = agent(*arguments)
    assert "Precision" in table
    assert "Confusion matrix" in table
    assert "plum" in table
    found = json.loads(agent(*arguments, "--json")[0])
    assert found["records"] == 30
    assert np.array(found["confusion"]).sum() == 30
    agent(*arguments, "--html", tmp_path / "a.html")
    page = (tmp_path / "a.html").read_text()
    assert page.startswith("<!doctype html>")
    assert "Confusion matrix" in page
    assert "<script" not in page


def test_neither_command_loads_torch_or_touches_a_ledger(inputs):
    code = (
        "import sys, os\n"
        "from edgeveil.agent.inference.runtime import open_model\n"
        "from edgeveil.agent.inference.evaluation import evaluate\n"
        f"open_model({str(VECTORS / 'cnn.evm')!r}).predict({str(inputs / 'a.png')!r})\n"
        "bad = ('torch', 'onnx', 'flwr', 'opacus', 'safetensors', 'edgeveil.agent.ledger', 'edgeveil.agent.training', 'edgeveil.agent.rounds')\n"
        "print([name for name in bad if name in sys.modules])\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"


def test_more_on_standard_input_than_is_read_is_said_and_nothing_of_it_is_used(monkeypatch):
    taken = read_package(VECTORS / "cnn.evm").manifest.input
    monkeypatch.setattr(inputs_room, "MAX_BYTES", 100)
    (item,) = inputs_room.read("-", taken, io.BytesIO(bytes(101)))
    assert item.record is None
    assert "more than 100 bytes on standard input" in item.why


def test_a_name_that_no_folder_takes_again_does_not_end_the_drawing(tmp_path):
    name = "ü" * 125 + ".png"
    Image.new("RGB", (8, 8)).save(tmp_path / name)
    for _ in range(2):
        made = write_drawn(str(tmp_path / name), Boxes(()), (), tmp_path / "seen")
        assert made.is_file()
    assert len(list((tmp_path / "seen").iterdir())) == 2
