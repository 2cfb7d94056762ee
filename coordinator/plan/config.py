"""What an operator writes about the server: coordinator.toml (coordinator.plan.plan: what to train)."""

import ipaddress
import re
from pathlib import Path
from typing import Self

from pydantic import Field, field_validator, model_validator

from edgeveil.coordinator.store.place import StoreSection
from edgeveil.shared.base.config import Settings, load
from edgeveil.shared.base.errors import ConfigError
from edgeveil.shared.tasks.own import shelf
from edgeveil.shared.wire.tokens import is_address

SIMULATION = "simulation.json"  # in a home whose devices are made up: `coordinator simulate`


class CoordinatorConfig(Settings):
    """coordinator.toml, written by `coordinator init`."""

    url: str  # what agents are told to reach
    listen: str = "0.0.0.0:8443"  # host:port of the public gateway
    hosts: tuple[str, ...] = ()  # further names and addresses in the server certificate
    federation_public: str = Field(pattern=r"^[0-9a-f]{64}$")
    federation_folder: Path | None = (
        None  # one-machine mode: where the signer process finds the key
    )
    certificate: Path | None = None  # the operator's own: leaf and intermediates, PEM
    certificate_key: Path | None = None
    authority: Path | None = None  # its root, which agents pin

    page: str | None = None  # host:port of the live page; default 127.0.0.1:8480 or a free port
    store: StoreSection = StoreSection()

    @field_validator("url")
    @classmethod
    def _url_is_one_that_tokens_carry(cls, value: str) -> str:
        if not is_address(value):
            raise ValueError("must be https://HOST:PORT (or https://HOST for 443), without a path")
        return value

    @field_validator("page")
    @classmethod
    def _page_is_host_and_port(cls, value: str | None) -> str | None:
        return value if value is None or value == "off" else cls._listen_is_host_and_port(value)

    @model_validator(mode="after")
    def _certificate_is_complete(self) -> Self:
        """`authority` may stand alone: then a proxy on this machine holds the rest."""
        given = [self.certificate, self.certificate_key]
        if any(given) and not all([*given, self.authority]):
            raise ValueError("certificate, certificate_key and authority belong together")
        return self

    @field_validator("listen")
    @classmethod
    def _listen_is_host_and_port(cls, value: str) -> str:
        host, _, port = value.rpartition(":")
        if not host or not port.isdigit() or int(port) > 65535:
            raise ValueError("must be host:port with a port of 0 to 65535")
        if re.fullmatch(r"[0-9.]+|\[.*\]", host):
            ipaddress.ip_address(host.strip("[]"))  # its ValueError names what is wrong
        return value

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.listen.rpartition(":")
        return host.strip("[]"), int(port)

    @property
    def certificate_hosts(self) -> list[str]:
        """Every name an agent may use: the URL's host first."""
        return list(dict.fromkeys((self.host, *self.hosts)))

    @property
    def host(self) -> str:
        """The name or address that agents reach."""
        return re.sub(r":\d+$", "", self.url.removeprefix("https://")).strip("[]")


def refuse_simulated(home: Path) -> None:
    """Raise ConfigError for the home of a simulation, which no real device may take for a coordinator's."""
    if (home / SIMULATION).exists():
        raise ConfigError(
            f"{home}: holds a simulation, whose devices are made up; initialise a coordinator elsewhere: coordinator init"
        )


def load_config(home: Path) -> CoordinatorConfig:
    """coordinator.toml of an initialised home; from here on the home's own tasks are known too.

    Raises:
        ConfigError: that says how to make one.
        StateDamaged: the list of own tasks cannot be read.
    """
    path = home / "coordinator.toml"
    if not path.exists():
        raise ConfigError(
            f"{home}: no coordinator lives here; run: coordinator init --home {home} --url https://HOST:8443"
        )
    config = load(path, CoordinatorConfig)
    shelf.use(home)
    return config


def identity_path(home: Path) -> Path:
    return home / "identity.key"


def check_loopback(host: str) -> None:
    """Raise ConfigError: a proxy's TLS does not protect what listens elsewhere without."""
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False  # a name may resolve to anything
    if not loopback:
        raise ConfigError(
            f"plain HTTP is served on a loopback address only, not on {host}: "
            'set listen = "127.0.0.1:PORT" in coordinator.toml and put a TLS proxy in front'
        )
