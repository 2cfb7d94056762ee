"""`coordinator run` and the demo look over the coordinator's shoulder.

One line per finished stage on stderr; while a stage runs, a terminal shows the rounds done and who is
still awaited.
"""

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn
from rich.text import Text

from edgeveil.coordinator.reports.tables import SHOWN_STAGE
from edgeveil.shared.events.log import Event, EventLine


class Display:
    """Turns events into lines; keeps count of who is asked and who has answered."""

    def __init__(self, console: Console, rounds: int) -> None:
        self._console = console
        self._rounds = rounds
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
            case Event.ROUND_COMMIT:
                self._end(Text.assemble("  ", ("committed", "green"), f" in {seconds:.1f} s"))
            case Event.ROUND_ABORT:
                self._end(Text.assemble("  ", ("aborted", "red"), f": {line.reason}"))

    def close(self) -> None:
        self._wait_text(None)

    def _begin(self, line: EventLine) -> None:
        self._asked, self._answered, self._done = set(), set(), line.round - 1
        again = f", attempt {line.attempt}" if line.attempt > 1 else ""
        self._end(Text.assemble((f"round {line.round} of {self._rounds}", "bold"), again))

    def _end(self, sentence: str | Text) -> None:
        self._wait_text(None)
        self._console.print(sentence)

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
