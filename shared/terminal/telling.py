"""What a process says on standard error while it works: text on a terminal, JSON lines anywhere else.

Events keep the fields of the log. A sentence is {"ts", "level", "event": "notice", "message"}; it is for
whoever runs this process, and is never sent.
"""

import contextlib
import sys
import time
from collections.abc import Callable
from typing import Any

from rich.text import Text

from edgeveil.shared.base.json_text import readable
from edgeveil.shared.events.log import EventLine
from edgeveil.shared.events.tail import as_text
from edgeveil.shared.pages.text import plain
from edgeveil.shared.terminal.console import stderr
from edgeveil.shared.terminal.encoding import fit_json

INDENT = 10  # columns of a clock and what follows it
MOST_SAID = 2000  # characters of one sentence
ROUTINE = ("agent.select", "agent.reply", "stage.start")  # too many to read along


def say(sentence: str, *, level: str = "info") -> None:
    if stderr.is_terminal:
        clock = time.strftime("%H:%M:%S")
        stderr.broken(Text(f"{clock}  {plain(sentence, MOST_SAID)}"), indent=INDENT)
    else:
        now = int(time.time() * 1000) / 1000
        _write_line({"ts": now, "level": level, "event": "notice", "message": sentence})


def show_event(line: EventLine, more: Callable[[], str] = str) -> None:
    """On a terminal only the main events; anywhere else all of them, with the fields of the log alone.

    `more` is asked on a terminal alone, for what else is to be said of this one.
    """
    if not stderr.is_terminal:
        _write_line(line.as_json())
    elif line.event not in ROUTINE or line.level != "info":
        shown = as_text(line)
        if said := plain(more(), MOST_SAID):
            shown.append(f"  {said}")
        stderr.broken(shown, indent=INDENT)


def _write_line(values: dict[str, Any]) -> None:
    text = fit_json(readable(values, tight=True), sys.stderr)
    with contextlib.suppress(OSError):  # nobody reads it any more; the work goes on
        sys.stderr.write(text + "\n")
        sys.stderr.flush()
