"""Whatever is printed leaves through one door, and nothing that acts on a terminal leaves through it."""

import io
import json
import re
import unicodedata
from pathlib import Path

import pytest
from rich.console import Group
from rich.panel import Panel
from rich.text import Text

from edgeveil.shared.base.json_text import pieces, readable
from edgeveil.shared.pages.text import harmless
from edgeveil.shared.terminal.console import table
from edgeveil.shared.terminal.door import Door

ROOT = Path(__file__).resolve().parents[4]
EVIL = "a\x1b]0;x\x07\x1b[2J\x9b31m\x7f\u202eb\u2066\u200b\u2028\r\nerror: c [bold]d[/] :smile: \ud800é\u00a0"
ALLOWED = {  # who writes to the streams itself, and why that is harmless
    "shared/terminal/console.py": "the door's own room",
    "agent/measuring/probe.py": "a child that answers its parent through a pipe, in JSON",
    "shared/terminal/telling.py": "JSON from readable()",
    "coordinator/cli/look.py": "JSON lines in ASCII, CSV of harmless cells, pieces() of readable()",
    "shared/events/schema.py": "a developer's tool: our own schema",
    "agent/ledger/prv.py": "the repr of a float, to its parent",
}


def printed(*objects, terminal=False, **options):
    out = io.StringIO()
    door = Door(file=out, width=200, force_terminal=terminal, color_system=None)
    door.print(*objects, **options)
    return out.getvalue()


def acts(text):
    return [c for c in text if unicodedata.category(c)[0] == "C" or c in "\u2028\u2029"]


def test_a_text_keeps_its_length_and_loses_all_that_acts():
    made = harmless(EVIL)
    assert len(made) == len(EVIL)
    assert not acts(made)
    assert harmless("é\u00a0ε 漢字 plain") == "é\u00a0ε 漢字 plain"


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize(
    "wrapped",
    [
        lambda text: text,
        Text,
        lambda text: Text.assemble(("ok", "green"), "  ", text),
    ],
)
def test_a_printed_text_is_one_line_without_anything_that_acts(wrapped, terminal):
    shown = printed(wrapped(EVIL), terminal=terminal)
    assert acts(shown) == ["\n"], "its own end"
    assert "[bold]d[/] :smile:" in shown, "nothing is markup"


@pytest.mark.parametrize("wrapped", [lambda text: Group(Text(text)), Panel])
def test_no_renderable_carries_it_past_the_door(wrapped):
    assert set(acts(printed(wrapped(EVIL)))) <= {"\n"}


def test_a_cell_stays_in_its_row():
    made = table(EVIL, "one", EVIL, ">three")
    made.add_row(EVIL, EVIL, "3")
    shown = printed(made)
    assert set(acts(shown)) == {"\n"}
    assert not any(line.startswith("error: c") for line in shown.splitlines())


def test_json_says_the_same_and_acts_on_nothing():
    value = {EVIL: [EVIL, 1.5], "list": [{"x": EVIL}]}
    for text in (readable(value), readable(value, indent=2), readable(value, tight=True), "".join(pieces(value))):  # fmt: skip
        assert set(acts(text)) <= {"\n"}
        assert json.loads(text) == value
    assert readable("é漢ε") == '"é漢ε"'


def test_nobody_else_makes_a_console_or_writes_to_the_streams():
    way = re.compile(r"\bConsole\((?!stderr=True, quiet=True)|sys\.std(out|err)\.write|(?<!\.)\bTable\(|typer\.echo|(?<![.\w])print\(")  # fmt: skip
    found = {
        str(path.relative_to(ROOT))
        for top in ("agent", "coordinator", "shared")
        for path in (ROOT / top).rglob("*.py")
        if way.search(path.read_text())
    }
    # Tables of figures and of columns, which are data, are called so too.
    found = {
        path
        for path in found
        if not path.startswith(("shared/scores/", "shared/data/tabular/", "shared/tasks/graphs"))
    }
    found -= {"shared/terminal/door.py"}
    assert found == set(ALLOWED)
