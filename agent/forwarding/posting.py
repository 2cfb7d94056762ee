"""One POST of JSON to an address that the owner named; nothing is followed, and a peer that hangs is left."""

import contextlib
import http.client
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

from edgeveil.agent.forwarding.trusted import Refused, Undelivered, context
from edgeveil.agent.rules.actions import PostTarget
from edgeveil.shared.base.errors import ConfigError, StateDamaged
from edgeveil.shared.base.files import read_secret

STEP_S = 10.0  # for the next bytes of the other side
TOTAL_S = 20.0  # for all of an exchange, however steadily it trickles
TOKEN = re.compile(r"[\x21-\x7e]{1,1000}")
NEVER = {
    HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNPROCESSABLE_ENTITY,
}  # fmt: skip


class Poster:
    """Raises ConfigError or StateDamaged at once for files that cannot be used later either."""

    def __init__(self, target: PostTarget, beside: Callable[[str], Path]) -> None:
        parts = urlsplit(target.url)
        self._host, self._port, self._tls = parts.hostname or "", parts.port, parts.scheme == "https"  # fmt: skip
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._token_file = beside(target.token_file) if target.token_file else None
        self._context = context(beside(target.ca_file) if target.ca_file else None, target.pin)
        self._token()

    def post(self, body: bytes) -> None:
        """Return when the other side has taken it.

        Raises:
            Refused: it says that it never will take this body.
            Undelivered: anything else that went wrong.
        """
        status = self._exchanged(body)
        if status in NEVER:
            raise Refused(f"it answered {status}")
        if not HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
            raise Undelivered(f"it answered {status}")

    def _exchanged(self, body: bytes) -> int:
        headers = {"Content-Type": "application/json", "User-Agent": "edgeveil", "Connection": "close"}  # fmt: skip
        try:
            if token := self._token():
                headers["Authorization"] = f"Bearer {token}"
            link = self._link()
            with contextlib.closing(link), _cut_after(TOTAL_S, link):
                link.request("POST", self._path, body, headers)
                return link.getresponse().status
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Undelivered(_why(error)) from error
        except (StateDamaged, ConfigError) as error:
            raise Undelivered(error.message) from error

    def _link(self) -> http.client.HTTPConnection:
        """Proxies of the environment are not asked: what leaves goes where the owner said."""
        if self._tls:
            return http.client.HTTPSConnection(self._host, self._port, timeout=STEP_S, context=self._context)  # fmt: skip
        return http.client.HTTPConnection(self._host, self._port, timeout=STEP_S)

    def _token(self) -> str:
        """Read anew each time: the owner may change it."""
        if self._token_file is None:
            return ""
        text = read_secret(self._token_file).decode("ascii", "replace").strip()
        if TOKEN.fullmatch(text) is None:
            raise ConfigError(f"{self._token_file}: no token: one line of plain characters")
        return text


@contextlib.contextmanager
def _cut_after(seconds: float, link: http.client.HTTPConnection) -> Iterator[None]:
    """Raise TimeoutError for what ended because it was cut, whatever it looked like until then."""
    late = threading.Event()

    def cut() -> None:
        late.set()
        if link.sock is not None:
            with contextlib.suppress(OSError):
                link.sock.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        if late.is_set():
            raise TimeoutError


def _why(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({getattr(error, 'verify_message', '') or error})"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return str(error) or type(error).__name__
