"""A model behind HTTP on this device: on loopback for whoever has the token, on a Unix socket for its owner.

`openapi` describes what can be asked. The token is looked at before a byte of a body is read. When the package's
file changes, requests get the new model as soon as it is open; one that cannot be used is told, and the old one
stays. A connection stays open for the next request once a whole one was read.
"""

import contextlib
import os
import socket
import socketserver
import stat
import struct
import threading
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

from edgeveil.agent.inference.serving import limits
from edgeveil.agent.inference.serving.deadlines import Deadlines
from edgeveil.agent.inference.serving.handler import Handler, Seen
from edgeveil.agent.inference.serving.measures import Measures
from edgeveil.agent.inference.serving.slot import Say, Slot
from edgeveil.shared.base.errors import ConfigError
from edgeveil.shared.base.files import private_directory
from edgeveil.shared.pages.door import Door, is_loopback

__all__ = ["LocalServer", "Say", "Seen", "Server", "Slot"]

_ROOT = 0
LONGEST_PATH = 107  # bytes that the system takes for the name of a Unix socket


class Server(ThreadingHTTPServer):
    """serve_forever() until shutdown(). Raises ConfigError for an address that is not loopback or is taken.

    `seen` gets what is answered, before it is sent. `token`: None where whoever can connect may ask.
    """

    daemon_threads = True
    request_queue_size = 32

    def __init__(
        self, address: Any, slot: Slot, token: str | None, seen: Seen = lambda *_: None
    ) -> None:
        self.slot, self.door, self.seen = slot, Door(token), seen
        self.measures, self.due = Measures(slot), Deadlines()
        self.places = threading.BoundedSemaphore(limits.MOST_AT_ONCE)
        self.streams = threading.BoundedSemaphore(limits.MOST_AT_ONCE)
        self._connections = threading.BoundedSemaphore(limits.MOST_CONNECTIONS)
        try:
            self._open(address)
        except OSError as error:
            self.due.close()
            raise ConfigError(f"--listen {self.shown(address)}: {error.strerror}") from error

    def _open(self, address: Any) -> None:
        if not is_loopback(address[0]):
            raise ConfigError(f"--listen {address[0]}: a model is served on loopback only")
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, Handler)

    def shown(self, address: Any = None) -> str:
        host, port = (address or self.server_address)[:2]
        return f"[{host!s}]:{port}" if ":" in str(host) else f"{host!s}:{port}"

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._connections.acquire(blocking=False):
            self.measures.connections(1)
            super().process_request(request, client_address)
        else:
            self.measures.refused()
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.measures.connections(-1)
            self._connections.release()

    def server_close(self) -> None:
        super().server_close()
        self.slot.close()
        self.due.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A peer that went away is no news."""


class LocalServer(Server):
    """The same on a Unix socket, which its folder, its mode and the system's word of the peer keep for the owner (and
    root), so that no token is asked for.
    """

    def __init__(self, path: Path, slot: Slot, seen: Seen = lambda *_: None) -> None:
        self._path, self._inode = path.absolute(), 0
        super().__init__(str(self._path), slot, None, seen)

    def _open(self, address: Any) -> None:
        self.address_family = socket.AF_UNIX
        if len(os.fsencode(address)) > LONGEST_PATH:
            raise ConfigError(
                f"--listen unix:{address}: at most {LONGEST_PATH} bytes; choose a shorter path"
            )
        private_directory(self._path.parent)
        self._make_room()
        ThreadingHTTPServer.__init__(self, address, Handler)

    def _make_room(self) -> None:
        """A socket that nobody answers on was left by a process that ended; anything else is not ours to remove."""
        try:
            found = self._path.lstat()
        except FileNotFoundError:
            return
        if not stat.S_ISSOCK(found.st_mode):
            raise ConfigError(f"--listen unix:{self._path}: is there and is no socket")
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(1)
            try:
                probe.connect(str(self._path))
            except ConnectionRefusedError:
                self._path.unlink()
                return
        raise ConfigError(f"--listen unix:{self._path}: another process answers there")

    def server_bind(self) -> None:
        """The mode is set before anybody can connect, which is from listen() on."""
        socketserver.TCPServer.server_bind(self)
        self._path.chmod(0o600)
        self._inode = self._path.lstat().st_ino
        self.server_name, self.server_port = "localhost", 0

    def verify_request(self, request: Any, client_address: Any) -> bool:  # noqa: ARG002
        given = request.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        return struct.unpack("3i", given)[1] in {os.geteuid(), _ROOT}

    def shown(self, address: Any = None) -> str:
        return f"unix:{address or self._path}"

    def server_close(self) -> None:
        super().server_close()
        with contextlib.suppress(OSError):
            if self._path.lstat().st_ino == self._inode:
                self._path.unlink()
