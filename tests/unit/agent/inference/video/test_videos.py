"""Videos: frames at the pace asked for, broken ones told in a sentence, drawn ones for their owner alone."""

import json
from pathlib import Path

import numpy as np
import pytest
from moving_bench import HIGH, RATE, WIDE, street, write_video

from edgeveil.agent.inference.video import frames as frames_of
from edgeveil.agent.inference.video.cameras import is_live
from edgeveil.agent.inference.video.frames import Pace, Video, is_video
from edgeveil.agent.inference.video.line_file import LineFile
from edgeveil.agent.inference.video.tracking import Found
from edgeveil.agent.inference.video.watching import Wanted, Watch
from edgeveil.shared.base.config import load, validate
from edgeveil.shared.base.errors import ConfigError, DataError

VTEST = Path("/usr/share/doc/opencv-doc/examples/data/vtest.avi")
LINES = {"line": [{"name": "middle", "start": [0.5, 0.0], "end": [0.5, 1.0], "ways": ["left", "right"]}]}  # fmt: skip


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """Eight seconds of a street, as a file."""
    made = street(78, seconds=8.0, count=12)
    path = tmp_path_factory.mktemp("film") / "street.mp4"
    write_video(path, made.pictures())
    return path, made


def numbers(path, **pace):
    with Video(str(path), Pace(**pace)) as video:
        return [frame.number for frame in video], video


def test_every_frame_comes_with_its_time(film):
    path, made = film
    with Video(str(path)) as video:
        found = list(video)
        assert video.rate == RATE
        assert video.problem == ""
    assert [frame.number for frame in found] == list(range(made.frames))
    assert [frame.at_s for frame in found] == pytest.approx([at / RATE for at in range(80)])
    first = next(made.pictures())
    assert found[0].pixels.shape == (HIGH, WIDE, 3)
    assert np.abs(found[0].pixels.astype(int) - first).mean() < 12


def test_a_pace_takes_some_of_them(film):
    assert numbers(film[0], every=10)[0] == list(range(0, 80, 10))
    assert numbers(film[0], fps=2.0)[0] == list(range(0, 80, 5))
    assert numbers(film[0], seconds=1.0)[0] == list(range(10))
    assert Video(str(film[0]), Pace(every=5)).given_rate == 2


def test_a_file_that_is_cut_short_gives_what_there_is_and_a_sentence(film, tmp_path):
    whole = film[0].read_bytes()
    avi = tmp_path / "street.avi"
    write_video(avi, film[1].pictures())
    cut = tmp_path / "cut.avi"
    cut.write_bytes(avi.read_bytes()[: avi.stat().st_size // 2])
    found, video = numbers(cut)
    assert 10 < len(found) < 80
    assert "s in: the results go so far" in video.problem
    assert "before the end that it announces" in video.problem
    headless = tmp_path / "cut.mp4"  # its index stood at the end
    headless.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="not a readable video"):
        Video(str(headless))


@pytest.mark.skipif(not VTEST.exists(), reason="apt-get install opencv-doc")
def test_a_film_with_frames_left_out_is_no_film_cut_short():
    """68 pictures stand for 444 frames, and last as long."""
    found, video = numbers(VTEST.with_name("tree.avi"))
    assert len(found) == 68
    assert video.problem == ""


def test_damaged_bytes_end_no_process(film, tmp_path):
    whole, random = film[0].read_bytes(), np.random.default_rng(4)
    for at in range(12):
        bad = bytearray(whole)
        for place in random.integers(0, len(bad), 30):
            bad[place] = int(random.integers(256))
        path = tmp_path / f"{at}.mp4"
        path.write_bytes(bad)
        try:
            found, _ = numbers(path)
        except DataError:
            continue
        assert len(found) <= 400


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no video",
        b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n",
        b"ffconcat version 1.0\nfile /etc/passwd\n",
        b"RIFF\x04\x00\x00\x00WAVE",
    ],
)
def test_what_is_no_video_opens_nothing(data, tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"a\.mp4: (not a readable video|there is no picture)"):
        Video(str(path))


def test_a_name_leads_to_no_address_but_a_camera():
    for name in ("ftp://example.org/a.mp4", "concat:a.mp4|b.mp4", "/dev/null", "missing.mp4"):
        with pytest.raises(DataError, match="no such video file"):
            Video(name)
    assert is_video("a.MP4")
    assert is_video("rtsp://camera.local/1")
    assert is_live("/dev/video0")
    assert not is_live("/dev/video0/../sda")
    assert not is_video("photo.jpg")


def test_frames_that_are_too_large_are_not_decoded(film, monkeypatch):
    monkeypatch.setattr(frames_of, "MOST_PIXELS", 100)
    with pytest.raises(DataError, match="its frames have more than 100 pixels"):
        Video(str(film[0]))


def test_frames_that_grow_on_the_way_end_nothing(film):
    with Video(str(film[0])) as video:
        video._stream.codec_context.options = {"max_pixels": "100"}
        assert list(video) == []
        assert video.problem


def truth_of(made):
    """A detector that knows what the street shows, frame by frame."""
    at = iter(range(made.frames))

    def detect(_pixels):
        now_s = next(at) / RATE
        return [Found(label, 0.9, corners) for label, corners in made.truth(now_s)]

    return detect


def test_a_film_is_watched_counted_and_drawn(film, tmp_path):
    path, made = film
    target = tmp_path / "out.mp4"
    wanted = Wanted(lines=validate(LINES, LineFile, source="LINE"), draw=target)
    watch = Watch(str(path), truth_of(made), wanted)
    events = [event for seen in watch for event in seen.events]
    told = watch.as_json()
    json.dumps(told)
    right, left = made.crossings()
    ways = told["lines"][0]["ways"]
    assert (ways["right"]["count"], ways["left"]["count"]) == (right, left)
    assert right + left == len(events) > 0
    assert sum(ways["right"]["per_minute"]) == right
    assert (told["frames"], told["problem"]) == (80, "")
    assert target.stat().st_mode & 0o777 == 0o600
    with Video(str(target)) as drawn, Video(str(path)) as plain:
        pairs = list(zip(drawn, plain, strict=True))
    assert len(pairs) == 80
    changed = np.abs(pairs[40][0].pixels.astype(int) - pairs[40][1].pixels).max(axis=2) > 60
    assert changed[:, WIDE // 2 - 1 : WIDE // 2 + 2].any(axis=1).mean() > 0.5  # the line
    assert not list(tmp_path.glob("*.tmp"))


def test_a_drawing_that_ends_with_an_error_leaves_no_file(film, tmp_path):
    def detect(_pixels):
        raise DataError("stop")

    with pytest.raises(DataError, match="stop"):
        list(Watch(str(film[0]), detect, Wanted(draw=tmp_path / "out.mp4")))
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ConfigError, match="cannot be written"):
        list(Watch(str(film[0]), lambda _: [], Wanted(draw=tmp_path / "none/out.mp4")))


@pytest.mark.skipif(not VTEST.exists(), reason="apt-get install opencv-doc")
def test_a_real_film_is_read_and_drawn(tmp_path):
    target = tmp_path / "out.mp4"

    def moving(pixels):
        """Boxes without truth: this is about files."""
        return [Found("person", 0.5, (10.0, 10.0, 60.0, 120.0))] if pixels.shape == (576, 768, 3) else []  # fmt: skip

    watch = Watch(str(VTEST), moving, Wanted(pace=Pace(every=10, seconds=20), draw=target))
    assert [seen.frame.at_s for seen in watch] == pytest.approx(range(20))
    assert watch.problem == ""
    with Video(str(target)) as drawn:
        assert len(list(drawn)) == 20


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "nothing would be counted"),
        ('[[line]]\nname = "a"\nstart = [0, 0]\nend = [0, 0]', "the same point"),
        ('[[line]]\nname = "a"\nstart = [0, 0]\nend = [2, 0]', "less than or equal to 1"),
        ('[[line]]\nname = "a"\nstart = [0, 0]\nend = [1, nan]', "end"),
        ('[[line]]\nname = "a"\nstart = [0, 0]\nend = [1, 0]\nwrong = "up"', "one of ways"),
        ('[[line]]\nname = "a"\nstart = [0, 0]\nend = [1, 0]\nways = ["x", "x"]', "one name"),
        ('[[line]]\nname = "a"\nstart = [0, 0]\nend = [1, 0]\ncolour = "red"', "colour"),
        ("[stopped]\nafter_s = -1", "after_s"),
    ],
)
def test_a_line_file_says_what_is_wrong_with_it(text, said, tmp_path):
    path = tmp_path / "LINE.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=said):
        load(path, LineFile)
