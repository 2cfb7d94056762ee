"""What a Prometheus on this device may read of a service: how many asked and how it went, never of what."""

import threading
from http import HTTPStatus

from edgeveil.shared.base.installed import installed
from edgeveil.shared.pages.openmetrics import Registry

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
OUTCOMES = {
    HTTPStatus.OK: "answered",
    HTTPStatus.UNAUTHORIZED: "no_token",
    HTTPStatus.NOT_FOUND: "no_route",
    HTTPStatus.UNPROCESSABLE_ENTITY: "unusable",
    HTTPStatus.SERVICE_UNAVAILABLE: "busy",
    HTTPStatus.INTERNAL_SERVER_ERROR: "failed",
}
REFUSED = "refused"  # any other status


class ServiceMetrics:
    """Each may be told from any thread."""

    def __init__(self) -> None:
        self._registry = registry = Registry("edgeveil_serving_")
        counter, gauge = registry.counter, registry.gauge
        self._lock = threading.Lock()
        self._requests = counter("requests", "Requests by route and by what came of them.")
        self._answers = counter("answers", "Records that the model spoke of, and that it could not use.")  # fmt: skip
        self._seconds = registry.histogram("answer_seconds", "From a whole request, or line of a stream, to its answer.", SECONDS)  # fmt: skip
        self._turned_away = counter("connections_refused", "Connections beyond the limit, or of another user.")  # fmt: skip
        self._bytes = counter("bytes", "Of bodies.")
        self._swaps = counter("model_swaps", "Files of a model that took the place, and that could not.")  # fmt: skip
        self._at_work = gauge("requests_at_work", "That the model is busy with.")
        self._connections = gauge("connections", "That are open.")
        registry.info("build", "Versions of this process.", installed())

    def ended(self, route: str, status: HTTPStatus, sent: int) -> None:
        """One request; `sent` bytes of its answer's body."""
        with self._lock:
            self._requests.add(route=route, outcome=OUTCOMES.get(status, REFUSED))
            self._bytes.add(sent, direction="out")

    def took(self, size: int) -> None:
        """Bytes of a body."""
        with self._lock:
            self._bytes.add(size, direction="in")

    def answered(self, route: str, usable: int, unusable: int, seconds: float) -> None:
        with self._lock:
            self._answers.add(usable, outcome="answered")
            self._answers.add(unusable, outcome="unusable")
            self._seconds.observe(seconds, route=route)

    def turned_away(self, why: str) -> None:
        """`why`: full or user."""
        with self._lock:
            self._turned_away.add(reason=why)

    def render(self, *, at_work: int, connections: int, swapped: int, kept: int) -> str:
        with self._lock:
            self._at_work.set(at_work)
            self._connections.set(connections)
            self._swaps.set(swapped, outcome="swapped")
            self._swaps.set(kept, outcome="kept")
            return self._registry.render()
