"""What processes say on standard error: text with colour on a terminal, JSON lines elsewhere."""

import json
import subprocess
import sys

from terminal_bench import shown_on_a_terminal

CODE = """
from edgeveil.shared.events.log import EventLine
from edgeveil.shared.terminal.telling import say, show_event
say("round 1: \\x1b[31mred\\n[bold]x[/]", level="warning")
show_event(EventLine(1.0, "info", "agent.reply", run="run-1", round=1, attempt=1, agent="cam-1"))
show_event(EventLine(1.5, "warning", "agent.drop", run="run-1", round=1, attempt=2, agent="cam-1", reason="lost", dur_ms=1500))
"""


def in_a_pipe():
    found = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert found.stdout == ""
    return found.stderr


def on_a_terminal(**environment):
    command = [sys.executable, "-c", CODE]
    return shown_on_a_terminal(command, columns=100, streams=["stderr"], **environment)


def test_elsewhere_every_line_is_json_with_fixed_fields():
    said, reply, drop = (json.loads(line) for line in in_a_pipe().splitlines())
    assert set(said) == {"ts", "level", "event", "message"}
    assert (said["level"], said["event"]) == ("warning", "notice")
    assert reply["event"] == "agent.reply"
    assert drop == {
        "ts": 1.5, "level": "warning", "event": "agent.drop", "run": "run-1", "round": 1, "attempt": 2,
        "agent": "cam-1", "dur_ms": 1500, "reason": "lost",
    }  # fmt: skip


def test_on_a_terminal_it_is_text_without_what_comes_too_often():
    shown = on_a_terminal()
    assert "agent.reply" not in shown
    assert "\x1b[33m" in shown, "warnings are yellow"
    assert "round 1.2" in shown
    assert "1.50 s" in shown


def test_a_sentence_cannot_move_the_cursor_or_mark_itself_up():
    shown = on_a_terminal(NO_COLOR="1")
    first = shown.splitlines()[0]
    assert "\x1b" not in first
    assert "\ufffd[31mred [bold]x[/]" in first
    assert "\x1b[33m" not in shown


LONG = """
from edgeveil.shared.terminal.telling import say
say("the quick brown fox jumps over the lazy dog at /a/path/that/is/longer/than/the/terminal/is/wide again and again")
"""


def test_a_long_sentence_is_broken_between_words_on_a_narrow_terminal():
    shown = shown_on_a_terminal(
        [sys.executable, "-c", LONG], columns=40, streams=["stderr"], NO_COLOR="1"
    )
    lines = shown.splitlines()
    assert len(lines) == 4
    words = " ".join(lines).split()[1:]
    assert " ".join(words).startswith("the quick brown fox"), "no word is cut"
    assert "/a/path/that/is/longer/than/the/terminal/is/wide" in words, "a path can be copied"
    assert all(line.startswith(" " * 10) for line in lines[1:])
    assert all(len(line) <= 40 for line in lines if "/" not in line)
