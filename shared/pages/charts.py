"""The charts of all pages: lines, stacked bars, participation strips, a budget meter."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from edgeveil.shared.pages.svg import LEFT, RIGHT, WIDTH, Scale, drawing, frame, nice_ticks, number
from edgeveil.shared.pages.text import escape

MOST_POINTS = 240  # of one line; more cannot be told apart on 340 units
MOST_BARS = 60
LEAST_SHARE = 0.04  # smaller differences are noise and must not look like a cliff
LEAST_CELLS = 12  # a short run must not be stretched over the whole width
DASHES = ("", "5 3", "2 2", "8 3 2 3")


@dataclass(frozen=True)
class Line:
    """`kind` is a class of style.css: one, two, thin, limit."""

    name: str
    xs: Sequence[float]
    ys: Sequence[float]
    kind: str = "one"
    dash: str = ""


def line_chart(
    lines: Sequence[Line], *, label: str, across: str, unit: str = "", low: float | None = None,
    high: float | None = None,
) -> str:  # fmt: skip
    """Lines over rounds; empty when there is nothing to draw. `unit` "%" shows shares of one.

    The axis reaches from `low` to `high`; where one is not given, as far as the values do.
    """
    drawn = [_thinned(line) for line in lines if line.xs]
    if not drawn:
        return ""
    ys = [y for line in drawn for y in line.ys]
    least, most = _reach(ys, share=unit == "%")
    ticks = nice_ticks(least if low is None else low, most if high is None else high)
    xs = [x for line in drawn for x in line.xs]
    scale = Scale(min(xs), max(xs), ticks[0], ticks[-1])
    parts = [frame(scale, ticks, unit, across)]
    for line in drawn:
        dash = f' stroke-dasharray="{line.dash}"' if line.dash else ""
        points = scale.points(line.xs, line.ys)
        parts.append(f'<polyline class="line {line.kind}"{dash} points="{points}"/>')
        if len(line.xs) == 1:
            x, y = number(scale.x(line.xs[0])), number(scale.y(line.ys[0]))
            parts.append(f'<circle class="dot" cx="{x}" cy="{y}" r="3"/>')
    return drawing("".join(parts), label)


def _reach(ys: Sequence[float], *, share: bool) -> tuple[float, float]:
    """Lowest and highest value; shares never further apart than 0..1 nor closer than LEAST_SHARE."""
    least, most = min(ys), max(ys)
    if not share or most - least >= LEAST_SHARE:
        return least, most
    least = max(0.0, min(1.0 - LEAST_SHARE, (least + most - LEAST_SHARE) / 2))
    return least, least + LEAST_SHARE


def _thinned(line: Line) -> Line:
    if len(line.xs) <= MOST_POINTS:
        return line
    kept = shown_places(len(line.xs))
    return Line(
        line.name, [line.xs[n] for n in kept], [line.ys[n] for n in kept], line.kind, line.dash
    )


def shown_places(count: int) -> list[int]:
    """Every n-th of `count` points, the last one always; maxima between them are lost, the trend is not."""
    step = max(1, -(-count // MOST_POINTS))
    return [*range(0, count - 1, step), count - 1] if count else []


def line_key(lines: Sequence[Line]) -> str:
    """What each kind of line means."""
    items = []
    for line in lines:
        dash = f' stroke-dasharray="{line.dash}"' if line.dash else ""
        sample = f'<svg viewBox="0 0 32 18" aria-hidden="true"><path class="line {line.kind}"{dash} d="M0 9H32"/></svg>'
        items.append(f"<li>{sample}{escape(line.name)}</li>")
    return f'<ul class="key">{"".join(items)}</ul>'


# One pattern per place in the stack: solid, diagonal, dots, cross, horizontal.
_PATTERNS = (
    '<rect width="6" height="6" fill="currentColor" fill-opacity=".75"/>',
    '<path d="M-1 1l2-2M0 6l6-6M5 7l2-2" stroke="currentColor" stroke-width="1.4"/>',
    '<circle cx="3" cy="3" r="1.3" fill="currentColor"/>',
    '<path d="M0 0l6 6M6 0l-6 6" stroke="currentColor" stroke-width=".9"/>',
    '<path d="M0 3H6" stroke="currentColor" stroke-width="1.4"/>',
)


def stacked_bars(
    names: Sequence[str], xs: Sequence[float], heights: Sequence[Sequence[float]], *, label: str,
    across: str, unit: str,
) -> str:  # fmt: skip
    """One bar per x, one patterned layer per name; neighbours are averaged when there are too many."""
    if not xs:
        return ""
    groups = _groups(xs, heights)
    totals = [sum(layers) for _, layers in groups]
    ticks = nice_ticks(0.0, max(totals) or 1.0)
    scale = Scale(min(xs) - 0.5, max(xs) + 0.5, 0.0, ticks[-1])
    wide = (WIDTH - LEFT - RIGHT) / len(groups)
    parts = ["<defs>", *(_pattern(place) for place in range(len(names))), "</defs>"]
    parts.append(frame(scale, ticks, unit, across))
    for place, (_, layers) in enumerate(groups):
        x, base = LEFT + place * wide + wide * 0.1, 0.0
        for layer, height in enumerate(layers):
            top, bottom = scale.y(base + height), scale.y(base)
            if bottom - top >= 0.05:
                parts.append(
                    f'<rect class="bar" x="{number(x)}" y="{number(top)}" width="{number(wide * 0.8)}" '
                    f'height="{number(bottom - top)}" fill="url(#p{layer})"/>'
                )
            base += height
    return drawing("".join(parts), label)


def _groups(
    xs: Sequence[float], heights: Sequence[Sequence[float]]
) -> list[tuple[float, list[float]]]:
    size = -(-len(xs) // MOST_BARS)
    made = []
    for at in range(0, len(xs), size):
        rows = heights[at : at + size]
        made.append((xs[at], [sum(column) / len(rows) for column in zip(*rows, strict=True)]))
    return made


def _pattern(place: int) -> str:
    inner = _PATTERNS[place % len(_PATTERNS)]
    return f'<pattern id="p{place}" width="6" height="6" patternUnits="userSpaceOnUse">{inner}</pattern>'


def bar_key(names: Sequence[str]) -> str:
    """The patterns of stacked_bars(); to be shown on the same page."""
    items = [
        f'<li><svg viewBox="0 0 32 18" aria-hidden="true"><rect class="bar" x=".5" y=".5" width="31" height="17" fill="url(#p{place})"/></svg>{escape(name)}</li>'
        for place, name in enumerate(names)
    ]
    return f'<ul class="key">{"".join(items)}</ul>'


# What an agent did in one attempt: class of style.css, top and height of its cell out of 10.
CELLS: Mapping[str, tuple[str, int, int]] = {
    "survived": ("full", 0, 10),
    "dropped": ("half", 5, 5),
    "refused": ("top", 0, 3),
    "": ("", 9, 0),
}


def strip(cells: Sequence[str], label: str, titles: Sequence[str] = ()) -> str:
    """One row of a participation map; `titles`, if any, one per cell, are shown on pointing at it."""
    parts = ['<path class="axis" d="M0 9.9H100000"/>']
    if titles:
        for at, (cell, title) in enumerate(zip(cells, titles, strict=True)):
            kind, top, tall = CELLS[cell]
            if tall:
                parts.append(
                    f'<rect class="{kind} edge" x="{at}" y="{top}" width="1" height="{tall}"><title>{escape(title)}</title></rect>'
                )
    else:
        parts += [_runs(cells, cell) for cell in CELLS if cell in cells and cell]
    return (
        f'<svg viewBox="0 0 {max(LEAST_CELLS, len(cells))} 10" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(label)}">{"".join(parts)}</svg>'
    )


def _runs(cells: Sequence[str], wanted: str) -> str:
    """All cells of one kind as a single path, neighbours joined."""
    kind, top, tall = CELLS[wanted]
    path, at, pen = [], 0, 0
    for cell, run in groupby(cells):
        length = len(list(run))
        if cell == wanted:
            path.append(f"m{at - pen} 0h{length}v{tall}h-{length}z")
            pen = at
        at += length
    return f'<path class="{kind}" d="M0 {top}{"".join(path)}"/>'


def strip_key(names: Mapping[str, str]) -> str:
    items = []
    for cell, name in names.items():
        kind, top, tall = CELLS[cell]
        shape = f'<rect class="{kind}" y="{top}" width="18" height="{tall}"/>' if tall else ""
        items.append(
            f'<li><svg viewBox="0 0 18 10" aria-hidden="true"><path class="axis" d="M0 9.5H18"/>{shape}</svg>{escape(name)}</li>'
        )
    return f'<ul class="key">{"".join(items)}</ul>'


def meter(share: float, label: str, *, calm: bool = False, inner: float | None = None) -> str:
    """How much of a budget is spent, 0..1; `calm`: where all of it is meant to be spent.

    With `inner` one bar has two marks, at `inner` and at `share`, and only what lies before the first is solid.
    Drawn without a style attribute, which the page's policy forbids.
    """
    width, faint, parts = _percent(share), "", ""
    if inner is not None:
        marks = "".join(f"M{min(99.4, max(0.6, x)):g} 0V6" for x in (_percent(inner), width))
        faint = " faint"
        parts = f'<rect class="used" width="{_percent(inner):g}" height="6"/><path class="mark" d="{marks}"/>'
    return (
        f'<svg class="meter {_level(share, calm=calm)}" viewBox="0 0 100 6" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(label)}"><rect class="whole" width="100" height="6"/>'
        f'<rect class="used{faint}" width="{width:g}" height="6"/>{parts}</svg>'
    )


def both_key(said: tuple[str, str], share: float, *, calm: bool = False) -> str:
    """What the solid and the faint part of a meter with two marks mean; `share` and `calm` as of that meter."""
    level = _level(share, calm=calm)
    items = (
        f'<li><svg class="meter {level}" viewBox="0 0 32 18" aria-hidden="true"><rect class="used{faint}" y="3" '
        f'width="32" height="12"/></svg>{escape(text, 2000)}</li>'
        for faint, text in zip(("", " faint"), said, strict=True)
    )
    return f'<ul class="key both">{"".join(items)}</ul>'


def _percent(share: float) -> float:
    return round(100 * min(1.0, max(0.0, share)), 1)


def _level(share: float, *, calm: bool) -> str:
    if calm:
        return "calm"
    return "low" if share < 0.5 else "middle" if share < 0.8 else "high"
