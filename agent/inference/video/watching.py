"""A video watched from its first frame to its last: things found, followed, counted, and drawn if that is asked for."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeveil.agent.inference.video.counting import Counter, Event
from edgeveil.agent.inference.video.drawing import VideoFile, drawn
from edgeveil.agent.inference.video.frames import Frame, Pace, Video
from edgeveil.agent.inference.video.line_file import LineFile
from edgeveil.agent.inference.video.tracking import Found, Settings, Track, Tracker

MOST_MINUTES = 7 * 24 * 60  # that are counted one by one; a time may say anything

Detect = Callable[
    [NDArray[np.uint8]], Iterable[Found]
]  # of a frame (height, width, 3), in its pixels


@dataclass(frozen=True, slots=True)
class Seen:
    """One frame: its number and time, what was believed to be there, and what happened."""

    frame: Frame
    tracks: tuple[Track, ...]
    events: tuple[Event, ...]


@dataclass(frozen=True, slots=True)
class Wanted:
    """`lines` of a LINE.toml, `draw` a video file to write; `tracking` for detectors that need other settings."""

    pace: Pace = field(default_factory=Pace)
    lines: LineFile | None = None
    draw: Path | None = None
    tracking: Settings | None = None


class Watch:
    """Iterate over it once; `counter` counts on, and `problem` says afterwards why a video ended early, if it did."""

    def __init__(self, name: str, detect: Detect, wanted: Wanted) -> None:
        """Raise NotInstalled without PyAV, DataError for what is no video."""
        lines = wanted.lines
        self.counter = Counter(lines.lines(), lines.stopping()) if lines else Counter(())
        self._tracker = Tracker(wanted.tracking)
        self._detect, self._wanted = detect, wanted
        self._video = Video(name, wanted.pace)
        self.seconds = 0.0
        self.frames = 0

    @property
    def problem(self) -> str:
        return self._video.problem

    def __iter__(self) -> Iterator[Seen]:
        with self._video:
            if self._wanted.draw is None:
                yield from self._seen()
                return
            with VideoFile(self._wanted.draw, self._video.given_rate) as target:
                for seen in self._seen():
                    target.add(drawn(seen.frame.pixels, seen.tracks, self.counter))
                    yield seen

    def _seen(self) -> Iterator[Seen]:
        for frame in self._video:
            high, wide = frame.pixels.shape[:2]
            tracks = self._tracker.update(self._detect(frame.pixels), frame.at_s)
            events = self.counter.update(tracks, frame.at_s, (wide, high))
            self.seconds, self.frames = frame.at_s, self.frames + 1
            yield Seen(frame, tuple(tracks), tuple(events))

    def as_json(self) -> dict[str, Any]:
        """Counts so far; minutes count from the first frame."""
        minutes = min(int(self.seconds // 60) + 1, MOST_MINUTES)
        return {
            "seconds": round(self.seconds, 3),
            "frames": self.frames,
            "lines": [
                {
                    "name": line.name,
                    "ways": {
                        way: {
                            "count": tally.of(way),
                            "per_minute": [tally.minutes.get((way, m), 0) for m in range(minutes)],
                            "by_class": {k: n for (w, k), n in tally.counts.items() if w == way},
                        }
                        for way in line.ways
                    },
                }
                for line, tally in zip(self.counter.lines, self.counter.tallies, strict=True)
            ],
            "wrong_way": self.counter.wrong,
            "stopped": self.counter.stopped,
            "problem": self.problem,
        }
