"""GET /metrics for Prometheus, on the listener of the page."""

from collections.abc import Awaitable, Callable

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from shared.openmetrics import CONTENT_TYPE

Guard = Callable[[Request], Response | None]


def metrics_route(render: Callable[[], str], guard: Guard) -> Route:
    """`guard` answers whoever may not look."""

    async def answer(request: Request) -> Response:
        refused = guard(request)
        if refused is not None:
            return refused
        text = await run_in_threadpool(render)
        return Response(text, headers={"content-type": CONTENT_TYPE, "cache-control": "no-store"})

    endpoint: Callable[[Request], Awaitable[Response]] = answer
    return Route("/metrics", endpoint, methods=["GET"])
