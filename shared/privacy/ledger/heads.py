"""The signed end of a ledger, which travels so that a restored or cloned device is noticed.

The agent sends it with its advert (RoundAccept) and again with the masked vector (MaskedAccept); the
coordinator echoes the newest one in RoundOffer. An agent whose ledger does not contain the echoed head
was rolled back. The coordinator can leave the echo out or age it, then a rollback stays unseen
(docs/threat-model.md). If its owner allows it, a head also tells what the ledger has charged.
"""

import hashlib
import math
import struct
from dataclasses import dataclass, field
from typing import Self

from edgeveil.shared.base.errors import ProtocolError, RefusalCode
from edgeveil.shared.privacy.unlimited import UNLIMITED
from edgeveil.shared.secagg.primitives.canonical import Malformed, f64, u16, u32, u64, uint
from edgeveil.shared.wire.canonical import canon, first, parse
from edgeveil.shared.wire.identity import Signer, verify

TOLD, TOLD_UNLIMITED = 1, 2  # layouts of the part that tells the budget; the second has no ε
MOST_EPSILON = 1e4  # above anything a ledger can enforce; the spent one, at a δ that became smaller


def dataset_tag(dataset_id: str, public: bytes) -> bytes:
    """16 bytes that name a dataset of this device to the coordinator without its local name."""
    return hashlib.sha256(canon("dataset", public, dataset_id.encode("utf-8"))).digest()[:16]


@dataclass(frozen=True, slots=True)
class ToldBudget:
    """What a ledger says it has charged in all: ε at its one order, of ε_max, at δ.

    From noise multipliers, sample rates and steps alone, so it depends on no record. It does show
    that a device took part elsewhere. Nobody but the device can check it. After a round without noise
    it is infinite.
    """

    epsilon: float
    epsilon_max: float
    delta: float
    resets: int  # how often the owner began to count anew

    def encode(self) -> bytes:
        rest = (f64(self.epsilon_max), f64(self.delta), u32(self.resets))
        if self.epsilon == UNLIMITED:
            return canon("ledger-budget", u16(TOLD_UNLIMITED), *rest)
        return canon("ledger-budget", u16(TOLD), f64(self.epsilon), *rest)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Raises Malformed, also for numbers that no ledger can hold."""
        layout = uint(first("ledger-budget", data), 2)
        if layout == TOLD_UNLIMITED:
            _, *others, resets = parse("ledger-budget", data, 4)
            epsilon, reals = UNLIMITED, others
        elif layout == TOLD:
            _, spent, *reals, resets = parse("ledger-budget", data, 5)
            epsilon = _real(spent)
            if not 0 <= epsilon <= MOST_EPSILON:
                raise Malformed("a budget that no ledger can have")
        else:
            raise Malformed(f"budget layout {layout} is none of {TOLD}, {TOLD_UNLIMITED}")
        epsilon_max, delta = (_real(data) for data in reals)
        possible = 0 < epsilon_max <= 50 and 0 < delta < 0.1
        if not possible or math.copysign(1, epsilon) < 0:
            raise Malformed("a budget that no ledger can have")
        return cls(epsilon, epsilon_max, delta, uint(resets, 4))


def _real(data: bytes) -> float:
    if len(data) != 8:
        raise Malformed(f"expected a real number of 8 bytes, got {len(data)}")
    return float(struct.unpack(">d", data)[0])


@dataclass(frozen=True, slots=True)
class SignedHead:
    """The end of a ledger as its device attests it; in RoundAccept, and echoed in RoundOffer.

    A signature over the sequence number too: no one else can make a head, only withhold one.
    """

    dataset: bytes  # dataset_tag(), 16 bytes
    seq: int
    hash: bytes
    sig: bytes = field(repr=False)
    told: ToldBudget | None = None  # None unless the owner's policy lets it be told

    @staticmethod
    def message(dataset: bytes, seq: int, digest: bytes, told: ToldBudget | None) -> bytes:
        if told is None:
            return canon("ledger-head", dataset, u64(seq), digest)
        return canon("ledger-head-told", dataset, u64(seq), digest, told.encode())

    @classmethod
    def make(
        cls, dataset: bytes, seq: int, digest: bytes, signer: Signer, told: ToldBudget | None = None
    ) -> Self:
        signature = signer.sign(cls.message(dataset, seq, digest, told))
        return cls(dataset, seq, digest, signature, told)

    def encode(self) -> bytes:
        fields = (self.dataset, u64(self.seq), self.hash, self.sig)
        if self.told is None:
            return canon("ledger-head-signed", *fields)
        return canon("ledger-head-signed", *fields, self.told.encode())

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Parse only; raises ProtocolError(MALFORMED)."""
        try:
            dataset, seq, digest, sig, *more = _fields(data)
            if (len(dataset), len(digest), len(sig)) != (16, 32, 64):
                raise Malformed("a field of another length")
            told = ToldBudget.decode(more[0]) if more else None
            return cls(dataset, uint(seq, 8), digest, sig, told)
        except Malformed as error:
            raise ProtocolError(RefusalCode.MALFORMED, f"ledger head: {error}") from error

    def verify(self, public: bytes, who: str) -> None:
        """Raise ProtocolError(LEDGER_ROLLBACK) unless `public` signed it."""
        message = self.message(self.dataset, self.seq, self.hash, self.told)
        verify(public, self.sig, message, code=RefusalCode.LEDGER_ROLLBACK, who=who)


def _fields(data: bytes) -> list[bytes]:
    """Four fields, or five with a budget."""
    try:
        return parse("ledger-head-signed", data, 4)
    except Malformed:
        return parse("ledger-head-signed", data, 5)
