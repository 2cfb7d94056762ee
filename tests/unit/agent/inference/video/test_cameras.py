"""Cameras in the network: their pictures, what becomes of one that goes away, and what is not followed."""

import itertools
import threading
import time

import pytest
from cameras_bench import begin, film, http_camera, mjpeg, rtsp_camera
from moving_bench import street

from edgeveil.agent.inference.inputs import read
from edgeveil.agent.inference.video import cameras, frames
from edgeveil.agent.inference.video.cameras import is_live, without_secrets
from edgeveil.agent.inference.video.frames import Pace, Video
from edgeveil.shared.base.errors import DataError
from edgeveil.shared.models.taken import ImageInput

GREYS = [40, 80, 120, 160, 200]


@pytest.fixture(autouse=True)
def hasty(monkeypatch):
    """Who is away is asked twice, and at once."""
    monkeypatch.setattr(frames, "waits", lambda: iter((0.0, 0.0)))


def gone(handler):
    handler.send_error(503)


def seen(address, **pace):
    with Video(address, Pace(**pace)) as video:
        found = list(video)
    return [(frame.number, round(float(frame.pixels.mean()) / 40)) for frame in found], found, video


@pytest.mark.parametrize("length", [True, False])
def test_pictures_of_a_camera_come_with_the_time_of_their_arrival(length):
    calls, arrived, found = itertools.count(), threading.Event(), []

    def pause():
        if next(calls) == 3:
            arrived.wait(5)
            time.sleep(0.5)

    with (
        http_camera(mjpeg(GREYS, pause, length=length), gone) as (host, _),
        Video(f"http://{host}/video") as video,
    ):
        for frame in video:
            arrived.set()
            found.append(frame)
    assert [round(float(frame.pixels.mean()) / 40) for frame in found] == [1, 2, 3, 4, 5]
    assert found[0].pixels.shape == (64, 96, 3)
    assert found[-1].at_s > 0.4  # 0.16 at 25 a second, which nobody told
    assert "does not come back" in video.problem


def test_a_camera_that_comes_back_goes_on_where_the_clock_is(caplog):
    with http_camera(mjpeg(GREYS[:2]), gone, mjpeg(GREYS[2:]), gone) as (host, asked):
        told, found, _ = seen(f"http://owner:hush@{host}/video?pwd=hush")
    assert told == list(enumerate([1, 2, 3, 4, 5]))
    times = [frame.at_s for frame in found]
    assert times == sorted(times)
    assert len(asked) == 5
    assert "is away" in caplog.text
    assert "hush" not in caplog.text


def test_a_camera_ends_after_the_seconds_asked_for():
    endless = mjpeg(GREYS * 100, lambda: time.sleep(0.02))
    with http_camera(endless) as (host, _):
        _, found, video = seen(f"http://{host}/", seconds=0.3)
    assert found[-1].at_s < 0.3
    assert video.problem == ""


def test_a_silent_camera_is_not_waited_for_without_end(monkeypatch):
    monkeypatch.setattr(cameras, "READ_S", 1.5)
    done = threading.Event()
    with http_camera(mjpeg(GREYS[:2]), lambda _: done.wait(60)) as (host, _):
        told, _, video = seen(f"http://{host}/")
        silent = not done.is_set()
        done.set()
    assert silent
    assert len(told) == 2
    assert "does not come back" in video.problem


def endless_part(handler):
    begin(handler)
    handler.wfile.write(b"--frame\r\nContent-Type: image/jpeg\r\n\r\n")
    for _ in range(200):
        handler.wfile.write(bytes(10_000))


def elsewhere(handler):
    handler.send_response(302)
    handler.send_header("Location", "file:///etc/passwd")
    handler.end_headers()


def refusing(handler):
    handler.send_response(401)
    handler.send_header("WWW-Authenticate", 'Basic realm="camera"')
    handler.end_headers()


@pytest.mark.parametrize(
    ("visit", "said"),
    [
        (elsewhere, "sends elsewhere"),
        (refusing, "another user or password"),
        (gone, "status 503"),
        (lambda handler: begin(handler, "application/vnd.apple.mpegurl"), "not MJPEG"),
        (endless_part, "without a picture"),
        (begin, "not a readable video"),
    ],
)
def test_what_is_no_camera_says_so_and_is_bounded(visit, said, monkeypatch):
    monkeypatch.setattr(cameras, "MOST_BYTES", 200_000)
    with http_camera(visit) as (host, asked), pytest.raises(DataError, match=said) as raised:
        Video(f"http://owner:hush@{host}/video?pwd=hush")
    assert raised.value.message.startswith(f"http://{host}/video: ")
    assert "hush" not in raised.value.message
    assert len(asked) == 1


def test_a_password_reaches_its_camera_in_either_way_and_no_answer():
    def wanting(way):
        def visit(handler):
            given = handler.headers.get("Authorization", "")
            if given.startswith(way):
                return mjpeg(GREYS[:1])(handler)
            handler.send_response(401)
            handler.send_header("WWW-Authenticate", f'{way} realm="camera", nonce="1", qop="auth"')
            return handler.end_headers()

        return visit

    taken = ImageInput(
        kind="image", name="x", height=32, width=32, channels=3, range=(0, 1), resize="bilinear"
    )
    for way in ("Basic", "Digest"):
        with http_camera(*[wanting(way)] * 3, gone) as (host, _):
            items = list(read(f"http://owner:hush@{host}/video?pwd=hush", taken, None))
        assert items[0].name == f"http://{host}/video at 0.00 s"
        assert items[0].record.shape == (32, 32, 3)
        assert not any("hush" in item.name + item.why for item in items)


def test_an_rtsp_camera_is_read_over_one_connection():
    made = street(3, seconds=2.0, count=3)
    with (
        rtsp_camera(film(list(made.pictures()))) as host,
        Video(f"rtsp://{host}/1", Pace(seconds=1.5)) as video,
    ):
        found = list(video)
    assert 10 <= len(found) <= 16
    assert found[0].pixels.shape == (192, 320, 3)


def test_a_camera_is_asked_less_and_less_often_and_given_up(monkeypatch):
    monkeypatch.setattr(cameras, "AWAY_S", 60.0)
    now = 0.0
    monkeypatch.setattr(cameras.time, "monotonic", lambda: now)
    tries = []
    for wait_s in cameras.waits():
        tries.append(wait_s)
        now += wait_s
    assert tries == [1, 2, 4, 8, 15, 15, 15]


def test_addresses_are_told_without_what_opens_them():
    assert without_secrets("rtsp://a:b@cam.lan:554/1?user=a&pwd=b") == "rtsp://cam.lan:554/1"
    assert without_secrets("gate?.mp4") == "gate?.mp4"
    assert is_live("https://cam.lan/video")
    assert not is_live("ftp://cam.lan/video")
