"""Everything that only watches `coordinator serve`: live state, metrics, page, lines on standard error.

Events come in as they are written. Nothing here can hold up a round: a page that fails is a page
that fails.
"""

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeveil.coordinator.federation.certificates import expiry
from edgeveil.coordinator.federation.membership import agents_of
from edgeveil.coordinator.federation.tls import authority_path
from edgeveil.coordinator.gateway.server import Gateway
from edgeveil.coordinator.plan.config import CoordinatorConfig
from edgeveil.coordinator.plan.plan import Plan
from edgeveil.coordinator.records.records import RunState
from edgeveil.coordinator.reports import standing
from edgeveil.coordinator.runs.open_run import Progress
from edgeveil.coordinator.store.store import Store
from edgeveil.coordinator.watching import live, metrics, page_server, page_view
from edgeveil.coordinator.watching import waiting as waits
from edgeveil.shared.base.errors import EdgeveilError
from edgeveil.shared.events.log import Event, EventLine
from edgeveil.shared.pages.server import PageServer
from edgeveil.shared.terminal.telling import show_event

LEAST_AGENTS = 3  # needed when no run says otherwise


@dataclass(eq=False)
class Lookout:
    """take() from any thread; start() and stop() from the main one. `quiet` leaves the lines out."""

    home: Path
    config: CoordinatorConfig
    store: Store
    progress: Progress
    quiet: bool

    def __post_init__(self) -> None:
        self._gateway: Gateway | None = None
        self._alive: Callable[[], bool] = lambda: False
        self._chain: Path | None = None
        self._page: PageServer | None = None
        self.live = live.Live()
        self.metrics = metrics.Metrics(self._read)
        self.store.watch_commits(self.metrics.committed)

    @property
    def url(self) -> str | None:
        """Where the page is; None when it is off."""
        return None if self._page is None else self._page.url

    def take(self, line: EventLine) -> None:
        self.live.take(line)
        self.metrics.take(line)
        if self._page is not None:
            self._page.ring()
        if not self.quiet:
            show_event(line, lambda: self._outcome(line))

    def _outcome(self, line: EventLine) -> str:
        """What a round that was just committed or evaluated came to."""
        if line.event not in {Event.ROUND_COMMIT, Event.ROUND_EVALUATE}:
            return ""
        with contextlib.suppress(EdgeveilError):  # it only watches
            return standing.round_line(self.store, self.store.run(line.run), line.round)
        return ""

    def waiting(self, agents: Sequence[Mapping[str, Any]]) -> waits.Waiting:
        """What the run under way waits for; `agents` as in `coordinator status`."""
        progress = self.progress
        newest = self.store.rounds(progress.run, last=1) if progress.run is not None else []
        return waits.waiting(
            self.live.now(),
            agents,
            newest[-1] if newest else None,
            progress.kept_out,
            opening=progress.stage == "opening",
        )

    def start(
        self, gateway: Gateway, alive: Callable[[], bool], tls: tuple[Path, Path] | None
    ) -> None:
        """Show the page; raises ConfigError when the operator's own address for it cannot be used."""
        self._gateway, self._alive = gateway, alive
        self._chain = tls[0] if tls is not None else None
        address = page_server.PageAddress.of(self.config.page)
        if address is None:
            return
        pages = page_view.Pages(
            self.config.url,
            self.store,
            self.live,
            lambda: agents_of(self.store, gateway.presence()),
            self.waiting,
        )
        self._page = page_server.dashboard(address, self.home, pages, self.metrics.render, tls)
        self._page.start()

    def stop(self) -> None:
        if self._page is not None:
            self._page.stop()

    def _read(self) -> metrics.Readings:
        gateway = self._gateway
        if gateway is None:
            raise RuntimeError("metrics are read once the gateway runs")
        presence = gateway.presence()
        signed = self.store.roster()
        now = time.time()
        return metrics.Readings(
            agents={
                "enrolled": len(self.store.members()),
                "connected": sum(1 for seen in presence.values() if seen.connected),
                "in_round": self.live.now().taking_part,
            },
            needed=self._needed(),
            superlink_up=self._alive(),
            certificate_s=self._certificate_left(now),
            roster_s=None if signed is None else signed.roster.expires - now,
            gateway=gateway.counts(),
        )

    def _needed(self) -> int:
        waiting = (RunState.RUNNING, RunState.QUEUED, RunState.STOPPED)
        runs = [run for run in self.store.runs() if run.state in waiting]
        if not runs:
            return LEAST_AGENTS
        return max(Plan.model_validate_json(run.plan).rounds.minimum for run in runs)

    def _certificate_left(self, now: float) -> float | None:
        """Of the chain that is served and of the authority behind it, the one that ends first."""
        if self._chain is None:
            return None
        authority = authority_path(self.home, self.config)
        return min(expiry(self._chain), expiry(authority)) - now
