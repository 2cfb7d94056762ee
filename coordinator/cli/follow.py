"""The event log as it grows: of one run until it ends, or of everything for ever; and how a run looks meanwhile.

`Display` has one line per finished stage; while a stage runs, a terminal shows the rounds done and who is
still awaited.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn
from rich.text import Text

from edgeveil.coordinator.plan.config import load_config
from edgeveil.coordinator.reports.tables import SHOWN_STAGE
from edgeveil.coordinator.store.store import Store
from edgeveil.shared.events.log import Event, EventLine
from edgeveil.shared.events.search import newest
from edgeveil.shared.events.tail import Tail, size
from edgeveil.shared.terminal.door import Door

POLL_S = 0.1
ENDINGS = {
    Event.ROUND_COMMIT: ("committed", "green"),
    Event.ROUND_EVALUATE: ("evaluated", "cyan"),
    Event.ROUND_ABORT: ("aborted", "red"),
}
ENDS = (Event.RUN_FINISH, Event.RUN_FAIL, Event.RUN_STOP)


def tail(path: Path, start: int, alive: Callable[[], bool]) -> Iterator[EventLine]:
    """Events from byte `start` on, until the run ends; stops early when alive() turns false."""
    source, idle = Tail(path, start), 1
    running = True
    try:
        while True:
            if (
                idle % 10 == 0
            ):  # asked before reading, so that the last lines of a dead process are seen
                running = alive()
            lines = source.read()
            for line in lines:
                yield line
                if line.event in ENDS:
                    return
            if not running and not lines:
                return
            idle = 0 if lines else idle + 1
            if not lines:
                time.sleep(POLL_S)
    finally:
        source.close()


def follow_events(home: Path, run_id: str | None, *, last: int, go_on: bool) -> Iterator[EventLine]:
    """The newest events of the coordinator and of a run, by default the last; then new ones, for ever."""
    load_config(home)
    with Store.open(home, read_only=True) as store:
        run = store.run(run_id) if run_id is not None else store.last_run()
    paths = [home / "events.jsonl"]
    if run is not None:
        paths.append(home / "runs" / run.run_id / "events.jsonl")
    tails = {path: Tail(path, size(path)) for path in paths}
    before = sorted((line for path in paths for line in newest(path, last)), key=lambda x: x.ts)
    yield from before[len(before) - min(last, len(before)) :]
    while go_on:
        fresh = sorted(
            (line for tail in tails.values() for line in tail.read()), key=lambda x: x.ts
        )
        yield from fresh
        for line in fresh:
            path = home / "runs" / line.run / "events.jsonl"
            if line.event in {"run.create", "run.resume"} and run_id is None and path not in tails:
                tails[path] = Tail(path)
        time.sleep(POLL_S)


class Display:
    """Turns events into lines; keeps count of who is asked and who has answered.

    `outcome(round)` says what a committed round came to.
    """

    def __init__(self, console: Door, rounds: int, outcome: Callable[[int], str]) -> None:
        self._console = console
        self._rounds = rounds
        self._outcome = outcome
        self._asked: set[str] = set()
        self._answered: set[str] = set()
        self._done = 0
        self._bar: Progress | None = None
        self._task = TaskID(0)

    def show(self, line: EventLine) -> None:
        seconds = (line.dur_ms or 0) / 1000
        match Event(line.event):
            case Event.ROUND_WAIT:
                here = line.reason.replace("-", " ")
                self._wait_text(f"round {line.round}: waiting for agents ({here} connected)")
            case Event.ROUND_START:
                self._begin(line)
            case Event.AGENT_SELECT:
                self._asked.add(line.agent)
            case Event.STAGE_START:
                self._answered = set()
                self._progress(line)
            case Event.AGENT_REPLY:
                self._answered.add(line.agent)
                self._progress(line)
            case Event.AGENT_DROP:
                self._asked.discard(line.agent)
                left = Text.assemble("  ", ("dropped", "yellow"), f" {line.agent}: {line.reason}")
                self._console.print(left)
            case Event.STAGE_FINISH:
                stage, agents = SHOWN_STAGE.get(line.stage, line.stage), len(self._answered)
                self._end(f"  {stage:<7} {agents} agents  {seconds:6.2f} s")
                self._asked = set(self._answered)
            case event if event in ENDINGS:
                self._finish(event, line, seconds)

    def _finish(self, event: Event, line: EventLine, seconds: float) -> None:
        """How an attempt ended; with a reason, what it was for did not come about."""
        word, colour = ENDINGS[event]
        if event is Event.ROUND_EVALUATE and line.reason:
            word, colour = "not evaluated", "yellow"
        came_to = f": {line.reason}" if line.reason else f" in {seconds:.1f} s: {self._outcome(line.round)}"  # fmt: skip
        self._end(Text.assemble("  ", (word, colour), came_to))

    def close(self) -> None:
        self._wait_text(None)

    def _begin(self, line: EventLine) -> None:
        self._asked, self._answered, self._done = set(), set(), line.round - 1
        again = f", attempt {line.attempt}" if line.attempt > 1 else ""
        if line.reason:
            again, self._done = f", {line.reason} on devices", line.round
        self._end(Text.assemble((f"round {line.round} of {self._rounds}", "bold"), again))

    def _end(self, sentence: str | Text) -> None:
        self._wait_text(None)
        self._console.broken(Text.assemble(sentence), indent=4)

    def _progress(self, line: EventLine) -> None:
        awaited = ", ".join(sorted(self._asked - self._answered)) or "nobody"
        self._wait_text(
            f"  {SHOWN_STAGE.get(line.stage, line.stage)}: {len(self._answered)} answered, awaiting {awaited}"
        )

    def _wait_text(self, text: str | None) -> None:
        """A bar of the rounds done and what is going on, on a terminal; nothing elsewhere."""
        if text is None or not self._console.is_terminal:
            if self._bar is not None:
                self._bar.stop()
                self._bar = None
            return
        if self._bar is None:
            columns = (
                SpinnerColumn(),
                BarColumn(20),
                MofNCompleteColumn(),
                TextColumn("{task.description}", markup=False),
            )
            self._bar = Progress(*columns, console=self._console, transient=True)
            self._task = self._bar.add_task(text, total=self._rounds)
            self._bar.start()
        self._bar.update(self._task, description=text, completed=self._done)
