"""Inline SVG by hand: numbers in, shapes out. No script, no style attribute, no font of its own.

Everything can be told apart without colour: lines by their dashes, areas by their patterns, cells by
their height.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from edgeveil.shared.pages.text import escape, short

WIDTH, HEIGHT = 340, 190  # of a chart's own coordinates; at 360 px on screen they are about pixels
LEFT, RIGHT, TOP, BOTTOM = 46, 18, 10, 34


def number(value: float) -> str:
    """A coordinate with one decimal at most."""
    text = f"{value:.1f}"
    return text.removesuffix(".0")


def nice_ticks(low: float, high: float, wanted: int = 4) -> list[float]:
    """Round values that cover low..high, about `wanted` steps apart."""
    if not math.isfinite(low) or not math.isfinite(high) or high <= low:
        high, low = (low + 1, low) if math.isfinite(low) else (1.0, 0.0)
    raw = (high - low) / wanted
    scale = 10.0 ** math.floor(math.log10(raw))
    step = next(scale * nice for nice in (1, 2, 2.5, 5, 10) if scale * nice >= raw * 0.999)
    first = math.floor(low / step + 1e-9)
    last = math.ceil(high / step - 1e-9)
    return [round(step * tick, 12) for tick in range(first, last + 1)]


@dataclass(frozen=True)
class Scale:
    """Maps first..last and low..high onto the plotting area."""

    first: float
    last: float
    low: float
    high: float

    def x(self, value: float) -> float:
        wide = WIDTH - LEFT - RIGHT
        return LEFT + wide * (value - self.first) / ((self.last - self.first) or 1)

    def y(self, value: float) -> float:
        tall = HEIGHT - TOP - BOTTOM
        return HEIGHT - BOTTOM - tall * (value - self.low) / ((self.high - self.low) or 1)

    def points(self, xs: Sequence[float], ys: Sequence[float]) -> str:
        return " ".join(
            f"{number(self.x(x))},{number(self.y(y))}" for x, y in zip(xs, ys, strict=True)
        )


def frame(scale: Scale, ticks: Sequence[float], unit: str, across: str) -> str:
    """Grid, axes and their labels."""
    parts = []
    for tick in ticks:
        y = number(scale.y(tick))
        parts.append(f'<path class="grid" d="M{LEFT} {y}H{WIDTH - RIGHT}"/>')
        label = f"{tick * 100:g} %" if unit == "%" else f"{short(tick)}{unit}"
        parts.append(
            f'<text x="{LEFT - 5}" y="{number(scale.y(tick) + 4)}" text-anchor="end">{escape(label)}</text>'
        )
    bottom = HEIGHT - BOTTOM
    parts.append(f'<path class="axis" d="M{LEFT} {bottom}H{WIDTH - RIGHT}"/>')
    for value in _whole_ticks(scale):
        x = number(scale.x(value))
        parts.append(f'<path class="axis" d="M{x} {bottom}v4"/>')
        parts.append(f'<text x="{x}" y="{bottom + 15}" text-anchor="middle">{value:g}</text>')
    middle = (LEFT + WIDTH - RIGHT) // 2
    parts.append(
        f'<text x="{middle}" y="{HEIGHT - 4}" text-anchor="middle">{escape(across)}</text>'
    )
    return "".join(parts)


def _whole_ticks(scale: Scale) -> list[float]:
    """Rounds are whole numbers; at most nine of them are written."""
    if scale.last <= scale.first:
        return [scale.first]
    tries = (nice_ticks(scale.first, scale.last, wanted) for wanted in range(8, 0, -1))
    ticks = next((found for found in tries if all(tick == int(tick) for tick in found)), [])
    return [tick for tick in ticks if scale.first <= tick <= scale.last]


def drawing(inner: str, label: str, *, width: int = WIDTH, height: int = HEIGHT) -> str:
    """A chart with the sentence that says the same to whoever cannot see it."""
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label, 600)}">{inner}</svg>'
    )  # fmt: skip
