"""What a Prometheus on this device may read: its own budget and refusals, and how quick its disk is."""

from edgeveil.agent.reports.page_view import Own
from edgeveil.shared.base.installed import installed
from edgeveil.shared.events.log import Event
from edgeveil.shared.pages.openmetrics import DISK_BOUNDS, Registry


class OwnMetrics:
    """took() from any thread; render() when Prometheus asks."""

    def __init__(self) -> None:
        self._registry = registry = Registry("edgeveil_")
        gauge, counter = registry.gauge, registry.counter
        self._spent = gauge("privacy_epsilon_spent", "Of this data set's ledger, at its delta.")
        self._limit = gauge("privacy_epsilon_limit", "The owner's limit.")
        self._refused = counter("refusals", "Refusals of this device, by code.")
        self._bytes = counter("bytes", "Body bytes of replies, as far as the journal goes back.")
        self._fsync_s = registry.histogram(
            "ledger_fsync_seconds", "Until a record of the ledger was on the disk.", DISK_BOUNDS
        )
        registry.info("build", "Versions of this process.", installed())

    def took(self, seconds: float) -> None:
        """One record of the ledger reached the disk."""
        with self._registry.lock:
            self._fsync_s.observe(seconds)

    def render(self, own: Own) -> str:
        with self._registry.lock:
            self._spent.set(own.budget.epsilon_spent)
            self._limit.set(own.budget.epsilon_limit)
            for code, entry in own.refusals.items():
                self._refused.set(entry["count"], code=code)
            sent = (line.size for line in own.journal if line.event == Event.REPLY_SEND)
            self._bytes.set(sum(sent), direction="up")
            return self._registry.render()
