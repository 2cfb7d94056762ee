"""`agent predict` with a video: a label for each frame, and a sentence where it ends too early."""

import json
import sys

import numpy as np
import pytest
from models_bench import VECTORS
from moving_bench import street, write_video
from PIL import Image
from typer.testing import CliRunner

from edgeveil.agent.cli.app import app
from edgeveil.agent.inference.inputs import read
from edgeveil.agent.inference.video.frames import Pace
from edgeveil.shared.data.pictures import read_picture, scaled
from edgeveil.shared.models.taken import ImageInput

MODEL = VECTORS / "cnn.evm"


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    path = tmp_path_factory.mktemp("film") / "street.avi"
    write_video(path, street(78, seconds=3.0, count=5).pictures())
    return path


def predict(*arguments):
    ended = CliRunner().invoke(app, ["predict", str(MODEL), *map(str, arguments), "--json"])
    return ended, [json.loads(line) for line in ended.stdout.splitlines()]


def test_every_frame_that_is_asked_for_gets_a_label(film):
    ended, lines = predict(film, "--every", 10)
    assert ended.exit_code == 0
    assert [line["input"] for line in lines] == [f"{film} at {at}.00 s" for at in range(3)]
    assert all(line["label"] in {"apple", "pear", "plum"} for line in lines)
    assert len(predict(film, "--fps", 2, "--seconds", 2)[1]) == 4


def test_a_video_that_ends_early_gives_its_frames_first(film, tmp_path):
    cut = tmp_path / "cut.avi"
    cut.write_bytes(film.read_bytes()[: film.stat().st_size // 2])
    ended, lines = predict(cut)
    assert ended.exception.exit_code == 65
    assert 3 < len(lines) < 30
    assert "the results go so far" in ended.stderr


def test_what_is_no_video_is_left_out_alone(film, tmp_path):
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    Image.new("L", (20, 20)).save(tmp_path / "a.png")
    ended, lines = predict(tmp_path / "bad.mp4", tmp_path / "a.png")
    assert ended.exception.exit_code == 65
    assert [line["input"] for line in lines] == [str(tmp_path / "a.png")]
    assert "not a readable video" in ended.stderr


@pytest.mark.parametrize("channels", [1, 3])
def test_a_frame_is_prepared_as_the_same_picture_is(channels, tmp_path):
    pixels = np.random.default_rng(1).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    wanted = read_picture(tmp_path / "a.png", 8, 12, channels)
    assert np.array_equal(scaled(pixels, 8, 12, channels), wanted)


def test_frames_are_read_one_at_a_time(film):
    taken = ImageInput(name="pixels", kind="image", height=8, width=8, channels=3)
    items = read(str(film), taken, None, Pace(every=10))
    assert next(items).record.shape == (8, 8, 3)
    items.close()


def test_a_video_without_the_extra_is_left_out_and_the_rest_is_answered(film, tmp_path, monkeypatch):  # fmt: skip
    monkeypatch.setitem(sys.modules, "av", None)
    Image.new("L", (20, 20)).save(tmp_path / "a.png")
    ended, lines = predict(film, tmp_path / "a.png")
    assert ended.exception.exit_code == 65
    assert [line["input"] for line in lines] == [str(tmp_path / "a.png")]
    assert 'pip install "edgeveil[video]"' in ended.stderr.replace("\n", " ")
