"""Frames of a video file or camera, one at a time, and a sentence where they end too early.

A file is opened here and handed to the decoders as bytes, in formats that name no other file and no address: a
playlist under the name of a video opens nothing. What a decoder says of a broken frame ends nothing but that frame.
A camera that goes away is asked again for a while; its frames then go on with the time that has passed.
"""

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from edgeveil.agent.inference.video.cameras import Source, is_live, waits, without_secrets
from edgeveil.shared.base.errors import DataError, NotInstalled

SUFFIXES = (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts")
MOST_PIXELS = 50_000_000  # of one frame
MOST_BROKEN = 100  # frames or packets, one after another, that cannot be decoded
SLACK_S = 0.5  # by which a file may be shorter than it says without a word
Pixels = NDArray[np.uint8]
log = logging.getLogger("edgeveil.agent")


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


class Video:
    """Iterate over it once. `problem` then says why it ended before its end, or is empty.

    Raises:
        NotInstalled: without PyAV.
        DataError: nothing there that is a video.
    """

    def __init__(self, name: str, pace: Pace | None = None) -> None:
        self.name, self.pace = without_secrets(name), pace or Pace()
        self.problem = ""
        self._address = name
        self._av = _library()
        self._broken = 0
        self._next_s = 0.0
        self._waits: Iterator[float] | None = None
        self._open()

    def close(self) -> None:
        self._source.close()

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
        last_s = 0.0
        for number, (at_s, raw) in enumerate(self._timed()):
            last_s = max(last_s, at_s)  # a clock that goes back stands still
            if self.pace.seconds is not None and last_s >= self.pace.seconds:
                return
            if not self._wanted(number, last_s):
                continue
            pixels = self._pixels(raw)
            if pixels is not None:
                yield Frame(number, last_s, pixels)
        self._judge_end(last_s)

    def _timed(self) -> Iterator[tuple[float, Any]]:
        """Decoded frames and their seconds since the first; those of a camera that came back go on by the clock."""
        began, away_s = None, 0.0
        while True:
            first_s = None
            for number, raw in enumerate(self._raw()):
                at_s = number / self.rate if raw.time is None else float(raw.time)
                first_s = at_s if first_s is None else first_s
                began = time.monotonic() if began is None else began
                self._waits = None
                yield away_s + at_s - first_s, raw
            if began is None or not is_live(self._address) or not self._back():
                return
            away_s = time.monotonic() - began

    def _back(self) -> bool:
        """Whether a camera that went away answers again."""
        why, self.problem = self.problem or "it has ended", ""
        if self._waits is None:
            log.warning("%s is away: %s; it is asked again", self.name, why)
            self._waits = waits()
        for wait_s in self._waits:
            self.close()
            time.sleep(wait_s)
            try:
                self._open()
            except DataError:
                continue
            return True
        self.problem = f"{why}, and does not come back"
        return False

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
        packets = self._source.container.demux(self._stream)
        run = 0
        while True:
            try:
                packet = next(packets, None)
                frames = [] if packet is None else packet.decode()
            except (self._av.FFmpegError, OSError, ValueError) as error:
                self._broken, run = self._broken + 1, run + 1
                if run > MOST_BROKEN or not isinstance(error, self._av.InvalidDataError):
                    self.problem = f"cannot be read on ({_said(error)})"
                    return
                continue
            if packet is None:
                return
            if frames:
                run = 0
                self._source.seen()
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
        stream, container = self._stream, self._source.container
        if is_live(self._address):
            return 0.0
        if stream.duration is not None and stream.time_base is not None:
            counted = float(stream.frames or 0) / self.rate
            return max(float(stream.duration * stream.time_base), counted)
        alone = not container.streams.audio and container.duration
        return container.duration / 1e6 if alone else 0.0

    def _open(self) -> None:
        try:
            self._source = Source(self._av, self._address)
        except (self._av.FFmpegError, OSError, ValueError) as error:
            raise DataError(f"{self.name}: not a readable video ({_said(error)})") from error
        try:
            self._stream = self._first()
        except BaseException:
            self.close()
            raise
        rate = self._stream.average_rate or self._stream.base_rate
        self.rate = float(rate) if rate else 25.0

    def _first(self) -> Any:
        """Its first stream of pictures."""
        container = self._source.container
        if not container.streams.video:
            raise DataError(f"{self.name}: there is no picture in this file")
        stream = container.streams.video[0]
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
