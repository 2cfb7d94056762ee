"""The headers of a signed POST that is none of Flower's: its three and ours (docs/transport.md)."""

import base64
import os
from datetime import UTC, datetime

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from edgeveil.shared.wire import identity, messages, request_signature


def our_headers(
    signer: identity.Signer, path: str, body: bytes, *, timestamp: str, session: str
) -> dict[str, str]:
    """Session, protocol version, signature; `timestamp` as in Flower's own header."""
    nonce = os.urandom(request_signature.NONCE_BYTES)
    signature = request_signature.sign(
        signer, path, body, timestamp=timestamp, session=session, nonce=nonce
    )
    return {
        request_signature.SESSION_HEADER: session,
        request_signature.PROTOCOL_HEADER: str(messages.PROTOCOL),
        request_signature.SIGNATURE_HEADER: signature,
    }


def signed_headers(  # noqa: PLR0917 - keys, who, what
    node_key: ec.EllipticCurvePrivateKey,
    node_public_pem: bytes,
    signer: identity.Signer,
    session: str,
    path: str,
    body: bytes,
) -> dict[str, str]:
    """For one request, now; never used twice."""
    timestamp = datetime.now(UTC).isoformat()
    triple = node_key.sign(timestamp.encode("ascii"), ec.ECDSA(hashes.SHA256()))
    return {
        "flwr-public-key": base64.b64encode(node_public_pem).decode("ascii"),
        "flwr-timestamp": timestamp,
        "flwr-signature": base64.b64encode(triple).decode("ascii"),
        **our_headers(signer, path, body, timestamp=timestamp, session=session),
    }
