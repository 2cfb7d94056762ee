"""What a detector says of one picture: boxes with labels and scores, in the picture's own pixels."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeveil.shared.data.boxes.letterbox import Letterbox
from edgeveil.shared.scores import boxes

SHOWN = 0.3  # the score from which a box is told, unless somebody asks for others


@dataclass(frozen=True, slots=True)
class Box:
    """Corners in pixels, half-open, from the upper left."""

    label: str
    score: float
    x1: float
    y1: float
    x2: float
    y2: float

    def as_json(self) -> dict[str, Any]:
        corners = {name: round(getattr(self, name), 2) for name in ("x1", "y1", "x2", "y2")}
        return {"label": self.label, "score": round(self.score, 6), **corners}


@dataclass(frozen=True, slots=True)
class Boxes:
    """`boxes`: the surest first."""

    boxes: tuple[Box, ...]

    def above(self, threshold: float) -> "Boxes":
        return Boxes(tuple(each for each in self.boxes if each.score >= threshold))

    def as_json(self, threshold: float = 0.0) -> dict[str, Any]:
        return {"boxes": [each.as_json() for each in self.above(threshold).boxes]}


@dataclass(frozen=True, slots=True)
class Finder:
    """`labels` of a detector, and the `side` of the square that it looks at."""

    labels: tuple[str, ...]
    side: int

    def rows(self, output: NDArray[np.float32]) -> boxes.Rows:
        """Detections (D, 6) in pixels of the square, of one picture's output (N, 5 + labels)."""
        return boxes.detections(output, self.side)

    def found(self, output: NDArray[np.float32], placed: Letterbox | None) -> Boxes:
        """In pixels of the picture that lies on the square as `placed` says; None for the square itself."""
        rows = self.rows(output)
        corners = rows[:, 2:] if placed is None else _inside(placed, rows[:, 2:])
        return Boxes(
            tuple(
                Box(self.labels[int(row[0])], float(row[1]), *map(float, corner))
                for row, corner in zip(rows, corners, strict=True)
                if corner[2] > corner[0] and corner[3] > corner[1]
            )
        )


def _inside(placed: Letterbox, corners: boxes.Rows) -> boxes.Rows:
    """Boxes end where the picture ends: in the margins is nothing."""
    found = placed.onto_picture(corners)
    wide, high = round(placed.wide / placed.across), round(placed.high / placed.down)
    return np.clip(found, 0, np.array([wide, high, wide, high], np.float64))
