"""`coordinator run PLAN --check` in a running coordinator: asked in the admin thread, carried out between runs.

The transport belongs to the main thread and serves one run at a time, so a check waits for none.
"""

import queue
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from typing import Any

from edgeveil.coordinator.plan.plan import Plan
from edgeveil.coordinator.rounds.attempt_runner import Stopped, Surroundings
from edgeveil.coordinator.rounds.preflight.check import RUN, check
from edgeveil.coordinator.runs.open_run import Progress
from edgeveil.coordinator.runs.runs import find_task
from edgeveil.coordinator.store.store import Store
from edgeveil.shared.base.config import validate
from edgeveil.shared.base.errors import Busy, EdgeveilError
from edgeveil.shared.tasks import registry
from edgeveil.shared.wire.identity import Signer
from edgeveil.shared.wire.messages import Attempt

LOOK_S = 0.5


class PlanChecks:
    """`ask` is for the admin's threads, `answer` for the main thread while no run is under way."""

    def __init__(self, store: Store, signer: Signer, progress: Progress) -> None:
        self._store = store
        self._signer = signer
        self._progress = progress
        self._queue: queue.SimpleQueue[tuple[Plan, Future[dict[str, Any]]]] = queue.SimpleQueue()

    def ask(self, asked: dict[str, Any], wake: Callable[[], None]) -> dict[str, Any]:
        """Of whom the plan would find; see coordinator.rounds.preflight.check.

        Raises:
            ConfigError: no such plan.
            Busy: a run is under way.
        """
        plan = validate(asked["plan"], Plan, source="plan")
        found: Future[dict[str, Any]] = Future()
        self._queue.put((plan, found))
        wake()
        while True:
            try:
                return found.result(timeout=LOOK_S)
            except TimeoutError:
                run = self._progress.run
                if run is not None and found.cancel():
                    raise Busy(f"run {run} is under way; check when it has ended") from None
            except CancelledError:
                raise Busy("the coordinator is stopping") from None

    def answer(self, around: Surroundings) -> None:
        """Carry out what was asked; raises TransportError when the transport is gone."""
        while not self._queue.empty():
            plan, found = self._queue.get()
            if not found.set_running_or_notify_cancel():
                continue
            try:
                found.set_result(self._check(plan, around))
            except Stopped:
                found.set_exception(Busy("the coordinator is stopping"))
            except EdgeveilError as error:
                found.set_exception(error)
                around.housekeeping()

    def close(self) -> None:
        while not self._queue.empty():
            self._queue.get()[1].cancel()

    def _check(self, plan: Plan, around: Surroundings) -> dict[str, Any]:
        return check(
            plan,
            registry.load(find_task(plan)),
            Attempt(RUN, 1, 1),
            store=self._store,
            signer=self._signer,
            around=around,
        )
