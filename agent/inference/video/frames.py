"""Frames of a video file or camera, one at a time, and a sentence where they end too early.

A file is opened here and handed to the decoders as bytes, in formats that name no other file and no address: a
playlist under the name of a video opens nothing. What a decoder says of a broken frame ends nothing but that frame.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from edgeveil.shared.base.errors import DataError, NotInstalled

SUFFIXES = (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts")
CONTAINERS = "avi,mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,mpegts,mpeg,mpegvideo,ogg,flv,asf,mjpeg"
DEVICE = re.compile(r"/dev/video\d{1,3}")
STREAM = re.compile(r"(rtsp|rtsps)://\S+")
MOST_PIXELS = 50_000_000  # of one frame
MOST_BROKEN = 100  # frames or packets, one after another, that cannot be decoded
OPEN_S, READ_S = 15.0, 15.0  # a camera that is silent for longer has ended
SLACK_S = 0.5  # by which a file may be shorter than it says without a word
Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """`number` counts every frame there was, from 0; `pixels` (height, width, 3) red, green, blue."""

    number: int
    at_s: float
    pixels: Pixels


@dataclass(frozen=True, slots=True)
class Pace:
    """Which frames are given: each `every`-th; with `fps`, at most so many a second of the video; until `seconds`."""

    every: int = 1
    fps: float | None = None
    seconds: float | None = None


def is_video(name: str) -> bool:
    """By its name alone: a file with an ending of a video, a camera of this device, or an address of one."""
    return name.lower().endswith(SUFFIXES) or is_live(name)


def is_live(name: str) -> bool:
    return bool(DEVICE.fullmatch(name) or STREAM.fullmatch(name))


class Video:
    """Iterate over it once. `problem` then says why it ended before its end, or is empty.

    Raises:
        NotInstalled: without PyAV.
        DataError: nothing there that is a video.
    """

    def __init__(self, name: str, pace: Pace | None = None) -> None:
        self.name, self.pace = name, pace or Pace()
        self.problem = ""
        self._av = _library()
        self._container = self._open()
        try:
            self._stream = self._first()
        except BaseException:
            self.close()
            raise
        rate = self._stream.average_rate or self._stream.base_rate
        self.rate = float(rate) if rate else 25.0
        self._broken = 0
        self._next_s = 0.0

    def close(self) -> None:
        self._container.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    @property
    def given_rate(self) -> float:
        """About how many frames a second of the video are given."""
        rate = self.rate / self.pace.every
        return rate if self.pace.fps is None else min(rate, self.pace.fps)

    def __iter__(self) -> Iterator[Frame]:
        number, start_s, last_s = -1, None, 0.0
        for raw in self._raw():
            number += 1
            at_s = number / self.rate if raw.time is None else float(raw.time)
            start_s = at_s if start_s is None else start_s
            last_s = max(last_s, at_s - start_s)  # a clock that goes back stands still
            if self.pace.seconds is not None and last_s >= self.pace.seconds:
                return
            if not self._wanted(number, last_s):
                continue
            pixels = self._pixels(raw)
            if pixels is not None:
                yield Frame(number, last_s, pixels)
        self._judge_end(last_s)

    def _wanted(self, number: int, at_s: float) -> bool:
        if number % self.pace.every:
            return False
        if self.pace.fps is None:
            return True
        if at_s + 1e-6 < self._next_s:
            return False
        self._next_s = max(self._next_s + 1 / self.pace.fps, at_s)
        return True

    def _raw(self) -> Iterator[Any]:
        """Decoded frames; what cannot be decoded is passed over, as long as it does not go on."""
        packets = self._container.demux(self._stream)
        run = 0
        while True:
            try:
                packet = next(packets, None)
                frames = [] if packet is None else packet.decode()
            except (self._av.FFmpegError, ValueError) as error:
                self._broken, run = self._broken + 1, run + 1
                if run > MOST_BROKEN or not isinstance(error, self._av.InvalidDataError):
                    self.problem = f"cannot be read on ({_said(error)})"
                    return
                continue
            if packet is None:
                return
            run = 0 if frames else run
            yield from frames

    def _pixels(self, raw: Any) -> Pixels | None:
        """As it is shown, turned as the video says."""
        if raw.width * raw.height > MOST_PIXELS:
            self._broken += 1
            return None
        try:
            pixels = raw.to_ndarray(format="rgb24")
        except (self._av.FFmpegError, ValueError):
            self._broken += 1
            return None
        quarter = round((raw.rotation or 0) / 90) % 4
        return np.ascontiguousarray(np.rot90(pixels, quarter), dtype=np.uint8)

    def _judge_end(self, last_s: float) -> None:
        """A file that said how long it is, and is shorter."""
        promised = self._promised_s()
        if not self.problem and promised > last_s + SLACK_S + 2 / self.rate:
            self.problem = f"ends {promised - last_s:.1f} s before the end that it announces"
        if self.problem:
            self.problem = f"{self.name}: {self.problem}, {last_s:.1f} s in: the results go so far"
        elif self._broken:
            self.problem = f"{self.name}: {self._broken} frames are damaged and were passed over"

    def _promised_s(self) -> float:
        """By the header of a file; 0 where it tells nothing of the pictures alone.

        A count of frames may hold some that stand still and are not stored, so it is taken as a time.
        """
        stream, container = self._stream, self._container
        if is_live(self.name):
            return 0.0
        if stream.duration is not None and stream.time_base is not None:
            counted = float(stream.frames or 0) / self.rate
            return max(float(stream.duration * stream.time_base), counted)
        alone = not container.streams.audio and container.duration
        return container.duration / 1e6 if alone else 0.0

    def _open(self) -> Any:
        try:
            if DEVICE.fullmatch(self.name):
                return self._av.open(self.name, format="v4l2", timeout=(OPEN_S, READ_S))
            if STREAM.fullmatch(self.name):
                options = {"rtsp_transport": "tcp"}
                return self._av.open(self.name, options=options, timeout=(OPEN_S, READ_S))
            path = Path(self.name)
            if not path.is_file():
                raise DataError(f"{self.name}: no such video file")
            options = {"format_whitelist": CONTAINERS, "protocol_whitelist": "pipe"}
            return self._av.open(path.open("rb"), options=options)
        except (self._av.FFmpegError, OSError, ValueError) as error:
            raise DataError(f"{self.name}: not a readable video ({_said(error)})") from error

    def _first(self) -> Any:
        if not self._container.streams.video:
            raise DataError(f"{self.name}: there is no picture in this file")
        stream = self._container.streams.video[0]
        if stream.codec_context is None:
            raise DataError(f"{self.name}: its pictures are in a format that is not read here")
        if stream.width * stream.height > MOST_PIXELS:
            raise DataError(f"{self.name}: its frames have more than {MOST_PIXELS:,} pixels")
        stream.codec_context.options = {"max_pixels": str(MOST_PIXELS)}  # before it takes memory
        stream.thread_type = "SLICE"
        return stream


def _library() -> ModuleType:
    try:
        import av  # noqa: PLC0415 - an extra, and heavy
    except ModuleNotFoundError as error:
        raise NotInstalled("videos are read with PyAV", 'pip install "edgeveil[video]"') from error
    av.logging.set_level(None)  # decoders would write to standard error
    return av


def _said(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__)[:200]
