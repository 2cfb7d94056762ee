"""The one-line invitation an operator hands to a device (docs/protocol.md, "Joining").

It names what the device must believe before its first handshake by 16-byte fingerprints: the
certificate authority, the federation key and the coordinator key; the keys themselves come with the
answer to the join and are held against them. Whoever has the token can join once; it is as secret
as a password.
"""

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from edgeveil.shared.base.errors import ConfigError, EnrollmentError
from edgeveil.shared.base.names import check_name
from edgeveil.shared.wire.canonical import canon

PREFIX = "ev1."
OFFLINE = "ev2."  # the same layout, which also says that the federation key is not on the coordinator's machine
FINGERPRINT = 16  # bytes of a SHA-256; nobody can make a second key or certificate that fits
CHECKSUM = 4  # bytes; tells a mistyped token from one the coordinator no longer accepts
MAX_TOKEN = 1024  # characters
_SCHEME = "https://"
_FIXED = 4 * FINGERPRINT + 4 + 1  # four fingerprints and secrets, expiry, length of the name


def fingerprint(data: bytes) -> bytes:
    """The first 16 bytes of SHA-256 over a raw public key or a certificate's DER."""
    return hashlib.sha256(data).digest()[:FINGERPRINT]


@dataclass(frozen=True, slots=True)
class Token:
    """Fingerprints and `secret` have 16 bytes; `expires` is in Unix seconds, below 2^32.

    `offline`: the federation key is not on the coordinator's machine, so whoever takes that over admits
    nobody. A device that allows noise in shares insists on it.
    """

    url: str
    authority: bytes
    federation: bytes
    coordinator: bytes
    secret: bytes = field(repr=False)
    expires: int
    name: str
    offline: bool = False

    @property
    def token_id(self) -> bytes:
        """16 bytes by which the coordinator finds the invitation; they do not give the secret away."""
        return hashlib.sha256(canon("token-id", self.secret)).digest()[:16]

    @property
    def proof_key(self) -> bytes:
        """What both sides key the join proof with: the coordinator stores this and never the secret."""
        return hashlib.sha256(canon("token-proof", self.secret)).digest()

    def encode(self) -> str:
        """One line of [A-Za-z0-9._-], safe to paste, mail or print as a QR code."""
        name = self.name.encode("ascii")
        body = b"".join(
            (
                self.authority,
                self.federation,
                self.coordinator,
                self.secret,
                self.expires.to_bytes(4, "big"),
                bytes([len(name)]),
                name,
                self.url.removeprefix(_SCHEME).encode("ascii"),
            )
        )
        prefix = OFFLINE if self.offline else PREFIX
        checked = body + _checksum(prefix, body)
        return prefix + base64.urlsafe_b64encode(checked).rstrip(b"=").decode("ascii")

    @classmethod
    def decode(cls, text: str) -> "Token":
        """Read a token; white space from a wrapped line is forgiven.

        Raises:
            EnrollmentError: not a token, of another version, or damaged on the way. Expiry is for
                the coordinator to judge, since the device's clock may be wrong.
        """
        line = "".join(text.split())
        if not line.startswith((PREFIX, OFFLINE)):
            raise EnrollmentError(
                f"this is not a join token of this version: one starts with {PREFIX!r}; "
                "ask the operator for a new one"
            )
        try:
            token = _fields(_checked(line), offline=line.startswith(OFFLINE))
        except (ValueError, ConfigError) as error:
            raise EnrollmentError(
                f"this join token is malformed ({error}); ask for a new one"
            ) from error
        _check_url(token.url)
        return token


def _checksum(prefix: str, body: bytes) -> bytes:
    """Of ev1. over the body alone; else over the prefix too, so that one is not mistyped for the other."""
    said = b"" if prefix == PREFIX else prefix.encode("ascii")
    return hashlib.sha256(said + body).digest()[:CHECKSUM]


def _fields(body: bytes, *, offline: bool) -> Token:
    """The token in canonical bytes; raises ValueError or ConfigError."""
    if len(body) <= _FIXED:
        raise ValueError("it is too short")
    parts = [body[at : at + FINGERPRINT] for at in range(0, 4 * FINGERPRINT, FINGERPRINT)]
    end = _FIXED + body[_FIXED - 1]
    if len(body) <= end:
        raise ValueError("its name is longer than itself")
    return Token(
        url=_SCHEME + body[end:].decode("ascii"),
        authority=parts[0],
        federation=parts[1],
        coordinator=parts[2],
        secret=parts[3],
        expires=int.from_bytes(body[4 * FINGERPRINT : _FIXED - 1], "big"),
        name=check_name(body[_FIXED:end].decode("ascii"), "the agent name"),
        offline=offline,
    )


def is_address(url: str) -> bool:
    """Whether `url` is https://HOST or https://HOST:PORT and nothing more."""
    try:
        parts = urlsplit(url)
        plain = url == f"https://{parts.netloc}" and "@" not in parts.netloc
        named = bool(parts.hostname) and parts.port != 0 and not re.search(r"\s", url)
    except ValueError:  # a port that is no number or above 65535
        return False
    return plain and named and url.isprintable()


def _check_url(url: str) -> None:
    """Raise EnrollmentError unless agents can connect there."""
    if not is_address(url):
        raise EnrollmentError(
            f"this join token names {url!r}, which is not https://HOST:PORT; ask for a new one"
        )


def _checked(line: str) -> bytes:
    """The bytes inside `line` after its checksum was compared; only one spelling is accepted."""
    mistyped = "this join token is incomplete or mistyped (its checksum does not match); copy the whole line again"
    if len(line) > MAX_TOKEN:
        raise EnrollmentError(mistyped)
    prefix, text = line[: len(PREFIX)], line[len(PREFIX) :]
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise EnrollmentError(mistyped) from error
    body, checksum = raw[:-CHECKSUM], raw[-CHECKSUM:]
    spelling = base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")
    if _checksum(prefix, body) != checksum or spelling != text:
        raise EnrollmentError(mistyped)
    return body
