"""A frame with tracks, lines and counts drawn on it, and a video file of such frames."""

import importlib
import os
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from edgeveil.agent.inference.video.counting import Counter
from edgeveil.agent.inference.video.tracking import Track
from edgeveil.shared.base.errors import ConfigError
from edgeveil.shared.data.boxes.drawing import draw, write
from edgeveil.shared.data.boxes.sights import Drawn

CODECS = ("libx264", "mpeg4")  # the first that this installation has
LINE, TEXT = (255, 255, 255), (255, 255, 255)
Pixels = NDArray[np.uint8]


def drawn(pixels: Pixels, tracks: Iterable[Track], counter: Counter | None) -> Pixels:
    """A copy of a frame (height, width, 3)."""
    high, wide = pixels.shape[:2]
    thick = max(1, min(high, wide) // 240)
    boxes = []
    for track in tracks:
        x1, y1, x2, y2 = (float(value) for value in track.corners)
        text = f"{track.label} {track.number}"
        boxes.append(Drawn(text, (x1, y1, x2, y2), track.number))
    image = draw(pixels, boxes, width=thick)
    brush = importlib.import_module("PIL.ImageDraw").Draw(image)
    for at, (line, tally) in enumerate(zip(counter.lines, counter.tallies, strict=True) if counter else ()):  # fmt: skip
        ends = [(x * wide, y * high) for x, y in (line.start, line.end)]
        brush.line(ends, fill=LINE, width=thick)
        counts = ", ".join(f"{way} {tally.of(way)}" for way in line.ways)
        write(brush, (2, 14 * (at + 1)), f"{line.name}: {counts}", TEXT)
    return np.asarray(image, dtype=np.uint8)


class VideoFile:
    """An MP4 file, readable by its owner only; whole when it is left without an error, else removed."""

    def __init__(self, path: Path, rate: float) -> None:
        self._path, self._temporary = path, path.with_name(path.name + ".tmp")
        self._av = importlib.import_module("av")
        self._rate = Fraction(max(rate, 0.1)).limit_denominator(1000)
        self._stream: Any = None
        try:
            handle = os.open(self._temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        except OSError as error:
            raise ConfigError(f"{path}: cannot be written ({error.strerror})") from error
        self._file = os.fdopen(handle, "w+b")
        self._container = self._av.open(self._file, "w", format="mp4")

    def add(self, pixels: Pixels) -> None:
        """The next frame; all have the size of the first, to the last even row and column."""
        if self._stream is None:
            self._stream = self._begin(*pixels.shape[:2])
        high, wide = self._stream.height, self._stream.width
        if pixels.shape[0] < high or pixels.shape[1] < wide:
            grown = np.zeros((max(high, pixels.shape[0]), max(wide, pixels.shape[1]), 3), np.uint8)
            grown[: pixels.shape[0], : pixels.shape[1]] = pixels
            pixels = grown
        part = np.ascontiguousarray(pixels[:high, :wide])
        frame = self._av.VideoFrame.from_ndarray(part, format="rgb24")
        self._container.mux(self._stream.encode(frame))

    def _begin(self, high: int, wide: int) -> Any:
        codec = next(name for name in CODECS if name in self._av.codecs_available)
        stream = self._container.add_stream(codec, rate=self._rate)
        stream.height, stream.width, stream.pix_fmt = max(2, high // 2 * 2), max(2, wide // 2 * 2), "yuv420p"  # fmt: skip
        return stream

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        done = kind in {None, KeyboardInterrupt} and self._stream is not None
        if done:
            self._container.mux(self._stream.encode())
            self._container.close()
        self._file.close()
        if done:
            self._temporary.replace(self._path)
        else:
            self._temporary.unlink(missing_ok=True)
