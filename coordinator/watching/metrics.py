"""The coordinator's metrics: counted from its events as they happen, the rest looked up when asked."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from edgeveil.coordinator.gateway.counts import Counts
from edgeveil.shared.base.installed import installed
from edgeveil.shared.events.log import Event, EventLine
from edgeveil.shared.pages.openmetrics import DISK_BOUNDS, Registry

ROUND_BOUNDS = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0)
STAGE_BOUNDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)


@dataclass(frozen=True)
class Readings:
    """What is known only at the moment of asking. Times left in seconds; None: there is none."""

    agents: Mapping[str, int]  # enrolled, connected, in_round
    needed: int  # connected agents without which no round starts
    superlink_up: bool
    certificate_s: float | None
    roster_s: float | None
    gateway: Counts


class Metrics:
    """take() and committed() are called from any thread; render() when Prometheus asks."""

    def __init__(self, read: Callable[[], Readings]) -> None:
        self._read = read
        self._registry = registry = Registry("edgeveil_")
        counter, histogram = registry.counter, registry.histogram
        self._rounds = counter("rounds", "Attempts that ended, by outcome.")
        for outcome in ("committed", "evaluated", "aborted"):
            self._rounds.add(0.0, outcome=outcome)
        self._round_s = histogram(
            "round_duration_seconds", "Committed attempts, from the offer on.", ROUND_BOUNDS
        )
        self._stage_s = histogram("stage_duration_seconds", "Stages of attempts.", STAGE_BOUNDS)
        self._aborts = counter("aborts", "Attempts that aggregated nothing, by reason.")
        self._dropouts = counter("dropouts", "Agents that left an attempt.")
        self._refusals = counter("refusals", "Refusals of agents, by code.")
        self._starts = counter("superlink_restarts", "SuperLink starts after the first.")
        self._starts.add(0.0)
        self._started = 0
        self._commit_s = histogram(
            "database_commit_seconds", "Until a commit was on the disk.", DISK_BOUNDS
        )
        self._alarms = counter("alarms", "Events of level alarm.")
        self._alarms.add(0.0)
        self._read_when_asked(registry)
        registry.info("build", "Versions of this process.", installed())

    def _read_when_asked(self, registry: Registry) -> None:
        gauge, counter = registry.gauge, registry.counter
        self._agents = gauge("agents", "Agents by state.")
        self._needed = gauge("agents_needed", "Connected agents without which a round waits.")
        self._up = gauge("superlink_up", "1 while the SuperLink process lives.")
        self._certificate = gauge(
            "certificate_expiry_seconds", "Until the server certificate expires."
        )
        self._roster = gauge("roster_expiry_seconds", "Until the roster expires.")
        self._requests = counter("requests", "Requests at the gateway, by status.")
        self._rejected = counter("rejected_requests", "Requests that were refused.")
        self._bytes = counter("bytes", "Body bytes between gateway and agents.")

    def take(self, line: EventLine) -> None:
        with self._registry.lock:
            event, seconds = Event(line.event), (line.dur_ms or 0) / 1000
            if event is Event.ROUND_COMMIT:
                self._rounds.add(outcome="committed")
                self._round_s.observe(seconds)
            elif event is Event.ROUND_EVALUATE and not line.reason:
                self._rounds.add(outcome="evaluated")
            elif event is Event.ROUND_ABORT:
                self._rounds.add(outcome="aborted")
                self._aborts.add(reason=line.reason)
            elif event is Event.STAGE_FINISH:
                self._stage_s.observe(seconds, stage=line.stage)
            elif event is Event.AGENT_DROP:
                self._dropped(line)
            elif event is Event.SUPERLINK_START:
                self._started += 1
                self._starts.add(1.0 if self._started > 1 else 0.0)
            if line.level == "alarm":
                self._alarms.add()

    def _dropped(self, line: EventLine) -> None:
        reason, _, code = line.reason.partition(":")
        self._dropouts.add(stage=line.stage, reason=reason)
        if reason == "refused":
            self._refusals.add(code=code.partition(":")[0])

    def committed(self, seconds: float) -> None:
        with self._registry.lock:
            self._commit_s.observe(seconds)

    def render(self) -> str:
        found = self._read()
        with self._registry.lock:
            for state, count in found.agents.items():
                self._agents.set(count, state=state)
            self._needed.set(found.needed)
            self._up.set(float(found.superlink_up))
            for gauge, left in (
                (self._certificate, found.certificate_s),
                (self._roster, found.roster_s),
            ):
                gauge.values.clear()
                if left is not None:
                    gauge.set(round(left))
            for (route, status), count in found.gateway.requests.items():
                self._requests.set(count, route=route, code=str(status))
            for (route, reason), count in found.gateway.rejected.items():
                self._rejected.set(count, route=route, reason=reason)
            self._bytes.set(found.gateway.up, direction="up")
            self._bytes.set(found.gateway.down, direction="down")
            return self._registry.render()
