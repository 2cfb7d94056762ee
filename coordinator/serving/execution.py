"""One run to its end: opened, driven, its state and report written, whatever ended it."""

from collections.abc import Callable
from pathlib import Path

from edgeveil.coordinator.records.records import Run, RunState
from edgeveil.coordinator.reports.summary import build
from edgeveil.coordinator.rounds.attempt_runner import Stopped, Surroundings
from edgeveil.coordinator.rounds.driver import Driver
from edgeveil.coordinator.runs.open_run import Progress
from edgeveil.coordinator.runs.runs import open_run
from edgeveil.coordinator.store.store import Store
from edgeveil.shared.base.errors import EdgeveilError, RunLost, TransportError
from edgeveil.shared.base.files import private_directory, write_atomic
from edgeveil.shared.base.json_text import pieces
from edgeveil.shared.events.log import Event, EventLine, EventLog, Level
from edgeveil.shared.privacy.ledger.heads import SignedHead
from edgeveil.shared.terminal.telling import say
from edgeveil.shared.wire.identity import Signer

WAITING = (RunState.QUEUED, RunState.RUNNING, RunState.STOPPED)
INFO: Level = "info"
ERROR: Level = "error"


class Execution:
    """`surroundings(events)` gives the hands of the run's attempts; `watch` hears its event log."""

    def __init__(
        self,
        home: Path,
        store: Store,
        *,
        signer: Signer,
        progress: Progress,
        watch: Callable[[EventLine], None],
        surroundings: Callable[[EventLog], Surroundings],
        quiet: bool = False,
    ) -> None:
        self._home = home
        self._store = store
        self._signer = signer
        self._progress = progress
        self._watch = watch
        self._surroundings = surroundings
        self._quiet = quiet

    def next_run(self) -> Run | None:
        """The oldest run that is queued or was interrupted."""
        return next((run for run in self._store.runs() if run.state in WAITING), None)

    def execute(self, run: Run) -> None:
        """Record how it ended. A failed run is no reason to stop; raises TransportError when that is gone."""
        self._progress.run, self._progress.stage = run.run_id, "opening"
        self._store.set_run_state(run.run_id, RunState.RUNNING)
        self._store.abandon_open_attempts(run.run_id, "COORDINATOR_RESTART")
        folder = private_directory(self._home / "runs" / run.run_id)
        # What is said of a run that ends in a way nobody foresaw: it can be continued.
        state, event, level, reason = RunState.STOPPED, Event.RUN_STOP, ERROR, ""
        with EventLog(folder / "events.jsonl", watch=self._watch) as events:
            try:
                reason = self._drive(run, events)
                state, event, level = RunState.FINISHED, Event.RUN_FINISH, INFO
            except Stopped:
                level = INFO
            except TransportError:
                raise
            except EdgeveilError as error:
                state = RunState.LOST if isinstance(error, RunLost) else RunState.FAILED
                event, reason = Event.RUN_FAIL, str(error)
                say(f"run {run.run_id} failed: {error}", level="error")
            finally:
                self._store.set_run_state(run.run_id, state, reason)
                self._save_report(run.run_id, folder)
                events.emit(event, level=level, run=run.run_id, sync=True)
                progress = self._progress
                progress.run, progress.round, progress.stage = None, None, "idle"

    def _drive(self, run: Run, events: EventLog) -> str:
        """Why the run ended before its last round, or ""."""
        opened, learned, first = open_run(self._store, self._home, run, quiet=self._quiet)
        events.emit(
            Event.RUN_START if first == 1 else Event.RUN_RESUME, run=run.run_id, round=first
        )
        driver = Driver(
            opened,
            learned,
            store=self._store,
            signer=self._signer,
            around=self._surroundings(events),
            progress=self._progress,
        )
        return driver.drive(first)

    def _save_report(self, run_id: str, folder: Path) -> None:
        report = build(self._store.run(run_id), self._store.rounds(run_id), folder)
        write_atomic(folder / "report.json", "".join(pieces(report)).encode())


def keep_newest_head(store: Store, agent: bytes, head: SignedHead) -> None:
    """Keep the highest head an agent signed per data set; it is echoed with the next offer."""
    known = store.ledger_head(agent)
    if known:
        before = SignedHead.decode(known)
        if before.dataset == head.dataset and before.seq > head.seq:
            return
    store.set_ledger_head(agent, head.encode())
