"""Boxes of one frame after another made into tracks, by overlap with where each thing should be by now.

No appearance, no randomness: the same boxes give the same tracks. A thing is believed when it was seen often enough,
and forgotten when it was not seen for a while; meanwhile it goes on as fast as it went.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edgeveil.shared.scores.boxes import iou

Corners = NDArray[np.float64]  # (4,): x1, y1, x2, y2 in pixels of the frame


@dataclass(frozen=True, slots=True)
class Found:
    """One detection."""

    label: str
    score: float
    corners: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Settings:
    """`least_score` of a detection, `least_overlap` with where a track should be, `sightings` before it is believed."""

    least_score: float = 0.3
    least_overlap: float = 0.2
    same: float = (
        0.5  # overlap above which two boxes are of one thing, also of two classes: the surer stays
    )
    sightings: int = 3
    patience_s: float = 1.0  # without a sighting, and
    patience: int = 3  # as many frames
    reach: float = 1.0  # in longer sides of its box: how far off a thing may be where none overlaps
    first_reach: float = 2.5  # the same while its speed is not known
    smoothing: float = 0.5  # weight of the newest speed
    most: int = 500  # tracks at once; bounds time


@dataclass(slots=True, eq=False)
class Track:
    """`corners` where it was seen last; `sightings` frames in which it was seen; `speed` of its centre in pixels a second."""

    number: int
    corners: Corners
    first_s: float
    last_s: float
    sightings: int = 1
    missed: int = 0  # frames since it was seen
    speed: NDArray[np.float64] = field(default_factory=lambda: np.zeros(2))
    votes: dict[str, float] = field(default_factory=dict)
    score: float = 0.0

    @property
    def label(self) -> str:
        """What it was taken for most surely over its life."""
        return max(self.votes, key=lambda name: self.votes[name])

    @property
    def centre(self) -> NDArray[np.float64]:
        return np.asarray((self.corners[:2] + self.corners[2:]) / 2)

    def expected(self, now_s: float) -> Corners:
        moved = self.speed * (now_s - self.last_s)
        return np.asarray(self.corners + np.tile(moved, 2))

    def see(self, found: Found, now_s: float, smoothing: float) -> None:
        before, passed = self.centre, now_s - self.last_s
        self.corners = np.array(found.corners, np.float64)
        if passed > 0:
            newest = (self.centre - before) / passed
            weight = 1.0 if self.sightings == 1 else smoothing
            self.speed = weight * newest + (1 - weight) * self.speed
        self.last_s, self.score, self.missed = now_s, found.score, 0
        self.sightings += 1
        self.votes[found.label] = self.votes.get(found.label, 0.0) + found.score


class Tracker:
    """Give it the detections of each frame in order of time."""

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self._tracks: list[Track] = []
        self._made = 0

    def update(self, found: Iterable[Found], now_s: float) -> list[Track]:
        """Every believed track that was seen in this frame; `now_s` never goes back."""
        settings = self.settings
        usable = self._apart(each for each in found if each.score >= settings.least_score)
        self._tracks = [track for track in self._tracks if not self._gone(track, now_s)]
        for track in self._tracks:
            track.missed += 1
        free = set(range(len(usable)))
        for track, at in self._pairs(usable, now_s):
            track.see(usable[at], now_s, settings.smoothing)
            free.discard(at)
        for at in sorted(free):
            if len(self._tracks) < settings.most:
                self._begin(usable[at], now_s)
        return [
            track
            for track in self._tracks
            if track.last_s == now_s and track.sightings >= settings.sightings
        ]

    def _apart(self, found: Iterable[Found]) -> list[Found]:
        """The surest first, each thing once: a detector may give one thing a box of each of two classes."""
        ordered = sorted(found, key=lambda each: -each.score)[: self.settings.most]
        corners = np.array([each.corners for each in ordered], np.float64).reshape(-1, 4)
        rivals = iou(corners, corners) > self.settings.same
        kept: list[int] = []
        for at in range(len(ordered)):
            if not rivals[at, kept].any():
                kept.append(at)
        return [ordered[at] for at in kept]

    def _gone(self, track: Track, now_s: float) -> bool:
        waited = now_s - track.last_s > self.settings.patience_s
        return waited and track.missed >= self.settings.patience

    def _begin(self, found: Found, now_s: float) -> None:
        self._made += 1
        track = Track(self._made, np.array(found.corners, np.float64), now_s, now_s)
        track.votes[found.label], track.score = found.score, found.score
        self._tracks.append(track)

    def _pairs(self, found: list[Found], now_s: float) -> list[tuple[Track, int]]:
        """Each track with at most one detection: the best overlaps first, then the nearest within reach."""
        if not found or not self._tracks:
            return []
        there = np.array([track.expected(now_s) for track in self._tracks])
        here = np.array([each.corners for each in found], np.float64)
        overlap = iou(there, here)
        overlap[overlap < self.settings.least_overlap] = 0
        near = self._nearness(there, here)
        worth = np.where(
            overlap > 0, 1 + overlap, near
        )  # an overlap is worth more than any nearness
        pairs: dict[int, int] = {}
        for place in np.argsort(-worth, axis=None, kind="stable"):
            row, column = divmod(int(place), len(found))
            if worth[row, column] <= 0:
                break
            if row not in pairs and column not in pairs.values():
                pairs[row] = column
        return [(self._tracks[row], column) for row, column in pairs.items()]

    def _nearness(self, there: Corners, here: Corners) -> NDArray[np.float64]:
        """(tracks, detections) in 0..1: 0 out of reach, or where sizes differ by more than a half."""
        middle = ((there[:, None, :2] + there[:, None, 2:]) - (here[None, :, :2] + here[None, :, 2:])) / 2  # fmt: skip
        sides = (there[:, 2:] - there[:, :2]).max(axis=1)[:, None]
        others = (here[:, 2:] - here[:, :2]).max(axis=1)[None]
        alike = np.minimum(sides, others) >= np.maximum(sides, others) / 2
        away = np.hypot(middle[..., 0], middle[..., 1]) / np.maximum(sides, 1e-9)
        settings = self.settings
        new = np.array([track.sightings == 1 for track in self._tracks])[:, None]
        reach = np.where(new, settings.first_reach, settings.reach)
        return np.asarray(np.clip(1 - away / reach, 0, 1) * alike)
