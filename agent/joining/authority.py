"""The coordinator's certificate authority: fetched once by fingerprint, verified in full ever after."""

import socket
import ssl
from typing import Any
from urllib.parse import urlsplit

from edgeveil.shared.base.errors import EnrollmentError, TransportError
from edgeveil.shared.wire.tokens import fingerprint

DEFAULT_PORT = 443


def fetch_authority(url: str, wanted: bytes, *, timeout_s: float) -> bytes:
    """The PEM of the authority in the server's chain whose fingerprint the token names.

    The handshake verifies nothing and carries nothing; the fingerprint alone decides.

    Raises:
        EnrollmentError: no certificate of the chain has that fingerprint.
        TransportError: unreachable, or not a TLS 1.3 server.
    """
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or DEFAULT_PORT
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with (
            socket.create_connection((host, port), timeout=timeout_s) as plain,
            context.wrap_socket(plain, server_hostname=host) as channel,
        ):
            chain = _peer_chain(channel)
    except ssl.SSLError as error:
        raise TransportError(f"{url}: no TLS 1.3 server answers there ({error.reason})") from error
    except OSError as error:
        raise TransportError(unreachable(url, error)) from error
    for certificate in chain:
        if fingerprint(certificate) == wanted:
            return ssl.DER_cert_to_PEM_cert(certificate).encode("ascii")
    raise EnrollmentError(
        f"{url} does not show the certificate authority that the token names: the address is wrong, "
        "somebody is in between, or the coordinator was set up anew; ask the operator for a new token"
    )


def unreachable(url: str, error: Exception) -> str:
    """One sentence about a connection that failed, for TransportError."""
    reason = str(error) or type(error).__name__
    return f"{url}: cannot be reached ({reason}); check the address, the network and that it runs"


def _peer_chain(channel: ssl.SSLSocket) -> list[bytes]:
    """DER of what the server sent, unverified. Public since Python 3.13, there before."""
    holder: Any = channel
    if not hasattr(holder, "get_unverified_chain"):
        pem_chain = holder._sslobj.get_unverified_chain() or []  # noqa: SLF001 - see above
        return [ssl.PEM_cert_to_DER_cert(certificate.public_bytes()) for certificate in pem_chain]
    return list(holder.get_unverified_chain())
