"""[store] of coordinator.toml: where the database is, when it is not home/state.db."""

import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

from pydantic import model_validator

from edgeveil.shared.base.config import Settings, read_toml, validate
from edgeveil.shared.base.errors import ConfigError, StateDamaged
from edgeveil.shared.base.files import read_secret

FORM = "postgresql+psycopg://USER@HOST:PORT/DATABASE, or …://USER@/DATABASE?host=/FOLDER for a Unix socket"
PORT = 5432


class StoreSection(Settings):
    """Checked as a whole: an error then shows no value, in which somebody may have left a password."""

    url: str | None = None
    password_file: Path | None = None
    authority: Path | None = None  # PEM, for a server whose certificate is of nobody well known

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if self.url is None:
            if self.password_file or self.authority:
                raise ValueError("password_file and authority belong to a url")
            return self
        server_of(self)
        return self


@dataclass(frozen=True, slots=True)
class Server:
    """A PostgreSQL database and how it is reached; where the password is, and never the password."""

    host: str  # or the folder of its Unix socket
    port: int
    user: str
    database: str
    password_file: Path | None
    authority: Path | None

    @property
    def name(self) -> str:
        at = self.host if self.local_socket else f"{self.host}:{self.port}"
        return f"PostgreSQL database {self.database} at {at}"

    @property
    def local_socket(self) -> bool:
        return self.host.startswith("/")

    @property
    def encrypted(self) -> bool:
        """Whether TLS with a verified name is insisted on: everywhere but on this machine."""
        return self.authority is not None or not (self.local_socket or _is_loopback(self.host))

    def reached_by(self) -> dict[str, Any]:
        """What libpq is told; raises ConfigError as password() does."""
        trust = {"sslmode": "prefer"}
        if self.encrypted:
            authority = "system" if self.authority is None else str(self.authority.resolve())
            trust = {"sslmode": "verify-full", "sslrootcert": authority}
        return {
            "host": self.host,
            "port": self.port,
            "user": self.user,
            "dbname": self.database,
            "password": self.password(),
            **trust,
        }

    def password(self) -> str | None:
        """None leaves it to libpq: PGPASSWORD, PGPASSFILE, or none at all.

        Raises:
            ConfigError: the file is open to others, absent, or not one line of text.
        """
        if self.password_file is None:
            return None
        try:
            text = read_secret(self.password_file, most=1024, what="password file").decode()
        except StateDamaged as error:
            raise ConfigError(f"coordinator.toml: store.password_file: {error.message}") from error
        except UnicodeDecodeError as error:
            raise ConfigError(f"{self.password_file}: a password is one line of UTF-8") from error
        line = text.removesuffix("\n").removesuffix("\r")
        if not line.isprintable() or not line:
            raise ConfigError(f"{self.password_file}: a password is one line of UTF-8")
        return line


def place_of(home: Path) -> Server | None:
    """The server that coordinator.toml of this home names; None for home/state.db.

    Raises:
        ConfigError: a mistake in [store].
    """
    path = home / "coordinator.toml"
    if not path.exists():
        return None
    values = read_toml(path).get("store", {})
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: store: must be a section, [store]")
    section = validate(values, StoreSection, source=f"{path}: store")
    return None if section.url is None else server_of(section)


def server_of(section: StoreSection) -> Server:
    """Raises ValueError with the rule that the url breaks, and without the url."""
    try:
        parts = urlsplit(section.url or "")
        port = parts.port or PORT
    except ValueError:  # whose text shows what may be a password
        raise ValueError(f"url must be {FORM}") from None
    if parts.scheme != "postgresql+psycopg":
        raise ValueError(f"url must be {FORM}")
    if parts.password is not None:
        raise ValueError("url must not hold a password; put it into password_file, or PGPASSWORD")
    asked = parse_qs(parts.query, keep_blank_values=True)
    if asked.keys() - {"host"} or len(asked.get("host", [])) > 1 or parts.fragment:
        raise ValueError(f"url must be {FORM}; `authority` says whose certificate is trusted")
    host = asked["host"][0] if "host" in asked else parts.hostname or ""
    if ("host" in asked) == bool(parts.hostname) or ("host" in asked and not host.startswith("/")):
        raise ValueError(f"url must name one host or one socket folder: {FORM}")
    user, database = unquote(parts.username or ""), unquote(parts.path.removeprefix("/"))
    if not user or not database or "," in host or not (user + database + host).isprintable():
        raise ValueError(f"url must name user and database: {FORM}")
    return Server(host, port, user, database, section.password_file, section.authority)


def _is_loopback(host: str) -> bool:
    """Never true of a name, which may resolve to anything."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
