"""Flower's Fleet client as a device may use it: pinned, bounded, signed, and nothing else.

Flower's own connection follows redirects, obeys proxy variables, reads answers of any length and
ends the process when the server says so (docs/transport.md, "Agent"); this one does not.
"""

from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import urlsplit

import httpx
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from edgeveil.shared.flower import environment as flower_environment  # noqa: F401 - first: Flower reads its switches at import

# isort: split
from flwr.supercore.primitives.asymmetric import public_key_to_bytes
from flwr.supercore.protobuf.client import ProtobufCall, ProtobufRequestContext
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor

from edgeveil.agent.joining.cuttable import Cuttable
from edgeveil.agent.joining.signed_post import our_headers
from edgeveil.shared.base.errors import ConfigError
from edgeveil.shared.flower.objects import MAX_OBJECT_BYTES
from edgeveil.shared.wire import certificates, identity, request_signature

READ_TIMEOUT_S = 30.0  # the gateway holds a poll for 20 s
_TIME_HEADER = "flwr-timestamp"
_CONNECTIONS = 4


class _BoundedClient(Cuttable):
    """Reads at most one object's worth of any answer."""

    def send(self, request: httpx.Request, **options: Any) -> httpx.Response:
        options["stream"] = True
        response = super().send(request, **options)
        content = bytearray()
        try:
            for piece in response.iter_raw():
                content += piece
                if len(content) > MAX_OBJECT_BYTES:
                    raise httpx.ReadError("the answer is longer than any object", request=request)
        finally:
            response.close()
        headers = [
            (name, value)
            for name, value in response.headers.multi_items()
            if name not in {"content-encoding", "content-length"}
        ]
        return httpx.Response(
            response.status_code, headers=headers, content=bytes(content), request=request
        )


@dataclass(frozen=True)
class _Identity:
    """Adds our three headers after Flower's: session, protocol version, signature."""

    signer: identity.Signer
    session: request_signature.Session

    def intercept(self, context: ProtobufRequestContext, call_next: ProtobufCall) -> httpx.Response:
        request, session = context.request, str(self.session)
        timestamp, path = request.headers[_TIME_HEADER], request.url.path
        request.headers.update(
            our_headers(self.signer, path, request.content, timestamp=timestamp, session=session)
        )
        return call_next(context)


def server_address(url: str) -> str:
    """host:port of `https://host:port`; raises ConfigError for anything else."""
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname or parts.path.strip("/") or parts.query:
        raise ConfigError(f"coordinator address {url!r}: expected https://host:port")
    return parts.netloc


def make_client(
    url: str,
    ca_pem: bytes,
    node_key: EllipticCurvePrivateKey,
    signer: identity.Signer,
    session: request_signature.Session,
) -> FleetHttpClient:
    client = FleetHttpClient.from_server_address(
        server_address(url),
        False,
        ca_pem,
        [NodeAuthHttpInterceptor(node_key, node_key.public_key()), _Identity(signer, session)],
    )
    client._client.close()  # noqa: SLF001 - Flower offers no way to pass a client
    client._client = _BoundedClient(  # noqa: SLF001
        verify=certificates.pinned_context(ca_pem),
        timeout=httpx.Timeout(READ_TIMEOUT_S, connect=10.0),
        limits=httpx.Limits(max_connections=_CONNECTIONS, keepalive_expiry=60.0),
        trust_env=False,
        follow_redirects=False,
        headers={"accept-encoding": "identity"},
    )
    return client


def http_client(client: FleetHttpClient) -> Cuttable:
    """The pinned and bounded connections under it, for what Flower's own calls can't say."""
    return cast("Cuttable", client._client)  # noqa: SLF001


def public_pem(node_key: EllipticCurvePrivateKey) -> bytes:
    """The transport key as the roster's operator registered it, byte for byte."""
    return bytes(public_key_to_bytes(node_key.public_key()))
