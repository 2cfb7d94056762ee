"""One connection of a client: the token first, limits before work, an answer to each request or line."""

import time
from collections.abc import Callable, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from threading import BoundedSemaphore
from typing import Any, Protocol

from edgeveil.agent.inference.serving import answers, bodies, limits, openapi
from edgeveil.agent.inference.serving.deadlines import Deadlines
from edgeveil.agent.inference.serving.measures import Measures
from edgeveil.agent.inference.serving.slot import Slot
from edgeveil.shared.base.json_text import readable
from edgeveil.shared.pages.door import Door
from edgeveil.shared.pages.openmetrics import CONTENT_TYPE

Seen = Callable[
    [Sequence[dict[str, Any]], str], None
]  # answers of one request, digest of the model

JSON = "application/json"
_WHAT_THERE_IS = "POST /v1/predict or /v1/stream; GET /v1/openapi.json says what there is"


class Serving(Protocol):
    """What all connections share; service.Server is one."""

    slot: Slot
    door: Door
    seen: Seen
    measures: Measures
    due: Deadlines
    places: BoundedSemaphore
    streams: BoundedSemaphore


class Handler(BaseHTTPRequestHandler):
    timeout = limits.PATIENCE_S
    server: Serving  # type: ignore[assignment]
    server_version, sys_version = "edgeveil", ""
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body of an answer leave together

    def handle_one_request(self) -> None:
        self._whole = False  # whether all that this request says was read
        self.server.due.within(limits.HEAD_S, self.connection)
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
        if (
            self.path == "/v1/health"
        ):  # whoever supervises the process has no token, and learns nothing
            self._answer(HTTPStatus.OK, {"status": "serving"})
        elif self.path == "/v1/openapi.json":  # what the documentation says too
            self._answer(HTTPStatus.OK, openapi.description())
        elif self._admitted():
            if self.path == "/v1/model":
                self._answer(HTTPStatus.OK, openapi.of_model(self.server.slot.current()))
            elif self.path == "/metrics":
                text = self.server.measures.render().encode()
                self._send(HTTPStatus.OK, text, CONTENT_TYPE)
            else:
                self._refuse(HTTPStatus.NOT_FOUND, _WHAT_THERE_IS)

    def do_POST(self) -> None:
        if not self._admitted():
            return
        try:
            if self.path == "/v1/predict":
                self._predict()
            elif self.path == "/v1/stream":
                self._stream()
            else:
                self._refuse(HTTPStatus.NOT_FOUND, _WHAT_THERE_IS)
        except bodies.BadBody as error:
            self._refuse(error.status, error.why)

    def _predict(self) -> None:
        if not self.server.places.acquire(blocking=False):
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, "too many requests at once; try again")
            return
        try:
            status, said = self._predicted()
        finally:  # before the answer is sent: whoever has it may ask again
            self.server.places.release()
        self._answer(status, said)

    def _predicted(self) -> tuple[HTTPStatus, dict[str, Any]]:
        began = time.perf_counter()
        expected = bodies.length(self.headers)
        self.server.due.within(limits.BODY_S, self.connection)
        body = bodies.whole(expected, self.rfile)
        self.server.due.done(self.connection)
        self._whole = True
        self.server.measures.received(len(body))
        model, arrays = self.server.slot.current(), self.headers.get_content_type() == limits.ARRAYS
        try:
            found = answers.of_body(model, body, arrays=arrays)
        except answers.TooMany:
            why = f"more than {limits.MOST_RECORDS} records"
            return HTTPStatus.REQUEST_ENTITY_TOO_LARGE, {"error": why}
        self._seen(found, model.digest, time.perf_counter() - began)
        if arrays:
            return HTTPStatus.OK, {"model": model.digest, "predictions": found}
        if "error" in found[0]:
            return HTTPStatus.UNPROCESSABLE_ENTITY, found[0]
        return HTTPStatus.OK, {"model": model.digest, **found[0]}

    def _stream(self) -> None:
        """An answer to each line as soon as that has come; a model that is put to use meanwhile gives the next."""
        if self.request_version == "HTTP/1.0":
            self._refuse(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "a stream needs HTTP/1.1")
            return
        lines = bodies.lines(self.headers, self.rfile)
        if not self.server.streams.acquire(blocking=False):
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, "too many streams at once; try again")
            return
        try:
            self._head(HTTPStatus.OK, limits.LINES, {"Transfer-Encoding": "chunked"})
            self.wfile.flush()
            self.connection.settimeout(limits.QUIET_S)
            self.server.due.within(limits.QUIET_S, self.connection)
            try:
                for line in lines:
                    self._piece(self._of_line(line))
                    self.server.due.within(limits.QUIET_S, self.connection)
                self._whole = True
            except bodies.BadBody as error:
                self._piece({"error": error.why})
            self.wfile.write(b"0\r\n\r\n")
            self.wfile.flush()
            self.connection.settimeout(limits.PATIENCE_S)
            self.close_connection = self.close_connection or not self._whole
        finally:
            self.server.streams.release()

    def _of_line(self, line: bytes) -> dict[str, Any]:
        """The next line is not read before: a client that is faster than the model waits in its connection."""
        self.server.measures.received(len(line))
        with self.server.places:
            model = self.server.slot.current()
            found = answers.of_line(model, line)
        self._seen([found], model.digest)
        return {"model": model.digest, **found}

    def _piece(self, values: dict[str, Any]) -> None:
        data = _encoded(values)
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
        self.wfile.flush()

    def _seen(self, found: list[dict[str, Any]], model: str, seconds: float | None = None) -> None:
        usable = [each for each in found if "error" not in each]
        self.server.measures.predicted(len(usable), len(found) - len(usable), seconds)
        self.server.seen(usable, model)

    def _admitted(self) -> bool:
        scheme, _, given = self.headers.get("Authorization", "").partition(" ")
        token = given.strip() if scheme.lower() == "bearer" else ""
        if self.server.door.knows(token):
            return True
        self._refuse(HTTPStatus.UNAUTHORIZED, "give the token: Authorization: Bearer TOKEN")
        return False

    def _refuse(self, status: HTTPStatus, why: str) -> None:
        self._answer(status, {"error": why})

    def _answer(self, status: HTTPStatus, values: dict[str, Any]) -> None:
        self._send(status, _encoded(values), JSON)

    def _send(self, status: HTTPStatus, data: bytes, kind: str) -> None:
        """The last of a connection unless its request was read whole: what a refused one still had to say is never read
        as the next.
        """
        if self.command == "GET" and not {"Content-Length", "Transfer-Encoding"} & set(
            self.headers
        ):
            self._whole = True
        self.close_connection = self.close_connection or not self._whole
        told = {"Content-Length": str(len(data))}
        if status is HTTPStatus.SERVICE_UNAVAILABLE:
            told["Retry-After"] = str(limits.AGAIN_S)
        self._head(status, kind, told)
        self.wfile.write(data)

    def _head(self, status: HTTPStatus, kind: str, told: dict[str, str]) -> None:
        self.server.measures.answered(self.path, status)
        self.send_response(status)
        for name, value in {"Content-Type": kind, **told, "Cache-Control": "no-store"}.items():
            self.send_header(name, value)
        self.send_header("Connection", "close" if self.close_connection else "keep-alive")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of the base class
        """Requests are not written down."""


def _encoded(values: dict[str, Any]) -> bytes:
    return (readable(values, tight=True) + "\n").encode()
