"""The one way to a terminal: whatever a file, a report, a peer or a plan says can only be read, never act.

Escape sequences (C0 and C1), changes of direction and invisible characters become U+FFFD, here and nowhere
else, so that no command has to remember it. Nothing is read as markup: colour is a style of our own Text.
A line end inside a text is a character like these; only what was made to be several lines passes `lines`.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from edgeveil.shared.pages.text import harmless


class Door(Console):
    """A rich console through which nothing harmful leaves."""

    def __init__(self, **options: Any) -> None:
        super().__init__(highlight=False, soft_wrap=True, markup=False, emoji=False, **options)

    def print(self, *objects: Any, **options: Any) -> None:
        """As rich's, each text on one line."""
        super().print(*(_one_line(each) for each in objects), **options)

    def lines(self, text: str) -> None:
        """Several lines, exactly so many; nothing is added at the end."""
        super().print("\n".join(harmless(line) for line in text.split("\n")), end="")

    def broken(self, text: Text, *, indent: int) -> None:
        """One text, on a terminal in lines that end between words; all but the first stand `indent` columns in.

        A word that is wider than the terminal, such as a path, stays whole: it can be copied.
        """
        whole = _one_line(text)
        if not self.is_terminal:
            super().print(whole)
            return
        for number, (start, end) in enumerate(_lines(whole.plain, self.width, indent)):
            super().print(Text.assemble(" " * indent if number else "", whole[start:end]))

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """The last look at all text, in whatever a renderable it stands."""
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable():
                yield segment
            else:
                parts = segment.text.split("\n")
                yield Segment("\n".join(map(harmless, parts)), segment.style)


class Cells(Table):
    """A table whose cells cannot reach into other rows; line ends only in a Text of our own."""

    def add_row(self, *cells: RenderableType | None, **options: Any) -> None:
        cleaned = (harmless(cell) if isinstance(cell, str) else cell for cell in cells)
        super().add_row(*cleaned, **options)


def _lines(text: str, width: int, indent: int) -> Iterator[tuple[int, int]]:
    """Where each line begins and ends; blanks between two lines are dropped."""
    start = end = 0
    room = width
    for word in re.finditer(r"\S+", text):
        if end > start and cell_len(text[start : word.end()]) > room:
            yield start, end
            start, room = word.start(), width - indent
        end = word.end()
    if end > start:
        yield start, end


def _one_line(value: Any) -> Any:
    if isinstance(value, str):
        return harmless(value)
    if isinstance(value, Text):
        made = value.copy()
        made.plain = harmless(value.plain)  # as long as before, so styles keep their places
        return made
    return value
