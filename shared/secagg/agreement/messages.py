"""The bodies of the exchanges M1 (reply) to M5, one frozen class each, and their only spelling.

docs/protocol.md, "Messages". decode() bounds every list by the cohort limit `n_max` before reading
it and raises Malformed for anything that encode() would not have written; order inside lists is
checked here, meaning is checked by the states. The packed vector of M3 travels beside its body.
"""

from dataclasses import dataclass
from itertools import starmap
from typing import Any, TypeAlias

from edgeveil.shared.secagg.primitives.canonical import (
    Malformed,
    canon,
    list_bytes,
    parse,
    parse_rows,
    u8,
    u16,
    u32,
    uint,
)
from edgeveil.shared.secagg.primitives.sealing import SEALED_BYTES

ID, KEY, HASH, WEIGHT, SIGNATURE = 16, 32, 32, 4, 64  # bytes
COMMITMENT = 16  # bytes of a hash that binds one share; a sealed pair travels beside two of them
SEED_SHARE, SECRET_SHARE = 1, 2  # the kind of share an unmasking reply reveals of one peer
Sealed: TypeAlias = tuple[tuple[bytes, bytes, bytes], ...]  # (id, ciphertext, two commitments)


@dataclass(frozen=True, slots=True)
class Advert:
    """M1 reply: an agent's two public keys and its public weight, signed by its identity."""

    ctx: bytes
    agent_id: bytes
    channel_key: bytes
    mask_key: bytes
    weight: int
    signature: bytes

    def encode(self) -> bytes:
        return canon(
            "m1-reply",
            self.ctx,
            self.agent_id,
            self.channel_key,
            self.mask_key,
            u32(self.weight),
            self.signature,
        )

    @classmethod
    def decode(cls, data: bytes) -> "Advert":
        fields = parse("m1-reply", data, 6)
        _sizes(fields, HASH, ID, KEY, KEY, WEIGHT, SIGNATURE)
        ctx, agent, channel_key, mask_key, weight, signature = fields
        return cls(ctx, agent, channel_key, mask_key, uint(weight, WEIGHT), signature)


@dataclass(frozen=True, slots=True)
class Neighbour:
    """An advert as M2 forwards it; ctx is the receiver's own."""

    agent_id: bytes
    channel_key: bytes
    mask_key: bytes
    weight: int
    signature: bytes

    def encode(self) -> bytes:
        keys = self.channel_key + self.mask_key
        return self.agent_id + keys + u32(self.weight) + self.signature


@dataclass(frozen=True, slots=True)
class ShareRequest:
    """M2: U1 as (id, advert hash) and the adverts of the receiver's neighbours, both ascending.

    k, t, h and Q are an echo for early disagreement; the agent uses its own. h is 0 when unused.
    """

    cohort: tuple[tuple[bytes, bytes], ...]
    neighbours: tuple[Neighbour, ...]
    k: int
    t: int
    h: int
    quorum: int

    def encode(self) -> bytes:
        return canon(
            "m2-request",
            list_bytes(map(b"".join, self.cohort)),
            list_bytes(neighbour.encode() for neighbour in self.neighbours),
            u16(self.k),
            u16(self.t),
            u16(self.h),
            u32(self.quorum),
        )

    @classmethod
    def decode(cls, data: bytes, n_max: int) -> "ShareRequest":
        cohort, neighbours, k, t, h, quorum = parse("m2-request", data, 6)
        adverts = _rows(neighbours, f"{ID}s{KEY}s{KEY}sI{SIGNATURE}s", n_max)
        return cls(
            _rows(cohort, f"{ID}s{HASH}s", n_max),
            tuple(starmap(Neighbour, adverts)),
            uint(k, 2),
            uint(t, 2),
            uint(h, 2),
            uint(quorum, 4),
        )


def sealed_list(sealed: Sealed) -> bytes:
    return list_bytes(map(b"".join, sealed))


def _parse_sealed(data: bytes, n_max: int) -> Sealed:
    return _rows(data, f"{ID}s{SEALED_BYTES}s{2 * COMMITMENT}s", n_max)


@dataclass(frozen=True, slots=True)
class ShareReply:
    """M2 reply: for each neighbour (to) its sealed shares and the commitments to them."""

    sealed: Sealed
    signature: bytes

    def encode(self) -> bytes:
        return canon("m2-reply", sealed_list(self.sealed), self.signature)

    @classmethod
    def decode(cls, data: bytes, n_max: int) -> "ShareReply":
        sealed, signature = parse("m2-reply", data, 2)
        _sizes([signature], SIGNATURE)
        return cls(_parse_sealed(sealed, n_max), signature)


@dataclass(frozen=True, slots=True)
class MaskedRequest:
    """M3: the bitmap of U2 over U1; what its neighbours (from) sealed for the receiver."""

    u2: bytes
    sealed: Sealed

    def encode(self) -> bytes:
        return canon("m3-request", self.u2, sealed_list(self.sealed))

    @classmethod
    def decode(cls, data: bytes, n_max: int) -> "MaskedRequest":
        u2, sealed = parse("m3-request", data, 2)
        return cls(u2, _parse_sealed(sealed, n_max))


@dataclass(frozen=True, slots=True)
class MaskedReply:
    """M3 reply: the signature over the packed vector's hash; the vector itself is the bulk."""

    signature: bytes

    def encode(self) -> bytes:
        return canon("m3-reply", self.signature)

    @classmethod
    def decode(cls, data: bytes) -> "MaskedReply":
        fields = parse("m3-reply", data, 1)
        _sizes(fields, SIGNATURE)
        return cls(*fields)


@dataclass(frozen=True, slots=True)
class AgreeRequest:
    """M4: the bitmap of U3 over U1."""

    u3: bytes

    def encode(self) -> bytes:
        return canon("m4-request", self.u3)

    @classmethod
    def decode(cls, data: bytes) -> "AgreeRequest":
        return cls(*parse("m4-request", data, 1))


@dataclass(frozen=True, slots=True)
class AgreeReply:
    """M4 reply: the agent's one signature on (U2, U3)."""

    signature: bytes

    def encode(self) -> bytes:
        return canon("m4-reply", self.signature)

    @classmethod
    def decode(cls, data: bytes) -> "AgreeReply":
        fields = parse("m4-reply", data, 1)
        _sizes(fields, SIGNATURE)
        return cls(*fields)


@dataclass(frozen=True, slots=True)
class UnmaskRequest:
    """M5: the signatures by position in U1, ascending. It names nobody whose share is wanted."""

    signatures: tuple[tuple[int, bytes], ...]

    def encode(self) -> bytes:
        return canon(
            "m5-request",
            list_bytes(u16(position) + signature for position, signature in self.signatures),
        )

    @classmethod
    def decode(cls, data: bytes, n_max: int) -> "UnmaskRequest":
        (signatures,) = parse("m5-request", data, 1)
        return cls(_rows(signatures, f"H{SIGNATURE}s", n_max))


def share_list(shares: tuple[tuple[bytes, int, bytes], ...]) -> bytes:
    return list_bytes(owner + u8(kind) + share for owner, kind, share in shares)


@dataclass(frozen=True, slots=True)
class UnmaskReply:
    """M5 reply: (owner, kind, share) for each neighbour in U2, one kind each."""

    shares: tuple[tuple[bytes, int, bytes], ...]
    signature: bytes

    def encode(self) -> bytes:
        return canon("m5-reply", share_list(self.shares), self.signature)

    @classmethod
    def decode(cls, data: bytes, n_max: int) -> "UnmaskReply":
        shares, signature = parse("m5-reply", data, 2)
        _sizes([signature], SIGNATURE)
        return cls(_rows(shares, f"{ID}sB{KEY}s", n_max), signature)


def _sizes(fields: list[bytes], *sizes: int) -> None:
    if any(len(field) != size for field, size in zip(fields, sizes, strict=True)):
        raise Malformed(f"fields of {[len(field) for field in fields]} bytes, due are {sizes}")


def _rows(data: bytes, form: str, n_max: int) -> tuple[tuple[Any, ...], ...]:
    """The rows of a list that is strictly ascending by its first column."""
    rows = parse_rows(data, form, most=n_max)
    firsts = [row[0] for row in rows]
    if firsts != sorted(set(firsts)):
        raise Malformed("a list is not strictly ascending")
    return tuple(rows)
