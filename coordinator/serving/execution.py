"""One run to its end: opened, driven, its state and report written, whatever ended it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgeveil.coordinator.records.records import Failure, Run, RunState
from edgeveil.coordinator.reports.summary import build
from edgeveil.coordinator.rounds.attempt_runner import Stopped, Surroundings
from edgeveil.coordinator.rounds.driver import Driver
from edgeveil.coordinator.runs.open_run import Progress
from edgeveil.coordinator.runs.runs import open_run
from edgeveil.coordinator.store.store import Store
from edgeveil.shared.base import errors, exit_codes, files, json_text
from edgeveil.shared.events.log import Event, EventLine, EventLog, Level
from edgeveil.shared.privacy.ledger.heads import SignedHead
from edgeveil.shared.terminal.telling import say
from edgeveil.shared.wire.identity import Signer

WAITING = (RunState.QUEUED, RunState.RUNNING, RunState.STOPPED)
START = "start"  # where a run failed that has not come to a round
INFO: Level = "info"
ERROR: Level = "error"


@dataclass(frozen=True, eq=False)
class Execution:
    """`surroundings(events)` gives the hands of the run's attempts; `watch` hears its event log."""

    home: Path
    store: Store
    signer: Signer
    progress: Progress
    watch: Callable[[EventLine], None]
    surroundings: Callable[[EventLog], Surroundings]
    quiet: bool = False

    def next_run(self) -> Run | None:
        """The oldest run that is queued or was interrupted."""
        return next((run for run in self.store.runs() if run.state in WAITING), None)

    def execute(self, run: Run) -> None:
        """Record how it ended. A failed run is no reason to stop; raises TransportError when that is gone."""
        self.progress.run, self.progress.stage = run.run_id, "opening"
        self.store.set_run_state(run.run_id, RunState.RUNNING)
        self.store.abandon_open_attempts(run.run_id, "COORDINATOR_RESTART")
        folder = files.private_directory(self.home / "runs" / run.run_id)
        # What is said of a run that ends in a way nobody foresaw: it can be continued.
        state, event, level, reason = RunState.STOPPED, Event.RUN_STOP, ERROR, ""
        with EventLog(folder / "events.jsonl", watch=self.watch) as events:
            try:
                reason = self._drive(run, events)
                state, event, level = RunState.FINISHED, Event.RUN_FINISH, INFO
            except Stopped:
                level = INFO
            except (errors.TransportError, errors.StoreAway, OSError):
                raise
            except errors.EdgeveilError as error:
                state, reason = self._failed(run.run_id, error, error.exit_code)
                event = Event.RUN_FAIL
            except Exception as error:
                what = f"{type(error).__name__}: {error}"
                state, reason = self._failed(run.run_id, error, exit_codes.ExitCode.BUG, what)
                event = Event.RUN_FAIL
                if state is not RunState.QUARANTINED:
                    raise
            finally:
                self.store.set_run_state(run.run_id, state, reason)
                self._save_report(run.run_id, folder)
                events.emit(event, level=level, run=run.run_id, sync=True)
                progress = self.progress
                progress.run, progress.round, progress.stage = None, None, "idle"

    def _failed(
        self, run_id: str, error: Exception, code: exit_codes.ExitCode, what: str = ""
    ) -> tuple[RunState, str]:
        """The state that this leaves the run in, and why.

        What failed twice at one place, and is not said to pass, is not tried at every start for ever.
        """
        reason = what or str(error)
        number = self.progress.round
        place = START if number is None else f"round {number}"
        noted = self.store.note_failure(run_id, Failure(place, reason, code))
        passes = code == exit_codes.ExitCode.TEMPORARY or isinstance(error, errors.RunBehind)
        if isinstance(error, errors.RunLost):
            state = RunState.LOST
        elif isinstance(error, errors.RunClosed) or (noted.times > 1 and not passes):
            state = RunState.QUARANTINED
        else:
            state = RunState.STOPPED if code == exit_codes.ExitCode.BUG else RunState.FAILED
        say(f"run {run_id} failed: {reason}", level="error")
        if state is RunState.QUARANTINED:
            say(f"run {run_id} is quarantined and not continued at the next start", level="error")
        return state, reason

    def _drive(self, run: Run, events: EventLog) -> str:
        """Why the run ended before its last round, or ""."""
        opened, learned, first = open_run(self.store, self.home, run, quiet=self.quiet)
        failure = self.store.failure(run.run_id)
        if failure is not None and failure.place == START:
            self.store.forgive(run.run_id)
        kind = Event.RUN_START if first == 1 else Event.RUN_RESUME
        parent, model = _parent(run)
        events.emit(kind, run=run.run_id, round=first, parent=parent, model=model)
        driver = Driver(
            opened,
            learned,
            store=self.store,
            signer=self.signer,
            around=self.surroundings(events),
            progress=self.progress,
        )
        return driver.drive(first)

    def _save_report(self, run_id: str, folder: Path) -> None:
        report = build(self.store.run(run_id), self.store.rounds(run_id), folder)
        files.write_atomic(folder / "report.json", "".join(json_text.pieces(report)).encode())


def _parent(run: Run) -> tuple[str, str]:
    """Whose model the run began with, and its hash, as an event names them."""
    initial = run.initial
    if initial is None:
        return "", ""
    return f"{initial.run}:{initial.round}" if initial.run else "file", initial.source_sha256


def keep_newest_head(store: Store, agent: bytes, head: SignedHead) -> None:
    """Keep the highest head an agent signed per data set; it is echoed with the next offer."""
    known = store.ledger_head(agent)
    if known:
        before = SignedHead.decode(known)
        if before.dataset == head.dataset and before.seq > head.seq:
            return
    store.set_ledger_head(agent, head.encode())
