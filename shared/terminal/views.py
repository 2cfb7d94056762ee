"""What a task shows of an evaluation (edgeveil.shared.scores.views), on a terminal, whatever it means."""

from collections.abc import Sequence

from rich.table import Table as Printed

from edgeveil.shared.scores.views import Matrix, Table, View, said
from edgeveil.shared.terminal import console


def print_views(views: Sequence[View]) -> None:
    """Tables and matrices; pictures of other kinds need a page."""
    for view in views:
        if isinstance(view, Table):
            console.stdout.print(_table(view))
        elif isinstance(view, Matrix):
            console.stdout.print(_matrix(view))


def _table(view: Table) -> Printed:
    made = console.table(said(view.title, "en"), *(said(each, "en") for each in view.headings))
    for row in view.rows:
        made.add_row(*(f"{v:,}" if isinstance(v, int) else said(v, "en") for v in row))
    return made


def _matrix(view: Matrix) -> Printed:
    headings = (said(view.corner, "en"), *(f">{label}" for label in view.labels))
    made = console.table(said(view.title, "en"), *headings)
    for label, row in zip(view.labels, view.counts, strict=True):
        made.add_row(label, *(f"{count:,}" for count in row))
    return made
