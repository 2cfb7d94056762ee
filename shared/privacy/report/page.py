"""The page of a privacy report, from text, tables and a curve, in the frame and look of every page.

It holds the report itself as data, so that `agent verify` can check the page. Whatever goes in is
escaped, so a name from elsewhere cannot become markup.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgeveil.shared.pages.charts import meter
from edgeveil.shared.pages.document import document
from edgeveil.shared.pages.markup import Tile, figure, lead, table
from edgeveil.shared.pages.text import escape
from edgeveil.shared.pages.words import Language
from edgeveil.shared.privacy.report.chart import Curve, draw
from edgeveil.shared.privacy.report.two_figures import TwoFigures
from edgeveil.shared.privacy.report.words import Words

DATA_ID = "report"
LONGEST = 4000  # characters of one sentence or list


@dataclass(frozen=True)
class Sheet:
    """A table, not shown without rows; columns named with a leading '>' hold numbers."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Section:
    """`rows` are pairs of name and value; `items` a list of sentences; each may be empty."""

    title: str
    intro: str = ""
    rows: Sequence[tuple[str, str]] = ()
    items: Sequence[str] = ()
    sheet: Sheet | None = None
    warning: bool = False


@dataclass(frozen=True)
class Page:
    """`used` is the share of the budget used, 0..1, or None where nobody here can know it.

    `calm`: it is a plan's, which is meant to be spent.
    """

    language: Language
    title: str
    subtitle: str
    headline: str
    paragraphs: Sequence[str]
    used: float | None
    tiles: Sequence[Tile]
    curve: Curve | None
    sections: Sequence[Section]
    details: Sequence[Section]
    data: Mapping[str, Any]
    calm: bool = False
    two: TwoFigures | None = None  # where noise is in shares, which `used` alone does not tell

    def render(self) -> str:
        """The whole document, UTF-8."""
        words = Words(self.language)
        body = (
            f'<a class="skip" href="#main">{text(words("skip"))}</a>'
            f'<header><small>Edgeveil</small><h1>{text(self.title)}</h1><p class="sub">{text(self.subtitle)}</p>'
            f'</header>\n<main id="main">{self._lead()}{"".join(map(_section, self.sections))}'
            f'<h2 class="part">{text(words("figures"))}</h2>\n{"".join(map(_section, self.details))}'
            f"{_data(self.data)}</main>"
        )
        return document(self.language, f"{self.title} · Edgeveil", body)

    def _lead(self) -> str:
        words = Words(self.language)
        bar = curve = ""
        if self.two is not None:
            bar = self.two.bar(self.language, calm=self.calm)
        elif self.used is not None:
            said = words("meter_used", share=f"{self.used:.1%}")
            bar = meter(self.used, said, calm=self.calm)
        if self.curve is not None:
            below = f'<p class="below">{text(self.curve.caption)}</p>'
            curve = figure(self.curve.title, draw(self.curve, words) + below)
        told = "".join(f"<p>{text(each)}</p>" for each in self.paragraphs)
        made = lead(self.headline, self.tiles, below=bar, curve=curve)
        return f"<section>{made}{told}</section>\n"


def read_data(page: str) -> Any:
    """The report inside a page that render() made; raises ValueError."""
    _, found, rest = page.partition(f'<script type="application/json" id="{DATA_ID}">')
    if not found:
        raise ValueError("this page holds no report")
    return load_strictly(rest.partition("</script>")[0])


def load_strictly(text: str) -> Any:
    """JSON in which no key stands twice and every number is finite; raises ValueError.

    Of a key that stands twice a reader sees the first and a program the last.
    """
    return json.loads(text, object_pairs_hook=_once, parse_constant=_finite, parse_float=_finite)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice")
    return found


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is not a finite number")
    return value


def _data(data: Mapping[str, Any]) -> str:
    text = json.dumps(data, sort_keys=True, allow_nan=False).replace("<", "\\u003c")
    return f'<script type="application/json" id="{DATA_ID}">{text}</script>\n'


def _section(section: Section) -> str:
    caution = ' class="caution"' if section.warning else ""
    parts = [f"<section{caution}><h2>{text(section.title)}</h2>"]
    if section.intro:
        parts.append(f"<p>{text(section.intro)}</p>")
    if section.items:
        parts.append("<ul>" + "".join(f"<li>{text(each)}</li>" for each in section.items) + "</ul>")
    if section.rows:
        rows = (f"<div><dt>{text(k)}</dt><dd>{text(v)}</dd></div>" for k, v in section.rows)
        parts.append(f'<dl class="rows">{"".join(rows)}</dl>')
    if section.sheet is not None and section.sheet.rows:
        parts.append(table(section.sheet.columns, section.sheet.rows, label=section.title))
    return "".join([*parts, "</section>\n"])


def text(value: str) -> str:
    """A whole sentence, however long."""
    return escape(value, LONGEST)
