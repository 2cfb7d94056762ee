"""The part of `coordinator serve` that takes plans and executes runs, in this process and without a network."""

import threading
from contextlib import contextmanager

from look_bench import run

from edgeveil.coordinator.plan.config import identity_path, load_config
from edgeveil.coordinator.rounds.attempt_runner import Surroundings
from edgeveil.coordinator.runs.open_run import Progress
from edgeveil.coordinator.serving import admin, admin_client, answers, execution
from edgeveil.coordinator.serving.status import status_of
from edgeveil.coordinator.store.store import Store
from edgeveil.shared.base.clock import SystemClock
from edgeveil.shared.events.log import EventLog
from edgeveil.shared.wire.identity import Identity


class Desk:
    """A home with its admin socket; runs are executed by `work` alone."""

    def __init__(self, home, transport=None, names=None):
        self.home, self.store = home, Store.open(home)
        self.events = EventLog(home / "events.jsonl")
        self.progress = Progress()
        self.execution = execution.Execution(
            home,
            self.store,
            signer=Identity.load(identity_path(home)),
            progress=self.progress,
            watch=lambda _line: None,
            surroundings=lambda events: Surroundings(
                transport=transport,
                events=events,
                clock=SystemClock(),
                stop=threading.Event(),
                names=names or {},
                note_head=lambda _agent, _head: None,
                housekeeping=lambda: None,
            ),
            quiet=True,
        )
        self._admin = admin.AdminServer(
            home / admin_client.SOCKET,
            {
                "submit": lambda asked: answers.take_plan(home, self.store, self.events, asked),
                "status": lambda _: self._status(),
            },
        )

    def _status(self):
        found = status_of(self.store, self.home, load_config(self.home), {})
        return found | {"pid": 1, "run": self.progress.run, "round": None, "stage": "idle"}

    def work(self):
        """Everything that waits, as `serve` would at its start; how many runs that were."""
        done = 0
        while (waiting := self.execution.next_run()) is not None and done < 5:
            self.execution.execute(waiting)
            done += 1
        return done

    def follow(self, *arguments):
        """`coordinator run …` beside a thread that executes what it queues."""
        stop = threading.Event()

        def serve():
            while not stop.wait(0.05):
                self.work()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            return run(self.home, "run", *arguments, check=False)
        finally:
            stop.set()
            thread.join()

    def open(self):
        self._admin.start()
        return self

    def close(self):
        self._admin.stop()
        self.events.close()
        self.store.close()


@contextmanager
def desk(home, **options):
    made = Desk(home, **options).open()
    try:
        yield made
    finally:
        made.close()
