"""A model behind HTTP on this device: loopback with a token, or a Unix socket of its owner.

The token is looked at before a byte of a body is read. When the package's file changes, requests get the new model
as soon as it is open; one that cannot be used is told, and the old one stays. A connection stays open for the next
request once a whole one was read.
"""

import contextlib
import socket
import threading
from pathlib import Path
from typing import Any

from edgeveil.agent.inference.serving import limits, listening
from edgeveil.agent.inference.serving.handler import Handler
from edgeveil.agent.inference.serving.sharing import Seen, Sharing
from edgeveil.agent.inference.serving.slot import Slot
from edgeveil.shared.base.errors import ConfigError
from edgeveil.shared.pages.door import is_loopback

_FULL = f"HTTP/1.1 503 Service Unavailable\r\nRetry-After: {limits.RETRY_S}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()


class Server(Sharing):
    """serve_forever() until shutdown(), then server_close(). `address`: of loopback, or the path of a Unix socket.

    `token`: None on a Unix socket, where the kernel says who asks. `seen` gets what is answered, before it is sent.

    Raises:
        ConfigError: an address that is not loopback, is taken, or cannot be.
        StateDamaged: others may reach the folder of the socket.
        Busy: somebody answers on the socket.
    """

    daemon_threads = True
    request_queue_size = 32

    def __init__(
        self,
        address: listening.Address,
        slot: Slot,
        token: str | None,
        seen: Seen = lambda *_: None,
    ) -> None:
        self._connections = threading.BoundedSemaphore(limits.MOST_CONNECTIONS)
        self._path = address if isinstance(address, Path) else None
        self._inode: int | None = None
        if isinstance(address, Path):
            self.address_family = socket.AF_UNIX
            super().__init__(("localhost", 0), Handler, slot, token, seen)
            return
        if not is_loopback(address[0]):
            raise ConfigError(f"--listen {address[0]}: a model is served on loopback only")
        if token is None:
            raise ConfigError("loopback is every user's: a token is needed")
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        try:
            super().__init__(address, Handler, slot, token, seen)
        except OSError as error:
            raise ConfigError(f"--listen {address[0]}:{address[1]}: {error.strerror}") from error

    def server_bind(self) -> None:
        if self._path is None:
            super().server_bind()
            return
        listening.bind_private(self.socket, self._path)
        self._inode = self._path.lstat().st_ino
        self.server_name, self.server_port = "localhost", 0

    def verify_request(self, request: Any, client_address: Any) -> bool:  # noqa: ARG002 - of the base class
        """Before a thread is begun for it."""
        if self._path is not None and not listening.is_owner(request):
            self.metrics.turned_away("user")
            return False
        return True

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._connections.acquire(blocking=False):
            super().process_request(request, client_address)
            return
        self.metrics.turned_away("full")
        with contextlib.suppress(OSError):
            request.setblocking(False)
            request.send(_FULL)
        self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        self.counted(opened=1)
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.counted(opened=-1)
            self._connections.release()

    def server_close(self) -> None:
        super().server_close()
        if self._path is not None and self._inode is not None:
            listening.unlink(self._path, self._inode)
        self.slot.close()
        self.due.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A peer that went away is no news."""
