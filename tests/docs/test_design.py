"""docs/design.md can be read a paragraph at a time."""

import re
from pathlib import Path

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "design.md").read_text(encoding="utf-8")
MOST_LINES = 8
LONGEST_LINE = 120  # characters


def paragraphs(text):
    """Blocks between blank lines, without code, headings and tables; each a list of lines."""
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    for block in re.split(r"\n\s*\n", prose):
        lines = [line for line in block.strip().splitlines() if not line.startswith(("|", "#"))]
        if lines:
            yield lines


def too_long(text):
    """The beginnings of the paragraphs over the limits."""
    return [
        lines[0]
        for lines in paragraphs(text)
        if len(lines) > MOST_LINES or max(map(len, lines)) > LONGEST_LINE
    ]


def test_no_paragraph_of_the_design_is_over_eight_lines():
    assert len(list(paragraphs(TEXT))) > 40
    assert too_long(TEXT) == []


def test_a_longer_paragraph_or_line_would_be_found():
    table, code = "| a |\n" * 20, "```\n" + "x\n" * 20 + "```"
    assert too_long(f"# Heading\n\n{table}\n{code}\n\n" + "line\n" * 8) == []
    assert too_long("first\n" + "line\n" * 8) == ["first"]
    assert too_long("x" * 121) == ["x" * 121]
