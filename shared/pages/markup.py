"""The few pieces of HTML that pages are put together from. What comes in as text is escaped here."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from edgeveil.shared.pages.text import escape

LONG_WORD = 20  # characters; a longer one would be cut in pieces in a narrow column


def section(anchor: str, title: str, body: str, note: str = "") -> str:
    """A part of a page with its own heading; the live page replaces it as a whole."""
    below = f'<p class="note">{escape(note, 1000)}</p>' if note else ""
    heading = f'<h2 id="{anchor}-h">{escape(title)}</h2>'
    return (
        f'<section id="{anchor}" aria-labelledby="{anchor}-h" data-live>{heading}{below}{body}</section>'
    )  # fmt: skip


@dataclass(frozen=True)
class Tile:
    """A figure that can be read from afar, what it is, and what must be known of it."""

    label: str
    value: str
    note: str = ""


def lead(sentence: str, tiles: Sequence[Tile], *, below: str = "", curve: str = "") -> str:
    """What a page begins with: one sentence, the figures, the curve. `below` the sentence and `curve` are HTML."""
    shown = "".join(
        f"<div><dt>{escape(tile.label)}</dt><dd>{escape(tile.value)}"
        f"{f'<small>{escape(tile.note)}</small>' if tile.note else ''}</dd></div>"
        for tile in tiles
    )
    figures = f'<dl class="tiles">{shown}</dl>' if tiles else ""
    return (
        f'<div class="lead"><div><p class="headline">{escape(sentence, 2000)}</p>{below}{figures}</div>'
        f"{curve}</div>"
    )


def facts(values: Mapping[str, object]) -> str:
    """Name and value pairs."""
    rows = []
    for key, value in values.items():
        shown = escape(value, 2000)
        longest = max((len(word) for word in shown.split()), default=0)
        wide = ' class="hash"' if len(shown) > 48 or longest > LONG_WORD else ""
        rows.append(f"<div{wide}><dt>{escape(key)}</dt><dd>{shown}</dd></div>")
    return f"<dl>{''.join(rows)}</dl>"


def table(headings: Sequence[str], rows: Iterable[Sequence[object]], *, label: str) -> str:
    """A table in a region that scrolls by itself; '>' before a heading means numbers.

    Cells are text; a cell of type Raw is HTML of our own making.
    """
    numeric = [heading.startswith(">") for heading in headings]
    head = "".join(
        f'<th scope="col"{_class(number)}>{escape(heading.removeprefix(">"))}</th>'
        for heading, number in zip(headings, numeric, strict=True)
    )
    body = "".join(f"<tr>{_cells(row, numeric)}</tr>" for row in rows)
    inner = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return scrolling(inner, label)


class Raw(str):
    """HTML that has been escaped already."""

    __slots__ = ()


def scrolling(inner: str, label: str) -> str:
    """Wide content that scrolls inside its own box, by keyboard too."""
    return (
        f'<div class="wide" role="region" tabindex="0" aria-label="{escape(label)}">{inner}</div>'
    )


def folded(title: str, inner: str, *, shown: bool) -> str:
    state = " open" if shown else ""
    return f"<details{state}><summary>{escape(title)}</summary>{inner}</details>"


def figure(caption: str, inner: str, note: str = "") -> str:
    below = f"<br><small>{escape(note, 1000)}</small>" if note else ""
    return f"<figure><figcaption>{escape(caption)}{below}</figcaption>{inner}</figure>"


def _cells(row: Sequence[object], numeric: Sequence[bool]) -> str:
    cells = []
    for place, (value, number) in enumerate(zip(row, numeric, strict=True)):
        shown = value if isinstance(value, Raw) else escape(value)
        name = "th" if place == 0 else "td"
        scope = ' scope="row"' if place == 0 else ""
        cells.append(f"<{name}{scope}{_class(number)}>{shown}</{name}>")
    return "".join(cells)


def _class(number: bool) -> str:
    return ' class="n"' if number else ""
