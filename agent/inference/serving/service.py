"""A model behind HTTP on this machine's loopback: who asks needs the token, and gets an answer per request.

GET /v1/model gives the manifest; POST /v1/predict takes one picture, or an .npz file with `X` as
application/x-npz. The token is looked at before a byte of the body is read. When the package's file changes,
requests get the new model as soon as it is open; one that cannot be used is told, and the old one stays. A connection
stays open for the next request once a whole one was read.
"""

import socket
import threading
from collections.abc import Callable, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from edgeveil.agent.inference.inputs import Item, from_bytes
from edgeveil.agent.inference.runtime import Model, Prediction
from edgeveil.agent.inference.serving.deadlines import Deadlines
from edgeveil.shared.base.errors import ConfigError, EdgeveilError
from edgeveil.shared.base.json_text import readable
from edgeveil.shared.pages.door import Door, is_loopback

ARRAYS = "application/x-npz"
MOST_BODY = 64 << 20  # bytes
MOST_AT_ONCE = 8  # requests; more are told to come again
MOST_CONNECTIONS = 64  # also of those that have not shown a token; more are closed at once
MOST_RECORDS = 10_000  # of one request
PATIENCE_S = 10.0  # for the next bytes of a request
HEAD_S, BODY_S = 10.0, 60.0  # for all of its head, and for all of its body
LOOK_S = 0.5  # between two looks at the file

Say = Callable[[str], None]
Seen = Callable[
    [Sequence[dict[str, Any]], str], None
]  # answers of one request, digest of the model
_Answer = tuple[HTTPStatus, dict[str, Any]]


class Slot:
    """The model in use. When `path` changes, a thread of its own opens the new one and puts it in its place:
    no request waits for that, and whoever has begun with the old one ends with it.
    """

    def __init__(self, path: Path, opened: Callable[[Path], Model], say: Say) -> None:
        self._path, self._opened, self._say = path, opened, say
        self._stamp = _stamp(path)
        self._model = opened(path)
        self._closed = threading.Event()
        threading.Thread(target=self._watch, name="model", daemon=True).start()

    def current(self) -> Model:
        return self._model

    def close(self) -> None:
        """Whatever is in use now stays."""
        self._closed.set()

    def _watch(self) -> None:
        while not self._closed.wait(LOOK_S):
            self._look()

    def _look(self) -> None:
        stamp = _stamp(self._path)
        if stamp in {self._stamp, None}:
            return
        self._stamp = stamp
        try:
            found = self._opened(self._path)
        except EdgeveilError as error:
            self._say(f"{error.message}; the model from before stays in use")
            return
        if found.notice and found.signer != self._model.signer:  # nobody vouches for that key
            self._say(
                f"{self._path}: signed by {found.signer.hex()}, not by the key of the model in use; that one "
                "stays. To change the signer, start anew with --trust KEY"
            )
        elif found.digest != self._model.digest:
            self._model = found
            self._say(f"{self._path}: now serving model {self._model.digest}")


class Server(ThreadingHTTPServer):
    """serve_forever() until shutdown(). Raises ConfigError for an address that is not loopback or is taken.

    `seen` gets what is answered, before it is sent.
    """

    daemon_threads = True
    request_queue_size = 32

    def __init__(
        self, address: tuple[str, int], slot: Slot, token: str, seen: Seen = lambda *_: None
    ) -> None:
        if not is_loopback(address[0]):
            raise ConfigError(f"--listen {address[0]}: a model is served on loopback only")
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.slot, self.door, self.seen = slot, Door(token), seen
        self.places = threading.BoundedSemaphore(MOST_AT_ONCE)
        self.due = Deadlines()
        self._connections = threading.BoundedSemaphore(MOST_CONNECTIONS)
        try:
            super().__init__(address, _Handler)
        except OSError as error:
            raise ConfigError(f"--listen {address[0]}:{address[1]}: {error.strerror}") from error

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._connections.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._connections.release()

    def server_close(self) -> None:
        super().server_close()
        self.slot.close()
        self.due.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A peer that went away is no news."""


class _Handler(BaseHTTPRequestHandler):
    timeout = PATIENCE_S
    server: Server
    server_version, sys_version = "edgeveil", ""
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body of an answer leave together

    def handle_one_request(self) -> None:
        self._whole = False  # whether all that this request says was read
        self.server.due.within(HEAD_S, self.connection)
        super().handle_one_request()

    def finish(self) -> None:
        self.server.due.done(self.connection)
        super().finish()

    def handle_expect_100(self) -> bool:
        """Before the body is asked for."""
        if not self._admitted():
            return False
        super().handle_expect_100()
        self.wfile.flush()
        return True

    def do_GET(self) -> None:
        if self._admitted():
            if self.path == "/v1/model":
                model = self.server.slot.current()
                told = model.manifest.model_dump(mode="json")
                self._answer(HTTPStatus.OK, {"model": model.digest, "signer": model.signer.hex(), "manifest": told})  # fmt: skip
            else:
                self._refuse(HTTPStatus.NOT_FOUND, "GET /v1/model or POST /v1/predict")

    def do_POST(self) -> None:
        if not self._admitted():
            return
        if self.path != "/v1/predict":
            self._refuse(HTTPStatus.NOT_FOUND, "GET /v1/model or POST /v1/predict")
            return
        if not self.server.places.acquire(blocking=False):
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, "too many requests at once; try again")
            return
        try:
            answer = self._predicted()
        finally:  # before the answer is sent: whoever has it may ask again
            self.server.places.release()
        self._answer(*answer)

    def _predicted(self) -> _Answer:
        body = self._body()
        if not isinstance(body, bytes):
            return body
        model = self.server.slot.current()
        arrays = self.headers.get_content_type() == ARRAYS
        items = list(from_bytes(body, model.input, arrays=arrays, most=MOST_RECORDS))
        if len(items) > MOST_RECORDS:
            return _error(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"more than {MOST_RECORDS} records")
        answers = [_answer(model, item) for item in items]
        self.server.seen([each for each in answers if "error" not in each], model.digest)
        if arrays:
            return HTTPStatus.OK, {"model": model.digest, "predictions": answers}
        if "error" in answers[0]:
            return HTTPStatus.UNPROCESSABLE_ENTITY, answers[0]
        return HTTPStatus.OK, {"model": model.digest, **answers[0]}

    def _admitted(self) -> bool:
        scheme, _, given = self.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self.server.door.knows(given.strip()):
            return True
        self._refuse(HTTPStatus.UNAUTHORIZED, "give the token: Authorization: Bearer TOKEN")
        return False

    def _body(self) -> bytes | _Answer:
        told, *more = self.headers.get_all("Content-Length", [""])
        if (
            more
            or not told.isascii()
            or not told.isdecimal()
            or self.headers.get("Transfer-Encoding")
        ):
            return _error(HTTPStatus.LENGTH_REQUIRED, "give Content-Length")
        if len(told) > 12 or int(told) > MOST_BODY:
            return _error(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"at most {MOST_BODY} bytes")
        self.server.due.within(BODY_S, self.connection)
        body = self.rfile.read(int(told))
        self.server.due.done(self.connection)
        if len(body) < int(told):
            return _error(HTTPStatus.BAD_REQUEST, "the body ends early")
        self._whole = True
        return body

    def _refuse(self, status: HTTPStatus, why: str) -> None:
        self._answer(*_error(status, why))

    def _answer(self, status: HTTPStatus, values: dict[str, Any]) -> None:
        """The last of a connection unless its request was read whole: what a refused one still had to say is never read
        as the next.
        """
        self.close_connection = self.close_connection or not self._whole
        data = (readable(values, tight=True) + "\n").encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Connection", "close" if self.close_connection else "keep-alive")
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of the base class
        """Requests are not written down."""


def _error(status: HTTPStatus, why: str) -> _Answer:
    return status, {"error": why}


def _answer(model: Model, item: Item) -> dict[str, Any]:
    if item.record is None:
        return {"error": item.why}
    (found,) = model.said(item.record[None], [item.placed])
    if isinstance(found, Prediction):
        return {"label": found.label, "score": found.score, "scores": dict(found.scores)}
    return found.as_json()


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
