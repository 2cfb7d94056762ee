"""The server behind a page, for both roles: a few read-only routes in a thread of their own.

On loopback anybody who can log in to this machine may look, as far as the Host header names this
machine; elsewhere TLS and a token are needed. It only reads, and forgets nothing but by restart.
"""

import contextlib
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from edgeveil.shared.base.errors import ConfigError
from edgeveil.shared.pages.bell import Bell, TooMany
from edgeveil.shared.pages.door import COOKIE, Door, headers, is_loopback
from edgeveil.shared.pages.openmetrics import CONTENT_TYPE
from edgeveil.shared.pages.words import LANGUAGES, Language

STOP_S = 2
Answer = Callable[[Request], Response]  # may block: it runs in a thread of its own


class PageServer:
    """start(), ring() when there is something new, stop().

    `answers`: path → what is given to whoever may look; /events is the server's own. `tls`: (chain,
    key), used unless on loopback. `hint` tells a stranger where the token is.
    """

    def __init__(
        self,
        listener: socket.socket,
        door: Door,
        answers: Mapping[str, Answer],
        *,
        tls: tuple[Path, Path] | None = None,
        hint: str = "",
    ) -> None:
        self._door, self._hint, self._bell, self._socket = door, hint, Bell(), listener
        host, port = listener.getsockname()[:2]
        chain, key = (None, None) if tls is None or is_loopback(host) else tls
        name = f"[{host}]" if ":" in host else host
        self.url = f"http{'' if chain is None else 's'}://{name}:{port}/"
        routes = [Route(path, self._guarded(answer)) for path, answer in answers.items()]
        routes.append(Route("/events", self._events))
        config = uvicorn.Config(
            Starlette(routes=routes, lifespan=self._lifespan),
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

    def _guarded(self, answer: Answer) -> Callable[[Request], Awaitable[Response]]:
        async def guarded(request: Request) -> Response:
            refused = self._refused(request)
            return await run_in_threadpool(answer, request) if refused is None else refused

        return guarded

    async def _events(self, request: Request) -> Response:
        refused = self._refused(request)
        if refused is not None:
            return refused
        try:
            return _Ringing(self._bell)
        except TooMany:
            return PlainTextResponse("too many are watching", status_code=503)

    def _refused(self, request: Request) -> Response | None:
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
        return PlainTextResponse(self._hint, status_code=401, headers=headers(live=False))


class _Ringing(StreamingResponse):
    """The stream of one listener; its place is taken here and given back however it ends."""

    def __init__(self, bell: Bell) -> None:
        self._bell, self._place = bell, bell.admit()
        stream = bell.stream(self._place)
        super().__init__(stream, media_type="text/event-stream", headers=headers(live=True))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._bell.leave(self._place)


def bind(host: str, port: int, *, fixed: bool, advice: str) -> socket.socket:
    """A listening socket; unless the address is `fixed`, another port will do when it is taken.

    Raises:
        ConfigError: a fixed address is taken or not ours; ends with the `advice`.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        if fixed:
            listener.close()
            raise ConfigError(
                f"cannot show the page on {host}:{port} ({error.strerror or error}); {advice}"
            ) from error
        listener.bind((host, 0))
    listener.listen(64)  # at once: until then another process could take the same port
    return listener


def html(text: str, *, live: bool) -> Response:
    return Response(text, media_type="text/html", headers=headers(live=live))


def plain_text(text: str, status: int) -> Response:
    return PlainTextResponse(text, status_code=status, headers=headers(live=False))


def openmetrics(text: str) -> Response:
    return Response(text, headers={"content-type": CONTENT_TYPE, "cache-control": "no-store"})


def language(request: Request) -> Language:
    """The one asked for; else the browser's first choice if there is such a page, else English."""
    asked = request.query_params.get("lang")
    first = request.headers.get("accept-language", "").strip().lower()
    known = [one for one in LANGUAGES if one == asked] or [
        one for one in LANGUAGES if first.startswith(one)
    ]
    return known[0] if known else "en"
