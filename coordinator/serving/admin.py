"""The operator's door to a running coordinator: a 0600 Unix socket in its home, nothing else.

`coordinator serve` answers here; the other commands call it. Who may open the socket is decided by
the file system alone, and every body is bounded and parsed strictly.
"""

import json
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from edgeveil.shared.base.errors import EdgeveilError
from edgeveil.shared.base.exit_codes import ExitCode
from edgeveil.shared.base.files import short_socket_path

MAX_BODY = 32 << 20  # bytes; a signed roster of 10,000 members has about 3 MB
Handler = Callable[[dict[str, Any]], dict[str, Any]]


class AdminServer:
    """Serves `handlers` (name → function) at POST /<name> until stop()."""

    def __init__(self, path: Path, handlers: dict[str, Handler]) -> None:
        self._path = path
        routes = [
            Route(f"/{name}", _endpoint(handler), methods=["POST"])
            for name, handler in handlers.items()
        ]
        config = uvicorn.Config(
            Starlette(routes=routes),
            log_config=None,
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=2,
        )
        self._server = uvicorn.Server(config)
        self._socket = bind_private(path)
        self._thread = threading.Thread(target=self._run, name="admin", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(timeout=5)
        self._socket.close()
        self._path.unlink(missing_ok=True)

    def _run(self) -> None:
        self._server.run(sockets=[self._socket])


def _endpoint(handler: Handler) -> Callable[[Request], Any]:
    async def answer(request: Request) -> Response:
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY:
                return _no("request too large", 413)
        try:
            arguments = json.loads(body or b"{}")
            if not isinstance(arguments, dict):
                return _no("expected a JSON object", 400)
            return JSONResponse(await run_in_threadpool(handler, arguments))
        except EdgeveilError as error:
            return _no(str(error), 409, error.exit_code)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            return _no(f"malformed request: {error}", 400)

    return answer


def _no(why: str, status: int, code: ExitCode = ExitCode.USAGE) -> Response:
    return JSONResponse({"error": why, "exit_code": int(code)}, status_code=status)


def bind_private(path: Path) -> socket.socket:
    """Listen on a fresh Unix socket of mode 0600; a stale one of a killed process is replaced."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with short_socket_path(path) as name:
        listener.bind(name)
    path.chmod(0o600)
    listener.listen(16)
    return listener
