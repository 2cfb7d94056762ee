"""The signed end of a ledger, which travels so that a restored or cloned device is noticed.

The agent sends it in every RoundAccept; the coordinator echoes the newest one in RoundOffer. An
agent that does not contain the echoed head was rolled back. The coordinator can leave the echo out
or age it, then a rollback stays unseen (docs/threat-model.md).
"""

import hashlib
from dataclasses import dataclass, field
from typing import Self

from shared.canonical import canon, parse
from shared.errors import ProtocolError, RefusalCode
from shared.identity import Signer, verify
from shared.secagg.canonical import Malformed, u64, uint


def dataset_tag(dataset_id: str, public: bytes) -> bytes:
    """16 bytes that name a dataset of this device to the coordinator without its local name."""
    return hashlib.sha256(canon("dataset", public, dataset_id.encode("utf-8"))).digest()[:16]


@dataclass(frozen=True, slots=True)
class SignedHead:
    """The end of a ledger as its device attests it; in RoundAccept, and echoed in RoundOffer.

    A signature over the sequence number too: no one else can make a head, only withhold one.
    """

    dataset: bytes  # dataset_tag(), 16 bytes
    seq: int
    hash: bytes
    sig: bytes = field(repr=False)

    @staticmethod
    def message(dataset: bytes, seq: int, digest: bytes) -> bytes:
        return canon("ledger-head", dataset, u64(seq), digest)

    @classmethod
    def make(cls, dataset: bytes, seq: int, digest: bytes, signer: Signer) -> Self:
        return cls(dataset, seq, digest, signer.sign(cls.message(dataset, seq, digest)))

    def encode(self) -> bytes:
        return canon("ledger-head-signed", self.dataset, u64(self.seq), self.hash, self.sig)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Parse only; raises ProtocolError(MALFORMED)."""
        try:
            dataset, seq, digest, sig = parse("ledger-head-signed", data, 4)
            if (len(dataset), len(digest), len(sig)) != (16, 32, 64):
                raise Malformed("a field of another length")
            return cls(dataset, uint(seq, 8), digest, sig)
        except Malformed as error:
            raise ProtocolError(RefusalCode.MALFORMED, f"ledger head: {error}") from error

    def verify(self, public: bytes, who: str) -> None:
        """Raise ProtocolError(LEDGER_ROLLBACK) unless `public` signed it."""
        message = self.message(self.dataset, self.seq, self.hash)
        verify(public, self.sig, message, code=RefusalCode.LEDGER_ROLLBACK, who=who)
