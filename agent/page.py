"""`agent run --page`: the owner's page, read-only and on loopback alone.

Whoever wants to see it from elsewhere opens a tunnel to this device; a device has no certificate and
no business with listening on a network.
"""

import contextlib
import socket
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from agent.page_view import metrics, own_state, page
from shared.errors import ConfigError, EdgeveilError
from shared.openmetrics import CONTENT_TYPE
from shared.pages.bell import Bell, TooMany
from shared.pages.document import Language
from shared.pages.door import Door, headers, is_loopback, split_address

DEFAULT = "127.0.0.1:8481"
STOP_S = 2


class OwnersPage:
    """start(), ring() at every line of the journal, stop()."""

    def __init__(self, home: Path, dataset: str, wanted: str) -> None:
        """`wanted`: host:port; the default one gives way to a free port, another raises ConfigError."""
        host, port = split_address(wanted, "--page-listen")
        if not is_loopback(host):
            raise ConfigError(
                f"--page-listen {wanted}: the page is shown on loopback only; to see it from elsewhere "
                "open a tunnel, such as ssh -L 8481:127.0.0.1:8481"
            )
        self._home, self._dataset = home, dataset
        self._door, self._bell = Door(), Bell()
        self._socket = _bind(host, port, fixed=wanted != DEFAULT)
        name = f"[{host}]" if ":" in host else host
        self.url = f"http://{name}:{self._socket.getsockname()[1]}/"
        routes = [
            Route("/", self._front, methods=["GET"]),
            Route("/events", self._events, methods=["GET"]),
            Route("/metrics", self._metrics, methods=["GET"]),
        ]
        config = uvicorn.Config(
            Starlette(routes=routes, lifespan=self._lifespan),
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=STOP_S,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, name="page", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def ring(self) -> None:
        self._bell.ring()

    def stop(self) -> None:
        self._bell.close()
        self._server.should_exit = True
        self._thread.join(timeout=STOP_S + 1)
        self._socket.close()

    def _run(self) -> None:
        self._server.run(sockets=[self._socket])

    @contextlib.asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        self._bell.bind()
        yield

    async def _front(self, request: Request) -> Response:
        if not self._door.names_us(request.headers.get("host", "")):
            return _foreign()
        try:
            own = await run_in_threadpool(own_state, self._home, self._dataset)
        except EdgeveilError as error:
            return PlainTextResponse(str(error), status_code=503, headers=headers(live=True))
        html = page(own, _language(request))
        return Response(html, media_type="text/html", headers=headers(live=True))

    async def _metrics(self, request: Request) -> Response:
        if not self._door.names_us(request.headers.get("host", "")):
            return _foreign()
        try:
            own = await run_in_threadpool(own_state, self._home, self._dataset)
        except EdgeveilError as error:
            return PlainTextResponse(str(error), status_code=503)
        return Response(metrics(own), headers={"content-type": CONTENT_TYPE})

    async def _events(self, request: Request) -> Response:
        if not self._door.names_us(request.headers.get("host", "")):
            return _foreign()
        try:
            self._bell.admit()
        except TooMany:
            return PlainTextResponse("too many are watching", status_code=503)
        return StreamingResponse(
            self._bell.stream(), media_type="text/event-stream", headers=headers(live=True)
        )


def _bind(host: str, port: int, *, fixed: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        if fixed:
            listener.close()
            raise ConfigError(
                f"--page-listen: cannot listen on {host}:{port} ({error.strerror or error})"
            ) from error
        listener.bind((host, 0))
    listener.listen(64)  # at once: until then another process could take the same port
    return listener


def _foreign() -> Response:
    return PlainTextResponse("this page is for this machine only", status_code=421)


def _language(request: Request) -> Language:
    asked = request.query_params.get("lang")
    if asked in {"en", "zh"}:
        return "zh" if asked == "zh" else "en"
    first = request.headers.get("accept-language", "").strip().lower()
    return "zh" if first.startswith("zh") else "en"
