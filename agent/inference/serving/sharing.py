"""What all requests to a service share: the model, the places there are, and what is counted."""

import threading
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from edgeveil.agent.inference.serving import limits
from edgeveil.agent.inference.serving.deadlines import Deadlines
from edgeveil.agent.inference.serving.metrics import ServiceMetrics
from edgeveil.agent.inference.serving.slot import Slot
from edgeveil.shared.pages.door import Door

Seen = Callable[
    [Sequence[dict[str, Any]], str], None
]  # answers of one request, digest of the model


class Sharing(ThreadingHTTPServer):
    """`failing`: whether the model failed on the latest record it was given; `open` connections."""

    def __init__(
        self,
        address: tuple[str, int],
        handler: type[BaseHTTPRequestHandler],
        slot: Slot,
        token: str | None,
        seen: Seen,
    ) -> None:
        self.slot, self.door, self.seen, self.metrics = slot, Door(token), seen, ServiceMetrics()
        self.places = threading.BoundedSemaphore(limits.MOST_AT_ONCE)
        self.streams = threading.BoundedSemaphore(limits.MOST_STREAMS)
        self.due = Deadlines()
        self.failing, self.open, self.at_work = False, 0, 0
        self._count = threading.Lock()
        super().__init__(address, handler)

    def counted(self, *, opened: int = 0, at_work: int = 0) -> None:
        with self._count:
            self.open += opened
            self.at_work += at_work
