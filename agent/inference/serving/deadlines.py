"""Times by which something has to have come over a connection; one thread looks at all of them."""

import contextlib
import socket
import threading
import time

LATE_S = 0.25  # between two looks


class Deadlines:
    """Ends connections that are late, however steadily they trickle, so that whoever reads finds an end."""

    def __init__(self) -> None:
        self._lock, self._closed = threading.Lock(), threading.Event()
        self._until: dict[socket.socket, float] = {}
        threading.Thread(target=self._watch, name="due", daemon=True).start()

    def within(self, seconds: float, connection: socket.socket) -> None:
        with self._lock:
            self._until[connection] = time.monotonic() + seconds

    def done(self, connection: socket.socket) -> None:
        with self._lock:
            self._until.pop(connection, None)

    def close(self) -> None:
        self._closed.set()

    def _watch(self) -> None:
        while not self._closed.wait(LATE_S):
            now = time.monotonic()
            with self._lock:
                late = [each for each, until in self._until.items() if until < now]
                for each in late:
                    del self._until[each]
            for each in late:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
