"""Ed25519 identities: agents', the coordinator's and the federation's. Verification raises."""

from pathlib import Path
from typing import Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from edgeveil.shared.base.errors import Blame, ProtocolError, RefusalCode, StateDamaged
from edgeveil.shared.base.files import read_secret, write_secret


class Signer(Protocol):
    """What protocol code needs of a private key: its public half and signatures."""

    @property
    def public(self) -> bytes:
        """32 raw bytes."""

    def sign(self, message: bytes) -> bytes:
        """64 bytes over `message`, which is always a canonical encoding with its own label."""


class Identity:
    """An Ed25519 private key that cannot be printed or pickled."""

    __slots__ = ("_private", "_public")

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self._public = private.public_key().public_bytes_raw()

    @classmethod
    def generate(cls) -> "Identity":
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def load(cls, path: Path) -> "Identity":
        """Read 32 raw bytes from an owner-only regular file.

        Raises:
            StateDamaged: absent, of another length, a symlink, or readable by others.
        """
        raw = read_secret(path)
        if len(raw) != 32:
            raise StateDamaged(f"{path}: expected a 32-byte Ed25519 key, found {len(raw)} bytes")
        return cls(Ed25519PrivateKey.from_private_bytes(raw))

    def save(self, path: Path) -> None:
        write_secret(path, self._private.private_bytes_raw())

    @property
    def public(self) -> bytes:
        return self._public

    def sign(self, message: bytes) -> bytes:
        return self._private.sign(message)

    def __repr__(self) -> str:
        return f"Identity({self._public.hex()[:8]}…)"

    def __reduce__(self) -> str:
        raise TypeError("a private identity cannot be pickled")


def verify(public: bytes, signature: bytes, message: bytes, *, code: RefusalCode, who: str) -> None:
    """Raise ProtocolError(code) unless `signature` is `public`'s over `message`."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError) as error:
        raise ProtocolError(
            code, f"the signature of {who} does not verify", blame=Blame.PEER
        ) from error
