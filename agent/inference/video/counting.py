"""Tracks counted over lines, by direction and minute; those that go the wrong way, and those that stand still."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from edgeveil.agent.inference.video.tracking import Track

MOST_EVENTS = 10_000  # that are kept one by one; counts go on
MARGIN = (
    0.1  # of the longer side of its box: how far beyond a line a thing must be to have crossed it
)
FORGET_S = 60.0  # after which a track that is no longer seen is forgotten

Point = tuple[float, float]  # shares of the frame's width and height


@dataclass(frozen=True, slots=True)
class Line:
    """From `start` to `end`. `ways` are the names of crossing it from its left to its right, seen from start to end, and back.

    Left and right are those of the picture: for a line from left to right, left of it is above. `wrong` is the way
    that nothing should go, or empty; `labels` what is counted, all if empty.
    """

    name: str
    start: Point
    end: Point
    ways: tuple[str, str] = ("forth", "back")
    wrong: str = ""
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Stopping:
    """A thing stands still that stays for `after_s` seconds within `within` of its box's longer side."""

    after_s: float
    within: float = 0.3
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Event:
    """`kind`: crossed, wrong way or stopped; `line` and `way` are empty for the last."""

    kind: str
    at_s: float
    track: int
    label: str
    line: str = ""
    way: str = ""


@dataclass(slots=True)
class Tally:
    """Crossings of one line: by way and label, and by way and minute."""

    counts: dict[tuple[str, str], int] = field(default_factory=dict)
    minutes: dict[tuple[str, int], int] = field(default_factory=dict)

    def add(self, way: str, label: str, at_s: float) -> None:
        self.counts[way, label] = self.counts.get((way, label), 0) + 1
        minute = (way, int(at_s // 60))
        self.minutes[minute] = self.minutes.get(minute, 0) + 1

    def of(self, way: str) -> int:
        return sum(count for (each, _), count in self.counts.items() if each == way)


@dataclass(slots=True)
class _Known:
    """Of one track: where it was beside each line when it was last clear of it, and where it may have stopped."""

    seen_s: float
    sides: dict[int, tuple[int, Point]] = field(default_factory=dict)
    rest: Point | None = None
    rest_s: float = 0.0
    told: bool = False


@dataclass(frozen=True, slots=True)
class _Moment:
    now_s: float
    size: tuple[int, int]  # of the frame: width, height

    def in_pixels(self, point: Point) -> Point:
        return point[0] * self.size[0], point[1] * self.size[1]


class Counter:
    """Give it the tracks of each frame in order of time, and the size of the frame."""

    def __init__(self, lines: Iterable[Line], stopping: Stopping | None = None) -> None:
        self.lines = tuple(lines)
        self.stopping = stopping
        self.tallies = tuple(Tally() for _ in self.lines)
        self.stopped = 0
        self.wrong = 0
        self.events: list[Event] = []
        self._known: dict[int, _Known] = {}
        self._swept_s = 0.0

    def update(self, tracks: Iterable[Track], now_s: float, size: tuple[int, int]) -> list[Event]:
        """What happened in this frame of width and height `size`."""
        happened: list[Event] = []
        moment = _Moment(now_s, size)
        for track in tracks:
            known = self._known.setdefault(track.number, _Known(now_s))
            known.seen_s = now_s
            for at in range(len(self.lines)):
                happened += self._beside(at, track, known, moment)
            if self.stopping is not None:
                happened += self._standing(self.stopping, track, known, now_s)
        if now_s - self._swept_s > FORGET_S:
            self._known = {n: k for n, k in self._known.items() if now_s - k.seen_s <= FORGET_S}
            self._swept_s = now_s
        self.events += happened[: MOST_EVENTS - len(self.events)]
        return happened

    def _beside(self, at: int, track: Track, known: _Known, moment: _Moment) -> list[Event]:
        """A crossing, when the track is clear of the line on the other side of it than before."""
        line, now_s = self.lines[at], moment.now_s
        if line.labels and track.label not in line.labels:
            return []
        start, end = (moment.in_pixels(point) for point in (line.start, line.end))
        here = (float(track.centre[0]), float(track.centre[1]))
        away = _distance(start, end, here)
        longer = float((track.corners[2:] - track.corners[:2]).max())
        if abs(away) <= MARGIN * longer:
            return []
        side = 1 if away > 0 else -1
        before = known.sides.get(at)
        known.sides[at] = (side, here)
        if before is None or before[0] == side or not _meets(start, end, before[1], here):
            return []
        way = line.ways[0] if side > 0 else line.ways[1]
        self.tallies[at].add(way, track.label, now_s)
        wrong = way == line.wrong
        self.wrong += wrong
        kind = "wrong way" if wrong else "crossed"
        return [Event(kind, now_s, track.number, track.label, line.name, way)]

    def _standing(self, rule: Stopping, track: Track, known: _Known, now_s: float) -> list[Event]:
        if rule.labels and track.label not in rule.labels:
            return []
        here = (float(track.centre[0]), float(track.centre[1]))
        longer = float((track.corners[2:] - track.corners[:2]).max())
        rest = known.rest
        if rest is None or max(abs(here[0] - rest[0]), abs(here[1] - rest[1])) > rule.within * longer:  # fmt: skip
            known.rest, known.rest_s, known.told = here, now_s, False
            return []
        if known.told or now_s - known.rest_s < rule.after_s:
            return []
        known.told = True
        self.stopped += 1
        return [Event("stopped", now_s, track.number, track.label)]


def _distance(start: Point, end: Point, here: Point) -> float:
    """Of a point from the whole line, in pixels; positive to its right, seen from start to end."""
    x, y = end[0] - start[0], end[1] - start[1]
    length = (x * x + y * y) ** 0.5
    return (x * (here[1] - start[1]) - y * (here[0] - start[0])) / length if length else 0.0


def _meets(start: Point, end: Point, before: Point, here: Point) -> bool:
    """Whether the way from one point to the other, on different sides of the line, leads between its ends."""
    first, second = _distance(start, end, before), _distance(start, end, here)
    share = first / (first - second)
    met = tuple(a + share * (b - a) for a, b in zip(before, here, strict=True))
    x, y = end[0] - start[0], end[1] - start[1]
    along = (met[0] - start[0]) * x + (met[1] - start[1]) * y
    return 0 <= along <= x * x + y * y
