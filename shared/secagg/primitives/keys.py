"""Key agreement and key derivation (docs/protocol.md, "Keys, shares, masks").

X25519 (RFC 7748), Ed25519 (RFC 8032), HKDF-SHA256 (RFC 5869), all from `cryptography`. X25519 key
pairs live for one attempt and in memory only. Every derived key binds ctx and u1_hash, so two agents
with different views of the attempt or the cohort derive different keys.
"""

from collections.abc import Callable
from functools import lru_cache

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from edgeveil.shared.secagg.primitives.canonical import canon

SALT = b"edgeveil/secagg-v1"
_PRIME = (1 << 255) - 19
_ORDER_8 = (
    0x00B8495F16056286FDB1329CEB8D09DA6AC49FF1FAE35616AEB8413B7C7AEBE0,
    0x57119FD0DD4E22D8868E1C58C45C44045BEF839C55B1D0B1248C50A3BC959C5F,
)
SMALL_ORDER = frozenset(
    x.to_bytes(32, "little")
    for x in (0, 1, _PRIME - 1, *_ORDER_8)  # of order 2, 4, 4 (on the twist) and 8: no others
)  # whatever the secret, an exchange with one of these gives zero (RFC 7748, section 6.1)
_identity = lru_cache(maxsize=4096)(Ed25519PublicKey.from_public_bytes)  # each signs all stages


class BadKey(ValueError):
    """A public key of small order, or one that is not the canonical spelling of its point."""


class KeyPair:
    """An X25519 key pair whose secret has no repr and cannot be pickled."""

    __slots__ = ("_private", "public")

    def __init__(self, secret: bytes) -> None:
        self._private = X25519PrivateKey.from_private_bytes(secret)
        self.public = self._private.public_key().public_bytes_raw()

    @classmethod
    def generate(cls, random: Callable[[int], bytes]) -> "KeyPair":
        return cls(random(32))

    @property
    def secret(self) -> bytes:
        return self._private.private_bytes_raw()

    def exchange(self, public: bytes) -> bytes:
        """32 shared bytes; raises BadKey if they would be all zero."""
        try:
            return self._private.exchange(X25519PublicKey.from_public_bytes(public))
        except ValueError as error:
            raise BadKey("a public key of small order") from error

    def __repr__(self) -> str:
        return f"KeyPair({self.public.hex()[:8]}…)"

    def __reduce__(self) -> str:
        raise TypeError("a key pair cannot be pickled")


def check_spelling(public: bytes) -> None:
    """Raise BadKey for a second spelling of a point (≥ 2^255 − 19, or the unused bit set)."""
    if len(public) != 32 or int.from_bytes(public, "little") >= _PRIME:
        raise BadKey("not the canonical spelling of an X25519 public key")


def check_public(public: bytes) -> None:
    """check_spelling, and raise BadKey for a point of small order as well."""
    check_spelling(public)
    if public in SMALL_ORDER:
        raise BadKey("a public key of small order")


def verifies(public: bytes, signature: bytes, message: bytes) -> None:
    """Raise InvalidSignature unless `signature` is `public`'s (Ed25519) over `message`."""
    try:
        key = _identity(public)
    except ValueError as error:
        raise InvalidSignature from error
    key.verify(signature, message)


def derive(ikm: bytes, length: int, label: str, *fields: bytes) -> bytes:
    """KDF(ikm, L, label, …) = HKDF-SHA256 with the protocol's salt and info = canon(label, …)."""
    kdf = HKDF(algorithm=hashes.SHA256(), length=length, salt=SALT, info=canon(label, *fields))
    return kdf.derive(ikm)


def channel_keys(
    own: KeyPair, public: bytes, *, ctx: bytes, u1_hash: bytes, own_id: bytes, other_id: bytes
) -> tuple[bytes, bytes]:
    """(key for sealing to the other, key for opening what it sealed); one message per key."""
    lo, hi = sorted((own_id, other_id))
    both = derive(own.exchange(public), 64, "channel", ctx, u1_hash, lo, hi)
    up, down = both[:32], both[32:]
    return (up, down) if own_id == lo else (down, up)


def pair_mask_key(
    own: KeyPair, public: bytes, *, ctx: bytes, u1_hash: bytes, own_id: bytes, other_id: bytes
) -> bytes:
    """The key of the mask shared by a pair; one expansion per key."""
    lo, hi = sorted((own_id, other_id))
    return derive(own.exchange(public), 32, "pair-mask", ctx, u1_hash, lo, hi)


def self_mask_key(seed: bytes, *, ctx: bytes, u1_hash: bytes, agent_id: bytes) -> bytes:
    return derive(seed, 32, "self-mask", ctx, u1_hash, agent_id)
