"""The roster: who belongs to the federation, signed by the federation key and by nobody else.

Body = canon("roster", federation_id, u64 epoch, u64 issued, u64 expires,
list(agent_id ‖ identity_pk, ascending)); docs/protocol.md, "Roster". Agents pin the federation key
and refuse an older epoch, so a coordinator can neither admit members nor bring revoked ones back.
"""

import hashlib
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from types import MappingProxyType

from edgeveil.shared.base.errors import ProtocolError, RefusalCode
from edgeveil.shared.secagg.agreement.cohort import agent_id
from edgeveil.shared.secagg.primitives import canonical
from edgeveil.shared.wire.identity import Signer, verify

__all__ = ["Roster", "SignedRoster", "agent_id", "check_newer", "federation_id"]

MAX_MEMBERS = 10_000
TOLERANCE_S = 86_400  # one day of clock error before an expired roster is refused


def federation_id(federation_public: bytes) -> bytes:
    return canonical.digest("federation-id", federation_public)


@dataclass(frozen=True)
class Roster:
    """Members by agent id → identity key (32 bytes); times in Unix seconds."""

    federation_id: bytes
    epoch: int
    issued: int
    expires: int
    members: Mapping[bytes, bytes]

    def body(self) -> bytes:
        return canonical.canon(
            "roster",
            self.federation_id,
            canonical.u64(self.epoch),
            canonical.u64(self.issued),
            canonical.u64(self.expires),
            canonical.list_bytes(member + self.members[member] for member in sorted(self.members)),
        )

    def hash(self) -> bytes:
        return self._hash

    @cached_property
    def _hash(self) -> bytes:
        return hashlib.sha256(self.body()).digest()

    @classmethod
    def decode(cls, data: bytes) -> "Roster":
        """Parse a body; raises ProtocolError(ROSTER_SIGNATURE) unless it is a canonical roster."""
        try:
            federation, epoch, issued, expires, members = canonical.parse("roster", data, 5)
            entries = canonical.parse_list(members, most=MAX_MEMBERS, size=48)
            ids = [entry[:16] for entry in entries]
            if any(a >= b for a, b in itertools.pairwise(ids)):
                raise canonical.Malformed("members are not strictly ascending")
            if any(agent_id(entry[16:]) != entry[:16] for entry in entries):
                raise canonical.Malformed("a member's id does not follow from its key")
            return cls(
                federation,
                canonical.uint(epoch, 8),
                canonical.uint(issued, 8),
                canonical.uint(expires, 8),
                MappingProxyType({entry[:16]: entry[16:] for entry in entries}),
            )
        except canonical.Malformed as error:
            raise ProtocolError(RefusalCode.ROSTER_SIGNATURE, f"roster: {error}") from error


@dataclass(frozen=True, slots=True)
class SignedRoster:
    roster: Roster
    signature: bytes

    @classmethod
    def sign(cls, roster: Roster, federation: Signer) -> "SignedRoster":
        return cls(roster, federation.sign(roster.body()))

    @classmethod
    def open(cls, body: bytes, signature: bytes, federation_public: bytes) -> "SignedRoster":
        """Parse and verify; raises ProtocolError(ROSTER_SIGNATURE).

        The same bytes under the same key again cost nothing: a roster comes with every offer.
        """
        return _open(body, signature, federation_public)


@lru_cache(maxsize=4)
def _open(body: bytes, signature: bytes, federation_public: bytes) -> SignedRoster:
    roster = Roster.decode(body)
    if roster.federation_id != federation_id(federation_public):
        raise ProtocolError(
            RefusalCode.ROSTER_SIGNATURE, "this roster belongs to another federation"
        )
    code = RefusalCode.ROSTER_SIGNATURE
    verify(federation_public, signature, body, code=code, who="the federation key on the roster")
    return SignedRoster(roster, signature)


def check_newer(known: Roster | None, offered: Roster, *, now: float) -> None:
    """An agent's rules for accepting `offered` after `known`.

    Raises:
        ProtocolError: ROSTER_STALE (older epoch), EQUIVOCATION (same epoch, other content),
            ROSTER_EXPIRED.
    """
    if known is not None and offered.epoch < known.epoch:
        raise ProtocolError(
            RefusalCode.ROSTER_STALE,
            f"roster epoch {offered.epoch} is older than the known {known.epoch}",
        )
    if known is not None and offered.epoch == known.epoch and offered.hash() != known.hash():
        raise ProtocolError(
            RefusalCode.EQUIVOCATION, f"two different rosters of epoch {offered.epoch}"
        )
    if now > offered.expires + TOLERANCE_S:
        raise ProtocolError(RefusalCode.ROSTER_EXPIRED, f"roster epoch {offered.epoch} has expired")
