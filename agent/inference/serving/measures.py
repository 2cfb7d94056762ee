"""What `agent serve` counts for its owner: how many and how fast, never of what.

Labels come from closed lists: no input, label, path or address is in them.
"""

from http import HTTPStatus

from edgeveil.agent.inference.serving.slot import Slot
from edgeveil.shared.pages.openmetrics import Registry

BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)  # seconds
ROUTES = ("/v1/model", "/v1/predict", "/v1/stream", "/v1/health", "/v1/openapi.json", "/metrics")


class Measures:
    def __init__(self, slot: Slot) -> None:
        self._slot, self._registry = slot, Registry("edgeveil_serve_")
        made = self._registry
        self._requests = made.counter("requests", "Requests by route and status of the answer.")
        self._records = made.counter("records", "Records, by whether they could be used.")
        self._bytes = made.counter("received_bytes", "Bytes of bodies that were read.")
        self._took = made.histogram(
            "request_seconds", "From the head of a request for predictions to its answer.", BOUNDS
        )
        self._open = made.gauge("connections", "Connections that are open now.")
        self._closed = made.counter("connections_refused", "Connections closed as one too many.")
        self._swapped = made.counter("model_swaps", "Newer models that took the place of one.")
        self._kept = made.counter("model_refusals", "Newer models that could not be used.")
        self._bytes.set(0)
        self._open.set(0)
        self._closed.set(0)

    def answered(self, route: str, status: HTTPStatus) -> None:
        with self._registry.lock:
            self._requests.add(
                route=route if route in ROUTES else "other", status=str(status.value)
            )

    def predicted(self, usable: int, others: int, seconds: float | None = None) -> None:
        with self._registry.lock:
            self._records.add(usable, usable="yes")
            self._records.add(others, usable="no")
            if seconds is not None:
                self._took.observe(seconds)

    def received(self, count: int) -> None:
        with self._registry.lock:
            self._bytes.add(count)

    def connections(self, change: int) -> None:
        with self._registry.lock:
            self._open.add(change)

    def refused(self) -> None:
        with self._registry.lock:
            self._closed.add()

    def render(self) -> str:
        with self._registry.lock:
            self._swapped.set(self._slot.swapped)
            self._kept.set(self._slot.kept)
            return self._registry.render()
