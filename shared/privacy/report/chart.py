"""The burn-down as an inline SVG: how much of the budget is left after each charged round."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgeveil.shared.pages.text import escape
from edgeveil.shared.privacy.report.words import Words

WIDTH, HEIGHT = 800, 300
LEFT, RIGHT, TOP, BOTTOM = 92, 24, 20, 72
TICKS = 5

At = Callable[[float, float], tuple[float, float]]  # coordinates of (round, share)


@dataclass(frozen=True)
class Curve:
    """`points` are (round, share left in 0..1), ascending; `end` the round at which it would be 0."""

    title: str
    caption: str
    points: Sequence[tuple[int, float]]
    end: int | None = None
    across: str = ""

    @property
    def ahead(self) -> int | None:
        """`end`, unless it is so far off that it would squeeze the curve into a corner."""
        last = self.points[-1][0]
        return self.end if self.end is not None and last < self.end <= 4 * last else None


def draw(curve: Curve, words: Words) -> str:
    """An <svg> element with a title and a description for screen readers."""
    points = [(0, 1.0), *curve.points]
    last = points[-1][0]
    end = curve.ahead
    most = max(last, end or 0, 1)

    def at(number: float, share: float) -> tuple[float, float]:
        x = LEFT + (WIDTH - LEFT - RIGHT) * number / most
        y = TOP + (HEIGHT - TOP - BOTTOM) * (1 - min(1.0, max(0.0, share)))
        return round(x, 1), round(y, 1)

    line = " ".join(f"{x},{y}" for x, y in _steps(points, at))
    floor_left, floor_right = at(0, 0), at(last, 0)
    area = f"{floor_left[0]},{floor_left[1]} {line} {floor_right[0]},{floor_right[1]}"
    x, y = at(*points[-1])
    left = words("burn_left", share=f"{points[-1][1]:.0%}", n=last, across=curve.across)
    parts = [
        f'<svg class="burn" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="ct cd">',
        f'<title id="ct">{escape(curve.title)}</title>',
        f'<desc id="cd">{escape(left)}</desc>',
        *_axes(most, at, curve.across),
        f'<polygon class="area" points="{area}"/><polyline class="line" points="{line}"/>',
    ]
    if end is not None:
        ahead = at(end, 0.0)
        parts.append(f'<polyline class="ahead" points="{x},{y} {ahead[0]},{ahead[1]}"/>')
    parts.append(f'<circle class="dot" cx="{x}" cy="{y}" r="5"/></svg>')
    return "".join(parts)


def _steps(points: Sequence[tuple[int, float]], at: At) -> list[tuple[float, float]]:
    """A staircase where rounds are few: a round is charged at once; else the points alone."""
    if len(points) > 60:
        return [at(*point) for point in points]
    corners = [at(*points[0])]
    for number, share in points[1:]:
        x, y = at(number, share)
        corners += [(x, corners[-1][1]), (x, y)]
    return corners


def _axes(most: int, at: At, across: str) -> list[str]:
    parts = []
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        (left, y), (right, _) = at(0, share), at(most, share)
        parts.append(f'<line class="grid" x1="{left}" x2="{right}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text x="{left - 8}" y="{y + 8}" text-anchor="end">{share:.0%}</text>')
    every = max(1, -(-most // TICKS))
    for number in range(0, most + 1, every):
        x, y = at(number, 0)
        parts.append(f'<text x="{x}" y="{y + 30}" text-anchor="middle">{number}</text>')
    middle, bottom = (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 5
    parts.append(f'<text x="{middle}" y="{bottom}" text-anchor="middle">{escape(across)}</text>')
    return parts
