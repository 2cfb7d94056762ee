"""A signed note on what a long ledger's first bytes add up to, so that opening it stays quick.

Verifying every signature of 10,000 rounds takes seconds. A bookmark says: the first `size` bytes,
whose SHA-256 is `sha256`, were verified record by record and amount to `state`. It is signed by the
device's own key, like every record. Without one, or with a damaged one, everything is verified;
`agent verify` does so in any case, and then compares.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from edgeveil.shared.base.errors import ProtocolError, RefusalCode
from edgeveil.shared.privacy.ledger.note import read_note, sign_note
from edgeveil.shared.privacy.ledger.records import Fault, LedgerDamaged, read_records
from edgeveil.shared.privacy.ledger.replay import extend, replay
from edgeveil.shared.privacy.ledger.state import Entry, LedgerState, Limits, Phase
from edgeveil.shared.privacy.rdp import Segment
from edgeveil.shared.wire.identity import Signer
from edgeveil.shared.wire.messages import Attempt

LABEL = "ledger-bookmark"
VERSION = 4  # 1 knew of no rounds without noise, 2 of none with shares, 3 added sums up on each opening: no build trusts another's
HASHES = ("task_hash", "model_hash", "plan_hash", "blob_sha256", "ctx")  # of an Entry


@dataclass(frozen=True, slots=True)
class Bookmark:
    size: int  # bytes, up to and with the newline of record state.seq
    sha256: bytes
    state: LedgerState

    def encode(self, signer: Signer) -> bytes:
        return sign_note(LABEL, _fields(self), signer, VERSION)

    @classmethod
    def decode(cls, data: bytes, public: bytes) -> Self:
        """Parse and verify; raises ProtocolError(LEDGER_CORRUPT)."""
        try:
            fields = read_note(LABEL, data, public, "ledger bookmark", VERSION)
            return cls(fields["size"], bytes.fromhex(fields["sha256"]), _state(fields["state"]))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ProtocolError(RefusalCode.LEDGER_CORRUPT, f"ledger bookmark: {error}") from error


def digest(data: bytes | memoryview) -> bytes:
    return hashlib.sha256(data).digest()


def continued(mark: Bookmark, whole: bytes, public: bytes, path: Path) -> LedgerState:
    """What the complete lines of the ledger at `path` add up to; those that `mark` attests are not verified again.

    Raises:
        LedgerDamaged: they do not begin with the attested ones, or a later one cannot be trusted.
    """
    state = mark.state
    if digest(memoryview(whole)[: mark.size]) != mark.sha256:
        replay(read_records(whole, public))  # names the record, if it is one
        raise LedgerDamaged(
            Fault.CHAIN,
            state.seq,
            f"{path}: does not continue the {state.seq} records that its bookmark attests; it was "
            "restored from a copy or cut off",
        )
    return extend(
        state, read_records(whole[mark.size :], public, after=state.seq, previous=state.hash)
    )


def _fields(mark: Bookmark) -> dict[str, Any]:
    state = mark.state
    return {
        "size": mark.size,
        "sha256": mark.sha256.hex(),
        "state": {
            "dataset_id": state.dataset_id,
            "unit": state.unit,
            "n_ref": state.n_ref,
            "alpha": state.alpha,
            "epsilon_max": state.limits.epsilon_max.hex(),
            "delta": state.limits.delta.hex(),
            "cap": state.limits.cap.hex(),
            "policy": state.limits.policy_json,
            "seq": state.seq,
            "hash": state.hash.hex(),
            "sig": state.sig.hex(),
            "history": [[s.noise_multiplier.hex(), s.sample_rate.hex(), s.steps] for s in state.history],
            "sum_alpha": state.sum_alpha,
            "sum_history": [[s.noise_multiplier.hex(), s.sample_rate.hex(), s.steps] for s in state.sum_history],
            "shared": state.shared,
            "rdp_spent": state.rdp_spent.hex(),
            "divergence": [value.hex() for value in state.divergence],
            "sum_divergence": [value.hex() for value in state.sum_divergence],
            "rounds_charged": state.rounds_charged,
            "unlimited": state.unlimited,
            "resets": state.resets,
            "current": None if state.current is None else _entry_fields(state.current),
            "last_attempts": {
                run: [attempt.round, attempt.attempt]
                for run, attempt in state.last_attempts.items()
            },
            "anchors": sorted(state.anchors),
        },
    }  # fmt: skip


def _entry_fields(entry: Entry) -> dict[str, Any]:
    return {
        "attempt": [entry.attempt.run_id, entry.attempt.round, entry.attempt.attempt],
        "phase": entry.phase.value,
        "steps": entry.steps,
        **{name: getattr(entry, name).hex() for name in HASHES},
    }


def _state(raw: dict[str, Any]) -> LedgerState:
    real = float.fromhex
    return LedgerState(
        dataset_id=raw["dataset_id"],
        unit=raw["unit"],
        n_ref=raw["n_ref"],
        alpha=raw["alpha"],
        limits=Limits(
            real(raw["epsilon_max"]), real(raw["delta"]), real(raw["cap"]), raw["policy"]
        ),
        seq=raw["seq"],
        hash=bytes.fromhex(raw["hash"]),
        sig=bytes.fromhex(raw["sig"]),
        history=tuple(Segment(real(sigma), real(q), steps) for sigma, q, steps in raw["history"]),
        sum_alpha=raw["sum_alpha"],
        sum_history=tuple(
            Segment(real(sigma), real(q), steps) for sigma, q, steps in raw["sum_history"]
        ),
        shared=raw["shared"],
        rdp_spent=real(raw["rdp_spent"]),
        divergence=tuple(map(real, raw["divergence"])),
        sum_divergence=tuple(map(real, raw["sum_divergence"])),
        rounds_charged=raw["rounds_charged"],
        unlimited=raw["unlimited"],
        resets=raw["resets"],
        current=None if raw["current"] is None else _entry(raw["current"]),
        last_attempts={run: Attempt(run, *last) for run, last in raw["last_attempts"].items()},
        anchors=frozenset(raw["anchors"]),
    )


def _entry(raw: dict[str, Any]) -> Entry:
    hashes = {name: bytes.fromhex(raw[name]) for name in HASHES}
    return Entry(Attempt(*raw["attempt"]), Phase(raw["phase"]), raw["steps"], **hashes)
