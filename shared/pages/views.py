"""Tables and matrices of an evaluation (edgeveil.shared.scores.views) as HTML, whatever they mean."""

from collections.abc import Mapping, Sequence

from edgeveil.shared.pages.document import document
from edgeveil.shared.pages.markup import facts, scrolling, section, table
from edgeveil.shared.pages.text import escape
from edgeveil.shared.scores.views import Matrix, Table, Text, View, said


def evaluation_page(about: Mapping[str, object], views: Sequence[View]) -> str:
    """One evaluation of a model as a file of its own, in English; views of other kinds are left out."""
    parts = [section("about", "Evaluation", facts(dict(about)))]
    for at, view in enumerate(views):
        if isinstance(view, Table):
            drawn = drawn_table(view, "en")
        elif isinstance(view, Matrix):
            drawn = drawn_matrix(view, "en")
        else:
            continue
        parts.append(section(f"view-{at}", said(view.title, "en"), drawn, said(view.note, "en")))
    body = f'<main id="main"><h1>Model evaluation</h1>{"".join(parts)}</main>'
    return document("en", "Model evaluation", body)


def drawn_table(view: Table, language: str) -> str:
    def cell(value: Text | int) -> object:
        return value if isinstance(value, int) else said(value, language)

    headings = [said(heading, language) for heading in view.headings]
    rows = [[cell(value) for value in row] for row in view.rows]
    return table(headings, rows, label=said(view.title, language))


def drawn_matrix(view: Matrix, language: str) -> str:
    """Each cell shaded by its share of the row."""
    head = "".join(f'<th scope="col">{escape(name, 20)}</th>' for name in view.labels)
    rows = []
    for k, row in enumerate(view.counts):
        total = sum(row) or 1
        cells = "".join(
            f'<td class="h{min(5, round(5 * count / total))}{" hit" if j == k else ""}">{count}</td>'
            for j, count in enumerate(row)
        )
        rows.append(f'<tr><th scope="row">{escape(view.labels[k], 20)}</th>{cells}</tr>')
    corner = escape(said(view.corner, language))
    inner = (
        f'<table class="matrix"><thead><tr><th scope="col">{corner}</th>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table>"
    )
    return scrolling(inner, said(view.title, language))
