"""What the coordinator's page answers, and where: on loopback, or elsewhere by TLS and page.token."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgeveil.coordinator.watching.page_view import Pages
from edgeveil.shared.base.errors import ConfigError
from edgeveil.shared.pages.door import Door, is_loopback, page_token, split_address
from edgeveil.shared.pages.server import PageServer, bind, html, language, openmetrics, plain_text

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

DEFAULT = "127.0.0.1:8480"
OFF = "off"
TOKEN_FILE = "page.token"  # noqa: S105 - the name of a file
ADVICE = 'change `page` in coordinator.toml, or set it to "off"'
HINT = f"append ?token=… with the content of {TOKEN_FILE} in the coordinator's home"


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


def dashboard(
    address: PageAddress,
    home: Path,
    pages: Pages,
    metrics: Callable[[], str],
    tls: tuple[Path, Path] | None,
) -> PageServer:
    """The server of the page, bound and not yet started. `tls`: (chain, key), used unless on loopback.

    Raises:
        ConfigError: the address is taken, or is not on loopback and there is no TLS.
    """
    local = is_loopback(address.host)
    if not local and tls is None:
        raise ConfigError(f"page {address.host}: without TLS it is shown on loopback only")

    def front(request: "Request") -> "Response":
        return html(pages.front(language(request)), live=True)

    def run(request: "Request") -> "Response":
        found = pages.run(request.path_params["run_id"], language(request))
        return plain_text("no such run", 404) if found is None else html(found, live=False)

    return PageServer(
        bind(address.host, address.port, fixed=address.fixed, advice=ADVICE),
        Door(None if local else page_token(home / TOKEN_FILE)),
        {"/": front, "/runs/{run_id}": run, "/metrics": lambda _: openmetrics(metrics())},
        tls=tls,
        hint=HINT,
    )
