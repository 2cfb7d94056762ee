"""`agent predict` of a video with a detector: events as they happen, counts at the end, a film with what was found."""

import json
from pathlib import Path

import numpy as np
import pytest
from detector_bench import package
from models_bench import VECTORS
from moving_bench import HIGH, WIDE, write_video
from typer.testing import CliRunner

from edgeveil.agent.cli.app import app
from edgeveil.agent.inference.video.frames import Video
from edgeveil.agent.inference.video.line_file import LineFile
from edgeveil.shared.base.config import load
from edgeveil.shared.base.errors import ConfigError

LINE = """
[[line]]
name = "gate"
start = [0.5, 0.0]
end = [0.5, 1.0]
ways = ["west", "east"]

[stopped]
after_s = 1.0
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A detector that sees an object in each bright quarter, and three seconds with one that stays so."""
    root = tmp_path_factory.mktemp("watched")
    (root / "eyes.evm").write_bytes(package())
    (root / "LINE.toml").write_text(LINE)
    still = np.zeros((HIGH, WIDE, 3), np.uint8)
    still[: HIGH // 2, : WIDE // 2] = 255
    write_video(root / "still.avi", [still] * 30)
    return root


def predict(folder, *arguments, model="eyes.evm"):
    return CliRunner().invoke(app, ["predict", str(folder / model), *map(str, arguments)])


def test_the_file_of_lines_in_the_docs_can_be_read(tmp_path):
    text = (Path(__file__).resolve().parents[4] / "docs" / "video.md").read_text()
    (tmp_path / "LINE.toml").write_text(text.split("```toml\n")[1].split("```")[0])
    found = load(tmp_path / "LINE.toml", LineFile)
    assert (found.lines()[0].wrong, found.stopping().after_s) == ("out", 30)


def test_events_come_first_and_counts_last(folder):
    ended = predict(folder, folder / "still.avi", "--count", folder / "LINE.toml", "--json")
    assert ended.exit_code == 0, ended.output
    *events, last = [json.loads(line) for line in ended.stdout.splitlines()]
    assert [(each["event"], each["label"]) for each in events] == [("stopped", "car")]
    assert events[0]["at_s"] == pytest.approx(1.2, abs=0.3)
    counted = last["counted"]
    assert (counted["frames"], counted["stopped"], counted["wrong_way"]) == (30, 1, 0)
    assert counted["lines"][0]["ways"]["east"]["count"] == 0
    shown = predict(folder, folder / "still.avi", "--count", folder / "LINE.toml")
    assert "stopped (car 1)" in shown.stdout
    assert "30 frames of 2.9 s, 0 the wrong way, 1 stopped" in shown.stdout


def test_a_film_is_drawn_at_the_pace_that_was_looked_at(folder, tmp_path):
    target = tmp_path / "out.mp4"
    ended = predict(folder, folder / "still.avi", "--draw", target, "--every", 5)
    assert ended.exit_code == 0, ended.output
    with Video(str(target)) as video:
        assert video.rate == 2
        assert len(list(video)) == 6


def test_without_counting_each_frame_is_an_input_with_boxes(folder):
    ended = predict(folder, folder / "still.avi", "--every", 10, "--json")
    lines = [json.loads(line) for line in ended.stdout.splitlines()]
    assert [line["input"][-9:] for line in lines] == [f"at {at}.00 s" for at in range(3)]
    (box,) = lines[0]["boxes"]
    assert box["label"] == "car"
    assert box["x2"] <= WIDE


def test_a_film_cut_short_is_counted_so_far_and_ends_with_65(folder, tmp_path):
    cut = tmp_path / "cut.avi"
    whole = (folder / "still.avi").read_bytes()
    at = whole.index(b"movi") + (len(whole) - whole.index(b"movi")) // 2
    cut.write_bytes(whole[:at])
    ended = predict(folder, cut, "--count", folder / "LINE.toml", "--json")
    assert ended.exception.exit_code == 65
    assert "the results go so far" in ended.exception.message
    assert 0 < json.loads(ended.stdout.splitlines()[-1])["counted"]["frames"] < 30


def test_what_makes_no_sense_together_is_refused_at_once(folder, tmp_path):
    film, lines = folder / "still.avi", folder / "LINE.toml"
    for arguments, said in (
        ((film, film, "--count", lines), "name one video"),
        (("photo.png", "--count", lines), "name one video"),
        ((film, "--draw", tmp_path / "folder"), "ends in .mp4"),
    ):
        ended = predict(folder, *arguments)
        assert isinstance(ended.exception, ConfigError)
        assert said in ended.exception.message
    ended = CliRunner().invoke(
        app, ["predict", str(VECTORS / "cnn.evm"), str(film), "--count", str(lines)]
    )
    assert "finds no boxes" in ended.exception.message
    (tmp_path / "LINE.toml").write_text("")
    ended = predict(folder, film, "--count", tmp_path / "LINE.toml")
    assert "nothing would be counted" in ended.exception.message


PAVEMENT = Path("/usr/share/doc/opencv-doc/examples/data/vtest.avi")  # Debian's opencv-doc


@pytest.mark.skipif(not PAVEMENT.exists(), reason="needs Debian's opencv-doc")
def test_a_film_of_a_real_camera_is_watched_to_its_end(folder, tmp_path):
    """Nobody knows what is in it, so nothing is said of what was found."""
    drawn = tmp_path / "seen.mp4"
    ended = predict(folder, PAVEMENT, "--every", 40, "--count", folder / "LINE.toml", "--draw", drawn, "--json")  # fmt: skip
    assert ended.exit_code == 0, ended.output
    counted = json.loads(ended.stdout.splitlines()[-1])["counted"]
    assert (counted["frames"], counted["problem"]) == (20, "")
    assert counted["seconds"] == pytest.approx(76, abs=2)
    assert len(list(Video(str(drawn)))) == 20
