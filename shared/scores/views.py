"""Pictures of an evaluation as plain data: pages draw them without knowing what they mean."""

from collections.abc import Sequence
from dataclasses import dataclass

Words = tuple[str, str]  # English, Simplified Chinese
Text = str | Words  # what is the same in both languages is one string
Row = Sequence[Text | int]
Series = tuple[Text, Sequence[float], Sequence[float]]  # name, xs, ys


def said(text: Text, language: str) -> str:
    """`text` in that language, "en" or "zh"."""
    if isinstance(text, str):
        return text
    return text[1] if language == "zh" else text[0]


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of texts and numbers; a heading that begins with ">" stands above numbers."""

    title: Text
    headings: Sequence[Text]
    rows: Sequence[Row]
    note: Text = ""


@dataclass(frozen=True, slots=True)
class Matrix:
    """Counts, shaded by their share of the row; the diagonal is framed.

    `corner` names rows and columns; `labels` name both.
    """

    title: Text
    corner: Text
    labels: Sequence[str]
    counts: Sequence[Sequence[int]]
    note: Text = ""


@dataclass(frozen=True, slots=True)
class Curve:
    """Lines (name, xs, ys) over one axis; `unit` as of a metric."""

    title: Text
    across: Text
    lines: Sequence[Series]
    unit: str = ""
    note: Text = ""


View = Table | Matrix | Curve
