"""`agent run --page`: the owner's page, read-only and on loopback alone.

Whoever wants to see it from elsewhere opens a tunnel to this device; a device has no certificate and
no business with listening on a network.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from edgeveil.agent.home.data import InUse
from edgeveil.agent.reports.own_metrics import OwnMetrics
from edgeveil.agent.reports.page_view import Own, own_state, page
from edgeveil.shared.base.errors import ConfigError, EdgeveilError
from edgeveil.shared.pages.door import Door, is_loopback, split_address
from edgeveil.shared.pages.server import PageServer, bind, html, language, openmetrics, plain_text

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

DEFAULT = "127.0.0.1:8481"


def owners_page(
    home: Path,
    dataset: str,
    wanted: str,
    metrics: OwnMetrics,
    in_use: Callable[[], InUse | None] = lambda: None,
) -> PageServer:
    """The server of the page at `wanted`, host:port, bound and not yet started; `in_use`: the records.

    The default address gives way to a free port; another that is taken, or is not on loopback,
    raises ConfigError.
    """
    host, port = split_address(wanted, "--page-listen")
    if not is_loopback(host):
        raise ConfigError(
            f"--page-listen {wanted}: the page is shown on loopback only; to see it from elsewhere "
            "open a tunnel, such as ssh -L 8481:127.0.0.1:8481"
        )

    def shown(make: "Callable[[Own, Request], Response]") -> "Callable[[Request], Response]":
        def answer(request: "Request") -> "Response":
            try:
                own = own_state(home, dataset, in_use())
            except EdgeveilError as error:
                return plain_text(str(error), 503)
            return make(own, request)

        return answer

    answers = {
        "/": shown(lambda own, request: html(page(own, language(request)), live=True)),
        "/metrics": shown(lambda own, _: openmetrics(metrics.render(own))),
    }
    listener = bind(
        host, port, fixed=wanted != DEFAULT, advice="choose another with --page-listen HOST:PORT"
    )
    return PageServer(listener, Door(), answers)
