"""The server of the page: four read-only routes in a thread of their own.

On loopback anybody who can log in to this machine may look, as far as the page's Host header says so;
elsewhere TLS and the token of page.token are needed. It only reads, and forgets nothing but by restart.
"""

import contextlib
import socket
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from coordinator.dashboard.view import Pages
from coordinator.metrics_endpoint import metrics_route
from shared.errors import ConfigError
from shared.pages.bell import Bell, TooMany
from shared.pages.document import Language
from shared.pages.door import COOKIE, Door, headers, is_loopback, page_token, split_address

DEFAULT = "127.0.0.1:8480"
OFF = "off"
TOKEN_FILE = "page.token"  # noqa: S105 - the name of a file
STOP_S = 2


@dataclass(frozen=True)
class PageAddress:
    """`fixed`: the operator chose it, so a busy port is an error; else any free port will do."""

    host: str
    port: int
    fixed: bool

    @classmethod
    def of(cls, wanted: str | None) -> "PageAddress | None":
        """From coordinator.toml; None when the page is off."""
        if wanted == OFF:
            return None
        return cls(*split_address(wanted or DEFAULT, "page"), fixed=wanted is not None)

    def bind(self) -> socket.socket:
        """Raises ConfigError for an address that is taken or not ours."""
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((self.host, self.port))
        except OSError as error:
            if self.fixed:
                listener.close()
                raise ConfigError(
                    f"cannot show the page on {self.host}:{self.port} ({error.strerror or error}); "
                    'change `page` in coordinator.toml, or set it to "off"'
                ) from error
            listener.bind((self.host, 0))
        listener.listen(64)  # at once: until then another process could take the same port
        return listener


class Dashboard:
    """start(), ring() at every event, stop(). `tls`: (chain, key), used unless on loopback."""

    def __init__(
        self,
        address: PageAddress,
        home: Path,
        pages: Pages,
        metrics: Callable[[], str],
        tls: tuple[Path, Path] | None,
    ) -> None:
        local = is_loopback(address.host)
        if not local and tls is None:
            raise ConfigError(f"page {address.host}: without TLS it is shown on loopback only")
        self._pages = pages
        self._door = Door(None if local else page_token(home / TOKEN_FILE))
        self._bell = Bell()
        self._socket = address.bind()
        chain, key = (None, None) if local or tls is None else tls
        name = f"[{address.host}]" if ":" in address.host else address.host
        self.url = f"http{'' if local else 's'}://{name}:{self._socket.getsockname()[1]}/"
        config = uvicorn.Config(
            Starlette(routes=self._routes(metrics), lifespan=self._lifespan),
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=STOP_S,
            ssl_certfile=chain,
            ssl_keyfile=key,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, name="page", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def ring(self) -> None:
        """Tell everybody who looks that there is something new."""
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

    def _routes(self, metrics: Callable[[], str]) -> list[Route]:
        return [
            Route("/", self._front, methods=["GET"]),
            Route("/runs/{run_id}", self._run_page, methods=["GET"]),
            Route("/events", self._events, methods=["GET"]),
            metrics_route(metrics, self._guard),
        ]

    async def _front(self, request: Request) -> Response:
        refused = self._guard(request)
        if refused is not None:
            return refused
        html = await run_in_threadpool(self._pages.front, _language(request))
        return Response(html, media_type="text/html", headers=headers(live=True))

    async def _run_page(self, request: Request) -> Response:
        refused = self._guard(request)
        if refused is not None:
            return refused
        run_id = request.path_params["run_id"]
        html = await run_in_threadpool(self._pages.run, run_id, _language(request))
        if html is None:
            return PlainTextResponse("no such run", status_code=404, headers=headers(live=False))
        return Response(html, media_type="text/html", headers=headers(live=False))

    async def _events(self, request: Request) -> Response:
        refused = self._guard(request)
        if refused is not None:
            return refused
        try:
            self._bell.admit()
        except TooMany:
            return PlainTextResponse("too many are watching", status_code=503)
        return StreamingResponse(
            self._bell.stream(), media_type="text/event-stream", headers=headers(live=True)
        )

    def _guard(self, request: Request) -> Response | None:
        """None when this request may look; else the answer it gets."""
        if not self._door.names_us(request.headers.get("host", "")):
            return PlainTextResponse("this page is for this machine only", status_code=421)
        asked = request.query_params.get("token")
        if self._door.token is not None and asked is not None and self._door.knows(asked):
            answer = RedirectResponse(request.url.remove_query_params("token"), status_code=303)
            answer.set_cookie(COOKIE, asked, httponly=True, secure=True, samesite="strict")
            return answer
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
        if self._door.knows(request.cookies.get(COOKIE) or bearer):
            return None
        text = f"append ?token=… with the content of {TOKEN_FILE} in the coordinator's home"
        return PlainTextResponse(text, status_code=401, headers=headers(live=False))


def _language(request: Request) -> Language:
    """The one asked for; else the browser's first choice if it is Chinese, else English."""
    asked = request.query_params.get("lang")
    if asked in {"en", "zh"}:
        return "zh" if asked == "zh" else "en"
    first = request.headers.get("accept-language", "").strip().lower()
    return "zh" if first.startswith("zh") else "en"
