"""The one-line invitation an operator hands to a device (docs/operating.md, "Enrolment").

It pins everything the device must believe before its first handshake: the CA's fingerprint, the
federation key and the coordinator key. Whoever holds it can join once; it is as secret as a password.
"""

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from shared.canonical import canon, parse
from shared.errors import ConfigError, EnrollmentError
from shared.names import check_name
from shared.secagg.canonical import Malformed, u64, uint

PREFIX = "ev1."
CHECKSUM = 4  # bytes; tells a mistyped token from one the coordinator no longer accepts
MAX_TOKEN = 4096  # characters


@dataclass(frozen=True, slots=True)
class Token:
    """`expires` in Unix seconds; `ca_sha256` is over the CA certificate's DER; ids and keys are raw."""

    url: str
    ca_sha256: bytes
    federation_public: bytes
    coordinator_public: bytes
    token_id: bytes  # 16 bytes
    secret: bytes = field(repr=False)  # 32 bytes
    expires: int
    name: str

    @property
    def proof_key(self) -> bytes:
        """What both sides key the join proof with: the coordinator stores this and never the secret."""
        return hashlib.sha256(self.secret).digest()

    def encode(self) -> str:
        """One line of [A-Za-z0-9._-], safe to paste, mail or print as a QR code."""
        body = canon(
            "token",
            self.url.encode("ascii"),
            self.ca_sha256,
            self.federation_public,
            self.coordinator_public,
            self.token_id,
            self.secret,
            u64(self.expires),
            self.name.encode("ascii"),
        )
        checked = body + hashlib.sha256(body).digest()[:CHECKSUM]
        return PREFIX + base64.urlsafe_b64encode(checked).rstrip(b"=").decode("ascii")

    @classmethod
    def decode(cls, text: str) -> "Token":
        """Read a token; white space from a wrapped line is forgiven.

        Raises:
            EnrollmentError: not a token, of another version, or damaged on the way. Expiry is for
                the coordinator to judge, since the device's clock may be wrong.
        """
        line = "".join(text.split())
        if not line.startswith(PREFIX):
            raise EnrollmentError(
                f"this is not a join token of this version: one starts with {PREFIX!r}; "
                "ask the operator for a new one"
            )
        body = _checked(line)
        try:
            fields = parse("token", body, 8)
            token = cls(
                url=fields[0].decode("ascii"),
                ca_sha256=_exactly(fields[1], 32),
                federation_public=_exactly(fields[2], 32),
                coordinator_public=_exactly(fields[3], 32),
                token_id=_exactly(fields[4], 16),
                secret=_exactly(fields[5], 32),
                expires=uint(fields[6], 8),
                name=check_name(fields[7].decode("ascii"), "the agent name"),
            )
        except (Malformed, UnicodeDecodeError, ConfigError) as error:
            raise EnrollmentError(
                f"this join token is malformed ({error}); ask for a new one"
            ) from error
        _check_url(token.url)
        return token


def _check_url(url: str) -> None:
    """Raise EnrollmentError unless `url` is https://HOST or https://HOST:PORT."""
    try:
        parts = urlsplit(url)
        plain = url == f"https://{parts.netloc}" and "@" not in parts.netloc
        valid = plain and bool(parts.hostname) and parts.port != 0 and not re.search(r"\s", url)
    except ValueError:
        valid = False
    if not valid:
        raise EnrollmentError(
            f"this join token names {url!r}, which is not https://HOST:PORT; ask for a new one"
        )


def _checked(line: str) -> bytes:
    """The canonical bytes inside `line` after its checksum was compared."""
    mistyped = "this join token is incomplete or mistyped (its checksum does not match); copy the whole line again"
    if len(line) > MAX_TOKEN:
        raise EnrollmentError(mistyped)
    text = line.removeprefix(PREFIX)
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise EnrollmentError(mistyped) from error
    body, checksum = raw[:-CHECKSUM], raw[-CHECKSUM:]
    if hashlib.sha256(body).digest()[:CHECKSUM] != checksum:
        raise EnrollmentError(mistyped)
    return body


def _exactly(data: bytes, size: int) -> bytes:
    if len(data) != size:
        raise Malformed(f"a field of {len(data)} bytes where {size} belong")
    return data
