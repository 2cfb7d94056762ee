"""The signature over one HTTP request, made by the agent's identity (docs/transport.md, "Gateway").

Flower signs only a timestamp, so its header triple fits any body and route for five minutes. This
one binds method, path, body, timestamp, session and a fresh nonce. It ends at the gateway.
"""

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from edgeveil.shared.wire.canonical import canon
from edgeveil.shared.wire.identity import Signer

SIGNATURE_HEADER = "edgeveil-signature"
SESSION_HEADER = "edgeveil-session"
PROTOCOL_HEADER = "edgeveil-protocol"
NONCE_BYTES = 16

_SIGNATURE = re.compile(r"([0-9a-f]{32})\.([A-Za-z0-9+/]{86}==)")
_SESSION = re.compile(r"([1-9][0-9]{0,17})\.([0-9a-f]{16})")


class BadSignature(ValueError):
    """The header is not a signature of this request."""


@dataclass(frozen=True, slots=True, order=True)
class Session:
    """One start of one agent: a counter that grows with every start, and a random tag (8 bytes).

    Two sessions of one counter with different tags prove that an identity was copied.
    """

    counter: int
    tag: str

    @classmethod
    def parse(cls, header: str) -> "Session":
        match = _SESSION.fullmatch(header)
        if match is None:
            raise BadSignature(f"{SESSION_HEADER} is not <counter>.<tag>")
        return cls(int(match[1]), match[2])

    def __str__(self) -> str:
        return f"{self.counter}.{self.tag}"


def signed_bytes(path: str, body: bytes, timestamp: str, session: str, nonce: bytes) -> bytes:
    """What is signed for a POST of `body` to `path`; `timestamp` as in Flower's own header."""
    return canon(
        "http-request",
        b"POST",
        path.encode("ascii"),
        hashlib.sha256(body).digest(),
        timestamp.encode("ascii"),
        session.encode("ascii"),
        nonce,
    )


def sign(
    signer: Signer, path: str, body: bytes, *, timestamp: str, session: str, nonce: bytes
) -> str:
    """The header's value. `nonce`: 16 fresh random bytes, never used twice."""
    signature = signer.sign(signed_bytes(path, body, timestamp, session, nonce))
    return f"{nonce.hex()}.{base64.b64encode(signature).decode('ascii')}"


def check(
    identity: Ed25519PublicKey, header: str, path: str, body: bytes, *, timestamp: str, session: str
) -> bytes:
    """The nonce of a good signature; the caller refuses one it has seen in the time window.

    Raises:
        BadSignature: another spelling, another key, or any bound value differs.
    """
    match = _SIGNATURE.fullmatch(header)
    if match is None:
        raise BadSignature(f"{SIGNATURE_HEADER} is not <nonce>.<signature>")
    nonce = bytes.fromhex(match[1])
    try:
        signature = base64.b64decode(match[2], validate=True)
        identity.verify(signature, signed_bytes(path, body, timestamp, session, nonce))
    except (InvalidSignature, binascii.Error, UnicodeEncodeError) as error:
        raise BadSignature("the request signature does not verify") from error
    return nonce
