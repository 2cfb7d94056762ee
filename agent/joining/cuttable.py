"""A client whose held requests another thread may end."""

import contextlib
import socket
import threading
import weakref
from typing import Any

import httpx


class Cuttable(httpx.Client):
    """cut() in place of close() where another thread may be reading.

    A descriptor that is closed under its reader is the number of the next file opened, which then loses the bytes
    that the reader was waiting for. So connections are shut, and each is closed by who reads it.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._guard = threading.Lock()
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._over = False

    def send(self, request: httpx.Request, **options: Any) -> httpx.Response:
        """As httpx; raises httpx.ConnectError after cut()."""
        if self._over:
            raise httpx.ConnectError("this connection was ended", request=request)
        request.extensions = {**request.extensions, "trace": self._opened}
        return super().send(request, **options)

    def cut(self) -> None:
        """End what is under way, and begin nothing more; from any thread, and without waiting."""
        with self._guard:
            self._over = True
            for each in self._sockets:
                _shut(each)

    def _opened(self, event: str, info: dict[str, Any]) -> None:
        """What httpx tells of a connection: first of the bare one, then of the one inside TLS."""
        if event not in {"connection.connect_tcp.complete", "connection.start_tls.complete"}:
            return
        with self._guard:
            found = info["return_value"].get_extra_info("socket")
            self._sockets.add(found)
            if self._over:
                _shut(found)


def _shut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):  # gone already, or handed on to TLS
        socket.socket.shutdown(connection, socket.SHUT_RDWR)  # not that of TLS, which lets go first
