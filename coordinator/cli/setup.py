"""`coordinator init`: the home folder with its keys, certificates, database and configuration.

coordinator.toml is written last, so a home that has one is complete; init on an unfinished home
goes on where the crash left it.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from edgeveil.coordinator.federation import certificates, roster_files, tls
from edgeveil.coordinator.plan.config import CoordinatorConfig, identity_path, load_config
from edgeveil.coordinator.store.store import Store
from edgeveil.shared.base.config import validate
from edgeveil.shared.base.errors import ConfigError
from edgeveil.shared.base.files import private_directory, write_atomic
from edgeveil.shared.wire.identity import Identity
from edgeveil.shared.wire.tokens import fingerprint as short_fingerprint
from edgeveil.shared.wire.tokens import is_address

FEDERATION_PUBLIC = "federation.pub"


@dataclass(frozen=True)
class Initialised:
    home: Path
    federation: Path
    url: str
    ca_sha256: str
    federation_fingerprint: str
    one_machine: bool
    fresh: bool


def wanted(url: str, listen: str | None, hosts: tuple[str, ...]) -> CoordinatorConfig:
    """The configuration of a new home, its federation key still zeros.

    Without `listen`: every address, at the port that the URL names.

    Raises:
        ConfigError: a malformed URL or address.
    """
    values: dict[str, object] = {"url": url, "hosts": hosts, "federation_public": "0" * 64}
    if listen is None and is_address(url) and (port := urlsplit(url).port):
        listen = f"0.0.0.0:{port}"
    if listen is not None:
        values["listen"] = listen
    return validate(values, CoordinatorConfig, source="coordinator init")


def initialise(
    home: Path,
    federation: Path,
    *,
    url: str,
    listen: str | None,
    hosts: tuple[str, ...],
    passphrase: bytes | None,
    one_machine: bool = False,
) -> Initialised:
    """Make everything that is missing; an initialised home with the same URL is left as it is.

    With `one_machine`, `coordinator serve` will start a signer process on the federation key.

    Raises:
        ConfigError: a malformed URL or address, or the home has another URL or address.
    """
    config = wanted(url, listen, hosts)
    fresh = not (home / "coordinator.toml").exists()
    if fresh:
        private_directory(home)
        federation_public = _federation(federation, passphrase)
        if not identity_path(home).exists():
            Identity.generate().save(identity_path(home))
        certificates.ensure_authority(tls.tls_folder(home))
        certificates.ensure_leaf(tls.tls_folder(home), config.certificate_hosts)
        Store.open(home, create=True).close()
        found = {"federation_public": federation_public.hex()}
        config = config.model_copy(
            update=found | {"federation_folder": federation if one_machine else None}
        )
        write_atomic(home / "coordinator.toml", _render(config).encode())
    else:
        config = load_config(home)
        Identity.load(identity_path(home))
        Store.open(home, read_only=True).close()  # raises what is missing or damaged
    if config.url != url:
        raise ConfigError(
            f"{home}: already initialised for {config.url}; edit coordinator.toml to move it"
        )
    if listen is not None and config.listen != listen:
        raise ConfigError(
            f"{home}: already initialised to listen on {config.listen}; edit coordinator.toml to change it"
        )
    return Initialised(
        home,
        federation,
        url,
        certificates.fingerprint((tls.tls_folder(home) / "ca.pem").read_bytes()).hex(),
        short_fingerprint(bytes.fromhex(config.federation_public)).hex(),
        config.federation_folder is not None,
        fresh,
    )


def _federation(folder: Path, passphrase: bytes | None) -> bytes:
    """The federation's public key, from a key pair made on first use."""
    private_directory(folder)
    public = folder / FEDERATION_PUBLIC
    if not public.exists():
        private = folder / roster_files.FEDERATION_KEY
        private.unlink(missing_ok=True)  # no public half: nobody has pinned it yet
        made = roster_files.create_federation_key(private, passphrase)
        write_atomic(public, made.public.hex().encode() + b"\n", mode=0o644)
    return bytes.fromhex(public.read_text().strip())


def _render(config: CoordinatorConfig) -> str:
    hosts = ", ".join(f'"{host}"' for host in config.hosts)
    key = ""
    if config.federation_folder is not None:
        folder = json.dumps(str(config.federation_folder))
        key = (
            "# One-machine mode: `serve` starts a signer process on the key in this folder. Whoever takes\n"
            "# this machine over can admit members. Remove the line to sign rosters yourself.\n"
            f"federation_folder = {folder}\n"
        )
    return (
        "# Written by `coordinator init`; docs/configuration.md explains every key.\n"
        f'url = "{config.url}"  # what agents are told to reach\n'
        f'listen = "{config.listen}"  # host:port of the public gateway\n'
        f"hosts = [{hosts}]  # further names and addresses in the server certificate\n"
        f'federation_public = "{config.federation_public}"  # the key that signs rosters, in hex\n'
        f"{key}"
    )
