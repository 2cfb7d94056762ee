"""The one bar for long work: on a terminal, when it takes long, and nowhere else."""

import io
import time
from contextlib import contextmanager
from unittest.mock import patch

import pytest
from rich.console import Console

import shared.progress
from shared.progress import counted, progress, silent


@contextmanager
def a_terminal(*, real=True, columns=60):
    written = io.StringIO()
    console = Console(file=written, force_terminal=real, width=columns, highlight=False)
    with patch.object(shared.progress, "stderr", console):
        yield written


def work(steps, seconds, **options):
    with progress("reading rounds", steps, **options) as step:
        for _ in range(steps):
            time.sleep(seconds)
            step(1)


def test_long_work_shows_what_it_is_and_how_far_it_got():
    with a_terminal() as written:
        work(8, 0.12)
    assert "reading rounds" in written.getvalue()
    assert "%" in written.getvalue()


@pytest.mark.parametrize("columns", [20, 40])
def test_a_narrow_terminal_gets_no_line_that_wraps(columns):
    with a_terminal(columns=columns) as written:
        work(8, 0.12)
    assert "reading" in written.getvalue()


def test_work_that_ends_soon_shows_nothing():
    with a_terminal() as written:
        work(100, 0.0)
    assert written.getvalue() == ""


def test_pipes_quiet_and_json_modes_get_nothing():
    with a_terminal(real=False) as written:
        work(8, 0.12)
    assert written.getvalue() == ""
    with a_terminal() as written:
        work(8, 0.12, quiet=True)
    assert written.getvalue() == ""


def test_the_bar_is_taken_away_when_the_work_fails():
    def fail():
        with progress("failing", 10) as step:
            time.sleep(shared.progress.PATIENCE_S)
            step(1)
            raise ZeroDivisionError

    with a_terminal() as written, pytest.raises(ZeroDivisionError):
        fail()
    assert "\x1b[?25h" in written.getvalue(), "the cursor is back"


def test_items_are_counted_one_by_one():
    seen = []
    assert list(counted("abc", seen.append)) == ["a", "b", "c"]
    assert seen == [1, 1, 1]
    silent(1)
