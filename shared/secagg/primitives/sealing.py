"""Shares on their way to a neighbour: AES-256-GCM (SP 800-38D) under a key used for one message only.

The additional data name ctx, u1_hash, sender and receiver and hold the sender's commitments to the
two shares, so a ciphertext that the coordinator moves to another attempt, cohort or pair, or hands
out beside other commitments, does not open (docs/protocol.md, "Shares").
"""

from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from edgeveil.shared.secagg.primitives.canonical import canon, u8
from edgeveil.shared.secagg.primitives.errors import Code, Refused

SEALED_BYTES = 81
_NONCE = bytes(12)  # each key seals one message


@dataclass(frozen=True, slots=True)
class SharePair:
    """What a holder keeps of one owner: index x, share of the seed b, share of the secret s."""

    x: int
    seed: bytes = field(repr=False)
    secret: bytes = field(repr=False)


def seal(
    key: bytes,
    pair: SharePair,
    commitments: bytes,
    *,
    ctx: bytes,
    u1_hash: bytes,
    sender: bytes,
    receiver: bytes,
) -> bytes:
    data = canon("share", ctx, u1_hash, sender, receiver, commitments)
    return AESGCM(key).encrypt(_NONCE, u8(pair.x) + pair.seed + pair.secret, data)


def unseal(
    key: bytes,
    sealed: bytes,
    commitments: bytes,
    *,
    ctx: bytes,
    u1_hash: bytes,
    sender: bytes,
    receiver: bytes,
) -> SharePair:
    """Raise Refused(SHARE_AUTH, agent=sender) unless the sender sealed this for the receiver.

    Whether the shares are those committed to is for the caller to check (Cohort.commitments).
    """
    data = canon("share", ctx, u1_hash, sender, receiver, commitments)
    try:
        plain = AESGCM(key).decrypt(_NONCE, sealed, data)
    except InvalidTag as error:
        raise Refused(
            Code.SHARE_AUTH, "a sealed share does not open; leave this attempt", agent=sender
        ) from error
    if len(plain) != SEALED_BYTES - 16:
        raise Refused(Code.SHARE_AUTH, "a sealed share has another length", agent=sender)
    return SharePair(plain[0], plain[1:33], plain[33:])
