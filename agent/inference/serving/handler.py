"""The requests of one connection to a service: who may ask, which route, and its answer."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any

from edgeveil.agent.inference.inputs import Item, from_bytes
from edgeveil.agent.inference.runtime import Model
from edgeveil.agent.inference.serving import answers, limits, openapi
from edgeveil.agent.inference.serving.sharing import Sharing
from edgeveil.agent.inference.serving.streams import Ended, lines
from edgeveil.shared.base.errors import ModelError
from edgeveil.shared.base.json_text import readable
from edgeveil.shared.pages.openmetrics import CONTENT_TYPE

JSON = "application/json"
OTHER = "other"  # as a metric calls every route that is none
_Answer = tuple[HTTPStatus, dict[str, Any]]


class Handler(BaseHTTPRequestHandler):
    timeout = limits.PATIENCE_S
    server: Sharing
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
        if self.path == openapi.HEALTH:
            well = not self.server.failing
            status = HTTPStatus.OK if well else HTTPStatus.SERVICE_UNAVAILABLE
            self._answer(status, {"serving": well})
        elif not self._admitted():
            return
        elif self.path == openapi.MODEL:
            model = self.server.slot.current()
            told = model.manifest.model_dump(mode="json")
            self._answer(HTTPStatus.OK, {"model": model.digest, "signer": model.signer.hex(), "manifest": told})  # fmt: skip
        elif self.path == openapi.DOCUMENT:
            self._answer(HTTPStatus.OK, openapi.document())
        elif self.path == openapi.METRICS:
            server, slot = self.server, self.server.slot
            text = server.metrics.render(at_work=server.at_work, connections=server.open, swapped=slot.swapped, kept=slot.kept)  # fmt: skip
            self._send(HTTPStatus.OK, text.encode(), CONTENT_TYPE)
        else:
            self._refuse(HTTPStatus.NOT_FOUND, openapi.KNOWN)

    def do_POST(self) -> None:
        if not self._admitted():
            return
        if self.path == openapi.STREAM:
            self._stream()
        elif self.path != openapi.PREDICT:
            self._refuse(HTTPStatus.NOT_FOUND, openapi.KNOWN)
        elif not self.server.places.acquire(blocking=False):
            self._busy("too many requests at once; try again")
        else:
            try:
                with self._working():
                    answer = self._predicted()
            finally:  # before the answer is sent: whoever has it may ask again
                self.server.places.release()
            self._answer(*answer)

    def _predicted(self) -> _Answer:
        body = self._body()
        if not isinstance(body, bytes):
            return body
        began, model = time.perf_counter(), self.server.slot.current()
        arrays = self.headers.get_content_type() == limits.ARRAYS
        items = list(from_bytes(body, model.input, arrays=arrays, most=limits.MOST_RECORDS))
        if len(items) > limits.MOST_RECORDS:
            return _error(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"more than {limits.MOST_RECORDS} records")  # fmt: skip
        try:
            found = self._answered(model, items, openapi.PREDICT, began)
        except ModelError as error:
            return _error(HTTPStatus.INTERNAL_SERVER_ERROR, error.message)
        if arrays:
            return HTTPStatus.OK, {"model": model.digest, "predictions": found}
        if "error" in found[0]:
            return HTTPStatus.UNPROCESSABLE_ENTITY, found[0]
        return HTTPStatus.OK, {"model": model.digest, **found[0]}

    def _answered(
        self, model: Model, items: Sequence[Item], route: str, began: float
    ) -> list[dict[str, Any]]:
        """Counted, and shown to whoever follows answers; raises ModelError."""
        usable = any(item.record is not None for item in items)
        try:
            found = [answers.answer(model, item) for item in items]
        except ModelError:
            self.server.failing = True
            raise
        if usable:
            self.server.failing = False
        good = [each for each in found if "error" not in each]
        self.server.seen(good, model.digest)
        self.server.metrics.answered(route, len(good), len(found) - len(good), time.perf_counter() - began)  # fmt: skip
        return found

    def _stream(self) -> None:
        """An answer for each line of the body, as soon as it is there; the connection ends with it."""
        length = self._length(chunks=True)
        if isinstance(length, tuple):
            self._answer(*length)
            return
        if not self.server.streams.acquire(blocking=False):
            self._busy("too many streams at once; try again")
            return
        sent, self.close_connection = 0, True
        self._head(HTTPStatus.OK, limits.LINES, ("Transfer-Encoding", "chunked"))
        try:
            for told in self._told(length):
                sent += self._chunk(told)
        finally:
            self.server.streams.release()
            self.server.metrics.ended(self.path, HTTPStatus.OK, sent)
        self.wfile.write(b"0\r\n\r\n")

    def _told(self, length: int | None) -> Iterator[dict[str, Any]]:
        until = time.monotonic() + limits.STREAM_S
        self.connection.settimeout(limits.IDLE_S)
        try:
            self._line_until(until)
            for number, line in enumerate(lines(self.rfile, length)):
                if number == limits.MOST_LINES:
                    raise Ended(f"more than {limits.MOST_LINES} lines")
                self.server.metrics.took(len(line))
                yield self._of_line(line)
                self._line_until(until)
        except Ended as ended:
            yield {"ended": str(ended)}
        except TimeoutError:
            yield {"ended": f"nothing came for {limits.IDLE_S:g} s"}

    def _line_until(self, until: float) -> None:
        if time.monotonic() >= until:
            raise Ended(f"longer than {limits.STREAM_S:g} s")
        self.server.due.within(limits.LINE_S, self.connection)

    def _of_line(self, line: bytes) -> dict[str, Any]:
        began = time.perf_counter()
        if not self.server.places.acquire(timeout=limits.IDLE_S):  # who streams waits for its turn
            raise Ended("too many requests at once; try again")
        try:
            with self._working():
                model = self.server.slot.current()
                items = [answers.item_of(line, model.input)]
                (found,) = self._answered(model, items, openapi.STREAM, began)
        except ModelError as error:
            return {"error": error.message}
        finally:
            self.server.places.release()
        return found if "error" in found else {"model": model.digest, **found}

    def _chunk(self, values: dict[str, Any]) -> int:
        data = _text(values)
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
        self.wfile.flush()
        return len(data)

    @contextmanager
    def _working(self) -> Iterator[None]:
        self.server.counted(at_work=1)
        try:
            yield
        finally:
            self.server.counted(at_work=-1)

    def _admitted(self) -> bool:
        if self.server.door.token is None:
            return True
        scheme, _, given = self.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self.server.door.knows(given.strip()):
            return True
        self._refuse(HTTPStatus.UNAUTHORIZED, "give the token: Authorization: Bearer TOKEN")
        return False

    def _length(self, *, chunks: bool = False) -> int | _Answer | None:
        """Of the body; None where it comes in `chunks`."""
        told, coded = (self.headers.get_all(name, []) for name in ("Content-Length", "Transfer-Encoding"))  # fmt: skip
        if chunks and not told and [each.strip().lower() for each in coded] == ["chunked"] and self.request_version == "HTTP/1.1":  # fmt: skip
            return None
        if coded or len(told) != 1 or not told[0].isascii() or not told[0].isdecimal():
            return _error(HTTPStatus.LENGTH_REQUIRED, "give Content-Length")
        most = limits.MOST_STREAMED if chunks else limits.MOST_BODY
        if len(told[0]) > 12 or int(told[0]) > most:
            return _error(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"at most {most} bytes")
        return int(told[0])

    def _body(self) -> bytes | _Answer:
        length = self._length()
        if not isinstance(length, int):
            return length or _error(HTTPStatus.LENGTH_REQUIRED, "give Content-Length")
        self.server.due.within(limits.BODY_S, self.connection)
        body = self.rfile.read(length)
        self.server.due.done(self.connection)
        self.server.metrics.took(len(body))
        if len(body) < length:
            return _error(HTTPStatus.BAD_REQUEST, "the body ends early")
        self._whole = True
        return body

    def _busy(self, why: str) -> None:
        """A short body is read all the same: a connection that ends before could take the answer with it."""
        length = self._length()
        if isinstance(length, int) and length <= limits.DRAINED:
            self._body()
        self._answer(*_error(HTTPStatus.SERVICE_UNAVAILABLE, why), ("Retry-After", str(limits.RETRY_S)))  # fmt: skip

    def _refuse(self, status: HTTPStatus, why: str) -> None:
        self._answer(*_error(status, why))

    def _answer(self, status: HTTPStatus, values: dict[str, Any], *more: tuple[str, str]) -> None:
        self._send(status, _text(values), JSON, *more)

    def _send(self, status: HTTPStatus, data: bytes, kind: str, *more: tuple[str, str]) -> None:
        """The last of a connection unless its request was read whole: what a refused one still had to say is never read
        as the next.
        """
        self.close_connection = self.close_connection or not self._whole
        self._head(status, kind, ("Content-Length", str(len(data))), *more)
        self.wfile.write(data)
        route = self.path if self.path in openapi.ROUTES else OTHER
        self.server.metrics.ended(route, status, len(data))

    def _head(self, status: HTTPStatus, kind: str, *more: tuple[str, str]) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        for name, value in more:
            self.send_header(name, value)
        self.send_header("Cache-Control", "no-store")
        self.send_header("Connection", "close" if self.close_connection else "keep-alive")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of the base class
        """Requests are not written down."""


def _text(values: dict[str, Any]) -> bytes:
    return (readable(values, tight=True) + "\n").encode()


def _error(status: HTTPStatus, why: str) -> _Answer:
    return status, {"error": why}
