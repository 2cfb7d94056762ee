"""One line of the ledger: a canonical body, its place in the hash chain, the device's signature.

line = {"body", "hash", "sig"}; hash = SHA-256("edgeveil/ledger-v1" ‖ LF ‖ previous hash ‖ body
bytes), sig = Ed25519 over "edgeveil/ledger-v1/sig" ‖ LF ‖ hash (docs/protocol.md, "Ledger").
Bodies hold integers and strings only; floats travel as float.hex(). One spelling per line, so every
changed byte is seen.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from edgeveil.shared.base.errors import ProtocolError, RefusalCode, StateDamaged
from edgeveil.shared.wire.identity import Signer, verify

FORMAT = 4  # of new records; every earlier one stays readable
OLDEST = 1
CHAIN = b"edgeveil/ledger-v1\n"
SIGNED = b"edgeveil/ledger-v1/sig\n"
START = bytes(32)  # the "previous hash" of the first record
MAX_LINE = 65536  # bytes; the policy text is the longest field, a few KB
SUFFIX = len('","sig":""}') + 128  # characters of a line after its hash

Value = str | int
Body = Mapping[str, Value]


class Kind(StrEnum):
    OPEN = "open"
    RESERVE = "reserve"
    SHARED = (
        "shared"  # in the place of a reserve: a round with noise in shares, which has two costs
    )
    UNLIMITED = "unlimited"  # in the place of a reserve: a round without noise
    SEAL = "seal"
    SUBMIT = "submit"
    ACK = "ack"
    POLICY = "policy"
    RESET = "reset"
    ANCHOR = "anchor"


class Fault(StrEnum):
    """What `agent verify` tells apart."""

    CHAIN = "chain"  # unreadable, hash, signature, sequence
    ORDER = "order"  # a record that may not follow the ones before it
    ARITHMETIC = "arithmetic"  # a recorded divergence or epsilon that is not the recomputed one
    BUDGET = (
        "budget"  # a reservation above the cap, or a round without noise that the policy forbids
    )


class LedgerDamaged(StateDamaged):
    """Record `seq` (counted from 1) cannot be trusted, so nothing after it can."""

    code = RefusalCode.LEDGER_CORRUPT

    def __init__(self, fault: Fault, seq: int, message: str) -> None:
        super().__init__(f"ledger record {seq}: {message}; training stays refused")
        self.fault = fault
        self.seq = seq


_ATTEMPT = {"run_id": str, "round": int, "attempt": int}
_LIMITS = {"delta": str, "epsilon_max": str, "cap": str, "policy_hash": str, "policy": str}
_RESERVED = dict.fromkeys(
    (
        "coordinator_id", "task_id", "task_version", "task_hash", "model_hash", "plan_hash",
        "mechanism", "sigma", "q", "clip", "optimizer", "sampling", "rng", "rdp_step", "rdp_spent",
        "epsilon_enforced", "software",
    ),
    str,
)  # fmt: skip
_UNNOISED = dict.fromkeys(
    (
        "coordinator_id", "task_id", "task_version", "task_hash", "model_hash", "plan_hash",
        "mechanism", "clip", "optimizer", "software",
    ),
    str,
)  # fmt: skip
# Of a share alone, the fields of a reserve; of a sum with `honest` of them, those with sum_ before their names.
_SUM = dict.fromkeys(("sum_sigma", "sum_rdp_step", "sum_rdp_spent", "sum_epsilon_enforced"), str)
FIELDS: dict[Kind, dict[str, type]] = {
    Kind.OPEN: {
        "unit": str,
        "n_ref": int,
        "count_scale": int,
        "alpha": int,
        "software": str,
        **_LIMITS,
    },
    Kind.POLICY: {"note_code": str, **_LIMITS},
    Kind.RESET: {"note_code": str},
    Kind.ANCHOR: {"run_id": str, "echo_seq": int, "echo_hash": str},
    Kind.RESERVE: {**_ATTEMPT, **_RESERVED, "steps_planned": int},
    Kind.SHARED: {
        **_ATTEMPT,
        **_RESERVED,
        **_SUM,
        "steps_planned": int,
        "honest": int,
        "sum_alpha": int,
    },
    Kind.UNLIMITED: {**_ATTEMPT, **_UNNOISED, "steps_planned": int},
    Kind.SEAL: {**_ATTEMPT, "steps_done": int, "gradient_mode": str, "blob_sha256": str},
    Kind.SUBMIT: {**_ATTEMPT, "blob_sha256": str, "ctx": str},
    Kind.ACK: {**_ATTEMPT, "note_code": str},
}
# A ledger is never rewritten, since its records are chained: fields that a later format brought are
# absent in earlier records, and mean what stands here.
ADDED: dict[Kind, dict[str, tuple[int, Value]]] = {
    Kind.OPEN: {"count_scale": (3, 0)},
    Kind.RESERVE: {"optimizer": (2, "sgd")},
}
COMMON: dict[str, type] = {"v": int, "seq": int, "time": int, "kind": str, "dataset_id": str}


@dataclass(frozen=True, slots=True)
class Record:
    kind: Kind
    seq: int  # from 1
    body: Body
    hash: bytes
    sig: bytes

    def text(self, name: str) -> str:
        if name not in self.body:
            return str(ADDED[self.kind][name][1])
        return str(self.body[name])

    def number(self, name: str) -> int:
        if name not in self.body:
            return int(ADDED[self.kind][name][1])
        return int(self.body[name])

    def real(self, name: str) -> float:
        return float.fromhex(self.text(name))

    def line(self) -> bytes:
        """The stored bytes, newline included."""
        fields = {"body": self.body, "hash": self.hash.hex(), "sig": self.sig.hex()}
        return _canonical(fields) + b"\n"

    @classmethod
    def make(cls, body: Body, previous: bytes, signer: Signer) -> Self:
        """Chain and sign a body; `previous` is the last record's hash, or START."""
        _check_fields(body)
        digest = _chain(previous, body)
        kind = Kind(str(body["kind"]))
        return cls(kind, int(body["seq"]), dict(body), digest, signer.sign(SIGNED + digest))


def _canonical(value: Mapping[str, object]) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def _chain(previous: bytes, body: Body) -> bytes:
    return hashlib.sha256(CHAIN + previous + _canonical(body)).digest()


def _check_fields(body: Body) -> None:
    """Raise ValueError unless exactly the fields of this kind are there, each of its type."""
    version, kind_of = body.get("v"), Kind(str(body.get("kind")))
    if type(version) is not int or not OLDEST <= version <= FORMAT:
        raise ValueError(
            f"format {version} is not one of {OLDEST}..{FORMAT}; a newer edgeveil wrote it"
        )
    later = {name for name, (since, _) in ADDED.get(kind_of, {}).items() if since > version}
    expected = {**COMMON, **FIELDS[kind_of]}
    expected = {name: kind for name, kind in expected.items() if name not in later}
    if set(body) != set(expected):
        raise ValueError(f"fields {sorted(set(body) ^ set(expected))} are missing or unknown")
    for name, kind in expected.items():
        if type(body[name]) is not kind:
            raise ValueError(f"field {name} is not of type {kind.__name__}")


def read_record(line: bytes, seq: int, previous: bytes, public: bytes) -> Record:
    """Parse the line (without newline) that must be record `seq` after `previous`.

    Raises:
        LedgerDamaged: CHAIN, for anything but the one canonical, chained, signed spelling.
    """
    try:
        if len(line) > MAX_LINE:
            raise ValueError(f"longer than {MAX_LINE} bytes")
        fields = json.loads(line)
        if not isinstance(fields, dict) or set(fields) != {"body", "hash", "sig"}:
            raise ValueError("not an object of body, hash and sig")
        body = fields["body"]
        if not isinstance(body, dict):
            raise ValueError("the body is not an object")
        _check_fields(body)
        record = Record(
            Kind(body["kind"]),
            body["seq"],
            body,
            bytes.fromhex(fields["hash"]),
            bytes.fromhex(fields["sig"]),
        )
        if record.line() != line + b"\n":
            raise ValueError("not in its canonical spelling")
        if record.seq != seq:
            raise ValueError(f"carries number {record.seq}")
        if record.hash != _chain(previous, body):
            raise ValueError("the hash chain is broken")
        verify(
            public,
            record.sig,
            SIGNED + record.hash,
            code=RefusalCode.LEDGER_CORRUPT,
            who="this device",
        )
    except (ValueError, TypeError, RecursionError, ProtocolError) as error:
        raise LedgerDamaged(Fault.CHAIN, seq, str(error)) from error
    return record


def read_records(
    data: bytes, public: bytes, *, after: int = 0, previous: bytes = START
) -> Iterator[Record]:
    """Records of complete lines that follow record `after`; a missing last newline is damage here.

    Raises:
        LedgerDamaged: at the first line that is not the next record.
    """
    lines = data.split(b"\n")
    if lines.pop() != b"":
        raise LedgerDamaged(Fault.CHAIN, after + len(lines) + 1, "the last line is not complete")
    for seq, line in enumerate(lines, start=after + 1):
        record = read_record(line, seq, previous, public)
        previous = record.hash
        yield record
