"""Which certificate the coordinator shows and which authority agents pin: its own, or the operator's.

Whatever will be served is rehearsed first: a handshake in memory with the very checks an agent makes.
"""

import hashlib
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from edgeveil.coordinator.federation.certificates import ensure_leaf
from edgeveil.coordinator.plan.config import CoordinatorConfig
from edgeveil.shared.base.errors import ConfigError
from edgeveil.shared.base.files import read_file, read_secret, write_secret
from edgeveil.shared.wire.certificates import pinned_context, why_refused
from edgeveil.shared.wire.tokens import fingerprint


def tls_folder(home: Path) -> Path:
    return home / "tls"


def authority_path(home: Path, config: CoordinatorConfig) -> Path:
    """The certificate that agents pin, in PEM."""
    return config.authority or tls_folder(home) / "ca.pem"


def authority_fingerprint(home: Path, config: CoordinatorConfig) -> bytes:
    """The 16 bytes that stand in tokens; raises ConfigError."""
    certificate = _certificates(authority_path(home, config))[0]
    return fingerprint(certificate.public_bytes(Encoding.DER))


def serving_files(home: Path, config: CoordinatorConfig) -> tuple[Path, Path]:
    """(chain with the authority in it, key) to serve; renewed when it is our own and old enough.

    Raises:
        ConfigError: the operator's files cannot be read, do not belong together, have expired, or
            are not for the host of `url`.
        StateDamaged: a key file that others can read; our own authority is damaged.
    """
    if config.certificate is None or config.certificate_key is None:
        chain, key = ensure_leaf(tls_folder(home), config.certificate_hosts)
    else:
        chain, key = _operators(home, config, config.certificate, config.certificate_key)
    try:
        rehearse(chain, key, authority_path(home, config), config.host)
    except ssl.SSLError as error:
        where = config.certificate or chain
        raise ConfigError(f"{where}: agents would refuse it: {why_refused(error)}") from error
    return chain, key


def stamp(config: CoordinatorConfig) -> str:
    """Changes when the operator puts other certificate files in place; empty for our own."""
    if config.certificate is None or config.certificate_key is None:
        return ""
    found = hashlib.sha256()
    for path in (config.certificate, config.certificate_key):
        try:
            found.update(path.read_bytes())
        except OSError:
            return "unreadable"
    return found.hexdigest()


def rehearse(chain: Path, key: Path, authority: Path, host: str) -> ssl.SSLObject:
    """The client's end of a handshake between these files and an agent that reaches `host`.

    Raises:
        ssl.SSLError: what the agent, or the server, would have met.
    """
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(chain, key)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = server_context.wrap_bio(to_server, to_client, server_side=True)
    trusted = pinned_context(read_file(authority))
    client = trusted.wrap_bio(to_client, to_server, server_hostname=host)
    while not (_step(client) & _step(server)):
        continue
    return client


def _step(end: ssl.SSLObject) -> bool:
    try:
        end.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True


def _operators(
    home: Path, config: CoordinatorConfig, certificate: Path, key: Path
) -> tuple[Path, Path]:
    """The operator's chain, completed by the authority, which joining devices must be shown."""
    parts = _certificates(certificate)
    authority = _certificates(authority_path(home, config))[0]
    if authority not in parts:
        parts.append(authority)
    chain = tls_folder(home) / "operator.pem"
    _store(chain, b"".join(part.public_bytes(Encoding.PEM) for part in parts))
    # A copy, so that what was rehearsed is what is loaded, whenever the operator replaces it.
    copy = tls_folder(home) / "operator.key"
    _store(copy, read_secret(key.resolve()))  # certbot's names are links
    return chain, copy


def _store(path: Path, data: bytes) -> None:
    if not path.exists() or path.read_bytes() != data:
        write_secret(path, data)


def _certificates(path: Path) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(read_file(path))
    except ValueError as error:
        raise ConfigError(f"{path}: holds no certificate in PEM") from error
