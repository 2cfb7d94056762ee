"""What the gateway has been asked and what it refused, since its start; labels from closed lists only."""

import threading
from collections import Counter
from dataclasses import dataclass, field

from edgeveil.coordinator.gateway.vocabulary import FLEET, Operation, Reason
from edgeveil.shared.models.offer import OFFER_PATH, SLICE_PATH

JOIN, HEALTH, WHOAMI, CONDITION, OTHER = "join", "health", "whoami", "condition", "other"
MODEL, MODEL_SLICE = "model", "model-slice"
_PATHS = {"/v1/join": JOIN, "/v1/whoami": WHOAMI, "/healthz": HEALTH, "/readyz": HEALTH}
_PATHS |= {"/v1/condition": CONDITION, OFFER_PATH: MODEL, SLICE_PATH: MODEL_SLICE}
_PATHS |= {FLEET + operation.value: operation.value for operation in Operation}


def route_of(path: str) -> str:
    """The name of a route; whatever is not ours is `other`, however it is spelled."""
    return _PATHS.get(path, OTHER)


@dataclass
class Counts:
    """`requests` by (route, status), `rejected` by (route, reason); `up` and `down` in body bytes."""

    requests: Counter[tuple[str, int]] = field(default_factory=Counter)
    rejected: Counter[tuple[str, str]] = field(default_factory=Counter)
    up: int = 0
    down: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def answered(self, path: str, status: int) -> None:
        with self._lock:
            self.requests[route_of(path), status] += 1

    def refused(self, path: str, reason: Reason, status: int) -> None:
        with self._lock:
            self.rejected[route_of(path), reason.value] += 1
            self.requests[route_of(path), status] += 1

    def moved(self, *, up: int = 0, down: int = 0) -> None:
        with self._lock:
            self.up += up
            self.down += down

    def copy(self) -> "Counts":
        with self._lock:
            return Counts(self.requests.copy(), self.rejected.copy(), self.up, self.down)

    def by_reason(self) -> dict[str, int]:
        found: Counter[str] = Counter()
        for (_, reason), count in self.copy().rejected.items():
            found[reason] += count
        return dict(found)
