"""What a task shows of an evaluation (edgeveil.shared.scores.views), as HTML, whatever it means."""

from edgeveil.coordinator.reports.charts import series, spoken
from edgeveil.coordinator.reports.words import Words
from edgeveil.shared.pages.charts import line_chart, line_key
from edgeveil.shared.pages.markup import figure, scrolling, table
from edgeveil.shared.pages.text import escape
from edgeveil.shared.scores.views import Curve, Matrix, Table, Text, View, said


def drawn(view: View, words: Words) -> str:
    """One view under a heading of its own."""
    title = said(view.title, words.language)
    note = said(view.note, words.language)
    below = f'<p class="note">{escape(note)}</p>' if note else ""
    return f"<div><h3>{escape(title)}</h3>{below}{_body(view, title, words)}</div>"


def _body(view: View, title: str, words: Words) -> str:
    if isinstance(view, Table):
        return _table(view, title, words)
    return _matrix(view, title, words) if isinstance(view, Matrix) else _curve(view, title, words)


def _table(view: Table, title: str, words: Words) -> str:
    def cell(value: Text | int) -> object:
        return value if isinstance(value, int) else said(value, words.language)

    headings = [said(heading, words.language) for heading in view.headings]
    return table(headings, [[cell(value) for value in row] for row in view.rows], label=title)


def _matrix(view: Matrix, title: str, words: Words) -> str:
    head = "".join(f'<th scope="col">{escape(name, 20)}</th>' for name in view.labels)
    rows = []
    for k, row in enumerate(view.counts):
        total = sum(row) or 1
        cells = "".join(
            f'<td class="h{min(5, round(5 * count / total))}{" hit" if j == k else ""}">{count}</td>'
            for j, count in enumerate(row)
        )
        rows.append(f'<tr><th scope="row">{escape(view.labels[k], 20)}</th>{cells}</tr>')
    corner = escape(said(view.corner, words.language))
    inner = (
        f'<table class="matrix"><thead><tr><th scope="col">{corner}</th>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table>"
    )
    return scrolling(inner, title)


def _curve(view: Curve, title: str, words: Words) -> str:
    lines = series(view.lines, words)
    across = said(view.across, words.language)
    chart = line_chart(lines, label=spoken(lines, across), across=across, unit=view.unit)
    return figure(title, chart + line_key(lines)) if chart else ""
