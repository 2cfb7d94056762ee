"""One self-contained web page from text, tables and a curve: no script, no font, nothing is fetched.

The content policy allows the page's own style sheet by its hash and nothing else. Whatever goes in
is escaped, so a name from elsewhere cannot become markup.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from typing import Any

from edgeveil.shared.pages.document import digest
from edgeveil.shared.privacy.report.chart import Curve, draw

DATA_ID = "report"
STYLE = files(__package__).joinpath("style.css").read_text("utf-8")


@dataclass(frozen=True)
class Tile:
    label: str
    value: str
    note: str = ""


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
    """`used` is the share of the budget used, 0..1, or None where nobody here can know it."""

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

    def render(self) -> str:
        """The whole document, UTF-8."""
        return "".join(
            [
                '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n',
                f'<meta http-equiv="Content-Security-Policy" content="{content_policy()}">\n',
                '<meta name="viewport" content="width=device-width, initial-scale=1">\n',
                '<meta name="referrer" content="no-referrer">\n',
                f"<title>{escape(self.title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n",
                self._head(),
                "".join(_section(section) for section in self.sections),
                '<h2 class="part">The figures behind it</h2>\n',
                "".join(_section(section) for section in self.details),
                _data(self.data),
                "</main>\n</body>\n</html>\n",
            ]
        )

    def _head(self) -> str:
        parts = [
            f"<main>\n<header><h1>{escape(self.title)}</h1>",
            f'<p class="sub">{escape(self.subtitle)}</p></header>\n',
            f'<section class="lead"><p class="headline">{escape(self.headline)}</p>',
        ]
        if self.used is not None:
            parts.append(_bar(self.used))
        parts += [f"<p>{escape(text)}</p>" for text in self.paragraphs]
        parts.append('<dl class="tiles">')
        parts += [
            f"<div><dt>{escape(t.label)}</dt><dd>{escape(t.value)}"
            f"{f'<small>{escape(t.note)}</small>' if t.note else ''}</dd></div>"
            for t in self.tiles
        ]
        parts.append("</dl></section>\n")
        if self.curve is not None:
            caption = escape(self.curve.caption)
            parts.append(
                f"<section><h2>{escape(self.curve.title)}</h2><figure>{draw(self.curve)}"
                f"<figcaption>{caption}</figcaption></figure></section>\n"
            )
        return "".join(parts)


def content_policy() -> str:
    rules = f"default-src 'none'; style-src '{digest(STYLE)}'"
    return f"{rules}; base-uri 'none'; form-action 'none'"


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


def _bar(used: float) -> str:
    """The share used, drawn without a style attribute, which the content policy forbids."""
    width = round(100 * min(1.0, max(0.0, used)), 1)
    level = "low" if used < 0.5 else "middle" if used < 0.8 else "high"
    return (
        f'<svg class="bar {level}" viewBox="0 0 100 6" preserveAspectRatio="none" role="img" '
        f'aria-label="{width:g} percent of the budget used">'
        f'<rect class="whole" width="100" height="6"/><rect class="used" width="{width}" height="6"/>'
        "</svg>"
    )


def _section(section: Section) -> str:
    parts = [f"<section{' class=' + chr(34) + 'warn' + chr(34) if section.warning else ''}>"]
    parts.append(f"<h2>{escape(section.title)}</h2>")
    if section.intro:
        parts.append(f"<p>{escape(section.intro)}</p>")
    if section.items:
        parts.append("<ul>" + "".join(f"<li>{escape(i)}</li>" for i in section.items) + "</ul>")
    if section.rows:
        parts.append('<dl class="rows">')
        parts += [
            f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>"
            for name, value in section.rows
        ]
        parts.append("</dl>")
    if section.sheet is not None and section.sheet.rows:
        parts.append(_sheet(section.sheet))
    parts.append("</section>\n")
    return "".join(parts)


def _sheet(sheet: Sheet) -> str:
    numeric = [column.startswith(">") for column in sheet.columns]
    names = [column.removeprefix(">") for column in sheet.columns]
    head = "".join(
        f'<th scope="col"{_number(flag)}>{escape(name)}</th>'
        for name, flag in zip(names, numeric, strict=True)
    )
    body = "".join(
        "<tr>"
        + "".join(
            f"<td{_number(flag)}>{escape(cell)}</td>"
            for cell, flag in zip(row, numeric, strict=True)
        )
        + "</tr>"
        for row in sheet.rows
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _number(flag: bool) -> str:
    return ' class="n"' if flag else ""
