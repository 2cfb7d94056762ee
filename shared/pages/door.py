"""Who may see a page that a process serves: this machine alone, or whoever holds its token (pure)."""

import hmac
import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edgeveil.shared.base.errors import ConfigError
from edgeveil.shared.base.files import read_secret, write_secret
from edgeveil.shared.pages.document import policy

COOKIE = "edgeveil_page"
LEAST_TOKEN = 16  # characters
LOCAL_NAMES = {"localhost", "127.0.0.1", "::1"}


@dataclass(frozen=True)
class Door:
    """`token`: None on loopback, where the machine's own users may look."""

    token: str | None = field(default=None, repr=False)

    def names_us(self, host: str) -> bool:
        """Whether a Host header means this machine; a page elsewhere must not reach us through DNS."""
        name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
        return self.token is not None or name.strip("[]").lower() in LOCAL_NAMES

    def knows(self, given: str | None) -> bool:
        """Whether this is the token; takes the same time for every wrong one."""
        if self.token is None:
            return True
        return hmac.compare_digest((given or "").encode(), self.token.encode())


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def split_address(text: str, what: str) -> tuple[str, int]:
    """("127.0.0.1", 8480) of "127.0.0.1:8480"; raises ConfigError."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise ConfigError(f"{what} {text!r}: write host:port with a port of 0 to 65535")
    return host.strip("[]"), int(port)


def page_token(path: Path) -> str:
    """The token of this home's page, made once, in a file that only its owner reads."""
    if not path.exists():
        write_secret(path, os.urandom(32).hex().encode() + b"\n")
    token = read_secret(path).decode("ascii", "replace").strip()
    if len(token) < LEAST_TOKEN or not token.isascii():
        raise ConfigError(
            f"{path}: no token of at least {LEAST_TOKEN} plain characters; delete the file, and a new one is made"
        )
    return token


def headers(*, live: bool) -> Mapping[str, str]:
    """Of every answer."""
    return {
        "Content-Security-Policy": f"{policy(live=live)}; frame-ancestors 'none'",
        "Cache-Control": "no-store",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "Cross-Origin-Resource-Policy": "same-origin",
    }
