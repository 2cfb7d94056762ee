"""What a task shows of an evaluation (edgeveil.shared.scores.views), as HTML, whatever it means."""

from edgeveil.coordinator.reports.charts import series, spoken
from edgeveil.coordinator.reports.words import Words
from edgeveil.shared.pages.charts import line_chart, line_key
from edgeveil.shared.pages.markup import figure
from edgeveil.shared.pages.text import escape
from edgeveil.shared.pages.views import drawn_matrix, drawn_table
from edgeveil.shared.scores.views import Curve, Matrix, Table, View, said


def drawn(view: View, words: Words) -> str:
    """One view under a heading of its own."""
    title = said(view.title, words.language)
    note = said(view.note, words.language)
    below = f'<p class="note">{escape(note)}</p>' if note else ""
    return f"<div><h3>{escape(title)}</h3>{below}{_body(view, title, words)}</div>"


def _body(view: View, title: str, words: Words) -> str:
    if isinstance(view, Table):
        return drawn_table(view, words.language)
    return (
        drawn_matrix(view, words.language)
        if isinstance(view, Matrix)
        else _curve(view, title, words)
    )


def _curve(view: Curve, title: str, words: Words) -> str:
    lines = series(view.lines, words)
    across = said(view.across, words.language)
    chart = line_chart(lines, label=spoken(lines, across), across=across, unit=view.unit)
    return figure(title, chart + line_key(lines)) if chart else ""
