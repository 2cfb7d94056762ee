"""What the page shows, gathered from the database and the running process; kept while nothing ends."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgeveil.coordinator.records.records import Run
from edgeveil.coordinator.reports import facts, history, page
from edgeveil.coordinator.reports.words import Words
from edgeveil.coordinator.store.store import Store
from edgeveil.coordinator.watching.live import Live
from edgeveil.coordinator.watching.live_page import SHOWN_RUNS, Drawn, View, draw, live_page
from edgeveil.coordinator.watching.waiting import Waiting
from edgeveil.shared.base.errors import ConfigError
from edgeveil.shared.pages.words import Language

Agents = Callable[[], Sequence[Mapping[str, Any]]]


@dataclass(eq=False)
class Pages:
    """Called from worker threads, one at a time."""

    url: str
    store: Store
    live: Live
    agents: Agents
    waits: Callable[[Sequence[Mapping[str, Any]]], Waiting] = lambda _: Waiting()

    def __post_init__(self) -> None:
        self._history = history.History()
        self._charts: tuple[object, Drawn] | None = None
        self._lock = threading.Lock()

    def front(self, language: Language) -> str:
        with self._lock:
            now = self.live.now()
            runs = self.store.runs()
            found = self._facts(now.run, runs)
            told = self.store.told_budgets()
            agents = self.agents()
            view = View(
                self.url,
                now,
                agents,
                found,
                runs[-SHOWN_RUNS:],
                time.time(),
                told,
                waits=self.waits(agents),
                drawn=None if found is None else self._drawn(found, language),
            )
            return live_page(view, language)

    def run(self, run_id: str, language: Language) -> str | None:
        """The report of one run; None when there is no such run."""
        try:
            run = self.store.run(run_id)
        except ConfigError:
            return None
        with self._lock:
            return page.report_page(self._history.of(self.store, run), language, made=time.time())

    def _facts(self, running: str, runs: Sequence[Run]) -> facts.RunFacts | None:
        wanted = [run for run in runs if run.run_id == running] or list(runs[-1:])
        return self._history.of(self.store, wanted[0]) if wanted else None

    def _drawn(self, found: facts.RunFacts, language: Language) -> Drawn:
        run = found.run
        key = (run.run_id, run.state, len(found.records), language)
        if self._charts is None or self._charts[0] != key:
            charges = max(self.store.charges(run.run_id).values(), default=0)
            self._charts = (key, draw(found, charges, Words(language)))
        return self._charts[1]
