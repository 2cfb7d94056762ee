"""What else on this device tells of a ledger, and whether all of it agrees.

A ledger that was cut back verifies: each of its records is true. But what was written after those that
are gone still lies beside it. Five things are compared with it: the bookmark, the list of ledgers, the
home's newest attempts (which are saved before an answer leaves, so every charge that was answered for is
under them), the sealed update, and the control variate. Somebody who puts back a whole home is not seen
here, only by the head that the coordinator echoes.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from edgeveil.agent.ledger.index import INDEX, opened
from edgeveil.agent.ledger.reading import (
    BLOB,
    BOOKMARK,
    LEDGER,
    Verified,
    check_never_opened,
    read_bookmark,
    read_verified,
)
from edgeveil.shared.base.errors import StateDamaged
from edgeveil.shared.privacy.ledger.bookmark import Bookmark, digest
from edgeveil.shared.privacy.ledger.records import MAX_LINE, Fault, LedgerDamaged
from edgeveil.shared.privacy.ledger.state import LedgerState, Phase
from edgeveil.shared.secagg.primitives.canonical import Malformed
from edgeveil.shared.wire.canonical import canon, parse
from edgeveil.shared.wire.messages import Attempt

VARIATE_FILE = "variate.bin"  # the newest sealed update of a run with control variates
BEGIN = b'{"body":{'  # of every record
CUT = "records that this ledger had are gone: it was restored from a copy or cut off"


@dataclass(frozen=True, slots=True)
class Judgement:
    """`faults`: the ledger may have charged more than it holds; `remarks`: what the owner should know."""

    faults: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    def insist(self, state: LedgerState, path: Path) -> None:
        """Raise LedgerDamaged for the first fault."""
        if self.faults:
            raise LedgerDamaged(
                Fault.CHAIN,
                state.seq,
                f"{path}: {self.faults[0]}; what was spent is unknown: put the newest copy back, or "
                "revoke the device and enrol it again from an empty home",
            )


@dataclass(frozen=True, slots=True)
class Witnesses:
    """As they lay before the ledger was read, so that a running agent never makes it look short."""

    folder: Path
    public: bytes
    attempts: Mapping[str, Attempt]
    mark: Bookmark | None
    blob: str | None  # SHA-256 in hex
    variate: tuple[str, str] | None  # run and SHA-256 in hex
    remarks: tuple[str, ...]

    @classmethod
    def hear(cls, folder: Path, public: bytes, attempts: Mapping[str, Attempt]) -> Self:
        """`attempts` are the newest of every run, by the home's own counters.

        Raises:
            StateDamaged: the list of ledgers is not this device's.
        """
        path, remarks = folder / LEDGER, []
        mark = read_bookmark(path, public)
        if mark is None and (folder / BOOKMARK).exists():
            remarks.append(f"{folder / BOOKMARK}: damaged, and not counted as a witness")
        known = opened(folder.parent, public)
        if known and folder.name not in known and path.exists():
            remarks.append(f"{folder.parent / INDEX}: does not name {folder.name}")
        remarks += [
            f"{folder.parent / name / LEDGER}: this ledger is gone, although {INDEX} names it"
            for name in sorted(known - {folder.name})
            if not (folder.parent / name / LEDGER).exists()
        ]
        variate = None
        try:
            found = read_variate(folder / VARIATE_FILE)
            variate = None if found is None else (found[0], hashlib.sha256(found[1]).hexdigest())
        except ValueError:
            remarks.append(f"{folder / VARIATE_FILE}: damaged, and not counted as a witness")
        return cls(folder, public, attempts, mark, _blob(folder), variate, tuple(remarks))

    def judge(self, found: Verified) -> Judgement:
        """Hold the verified ledger against everything that was heard."""
        faults, remarks = list(self._faults(found)), [*self.remarks]
        if found.tail:
            unfinished = tail_fault(found.tail)
            sentence = f"{len(found.tail)} bytes after record {found.state.seq}: "
            if unfinished is None:
                remarks.append(f"{sentence}{tail_kind(found.tail)}; nothing it told of had begun")
            else:
                faults.append(sentence + unfinished)
        return Judgement(tuple(faults), tuple(remarks))

    def _faults(self, found: Verified) -> Iterator[str]:
        mark, state = self.mark, found.state
        if mark is not None and digest(memoryview(found.data)[: mark.size]) != mark.sha256:
            yield f"{BOOKMARK} attests {mark.state.seq} other records; {CUT}"
        yield from self._unanswered(state)
        entry = state.current
        unsealed = entry is not None and entry.phase is Phase.RESERVED  # the blob is written first
        dropped = entry is None and state.resets > 0
        if self.blob is not None and not (unsealed or dropped or _sealed(found, self.blob)):
            yield f"{BLOB} is an update that no record seals; {CUT}"
        if self.variate is not None and not _sealed(found, self.variate[1]):
            yield f"{VARIATE_FILE} is an update of {self.variate[0]} that no record seals; {CUT}"

    def _unanswered(self, state: LedgerState) -> Iterator[str]:
        """Attempts this device answered for, and no ledger of it has charged."""
        left = [seen for seen in self.attempts.values() if not _charged(seen, [state])]
        states = _others(self.folder, self.public) if left else None
        for seen in left:
            if states is not None and not _charged(seen, states):
                yield f"this device took part in {seen}, and no ledger charged it; {CUT}"


def read_judged(
    folder: Path, public: bytes, attempts: Mapping[str, Attempt]
) -> tuple[Verified, Judgement]:
    """The ledger, verified as read_verified() does it, and what the witnesses say; raises as both."""
    witnesses = Witnesses.hear(folder, public, attempts)
    found = read_verified(folder / LEDGER, public)
    return found, witnesses.judge(found)


def check_nothing_lost(folder: Path, public: bytes, attempts: Mapping[str, Attempt]) -> None:
    """Where there is no ledger: raise StateDamaged if anything on this device says that there was one."""
    check_never_opened(folder / LEDGER, public)
    states = _others(folder, public)
    for seen in attempts.values():
        if states is not None and not _charged(seen, states):
            raise StateDamaged(
                f"{folder}: this device has taken part in {seen} and their ledger is gone; what was "
                "spent is unknown: put it back, or revoke the device and enrol it again from an empty home"
            )


def tail_fault(tail: bytes) -> str | None:
    """Why bytes after the last record are nothing that a crash of ours leaves; None if they are.

    A crash leaves a part of one line, and a power cut perhaps zeros in place of its end.
    """
    written = tail.rstrip(b"\0")
    begun = written[: len(BEGIN)] == BEGIN[: len(written)]
    if not begun or not all(0x20 <= byte < 0x7F for byte in written):
        return "not a part of a record; records may have been overwritten"
    if len(tail) > MAX_LINE:
        return "more than a record can have; records may have been overwritten"
    return None


def tail_kind(tail: bytes) -> str:
    written = len(tail.rstrip(b"\0"))
    if not written:
        return "zeros, as a power cut leaves them"
    return "an unfinished record" + (", zeros at its end" if written < len(tail) else "")


def read_variate(path: Path) -> tuple[str, bytes] | None:
    """The run and the update in a variate file; None if there is none, ValueError if it is damaged."""
    try:
        run, blob, checked = parse("variate", path.read_bytes(), 3)
    except FileNotFoundError:
        return None
    if checked != hashlib.sha256(canon("variate", run, blob)).digest():
        raise Malformed("not the update that was kept")
    return run.decode("ascii"), blob


def variate_bytes(run_id: str, blob: bytes) -> bytes:
    run = run_id.encode("ascii")
    return canon("variate", run, blob, hashlib.sha256(canon("variate", run, blob)).digest())


def _others(folder: Path, public: bytes) -> list[LedgerState] | None:
    """The other ledgers of this device; None if one cannot be read, which its own opening tells."""
    paths = [path for path in folder.parent.glob(f"*/{LEDGER}") if path.parent != folder]
    try:
        return [read_verified(path, public).state for path in paths]
    except StateDamaged:
        return None


def _blob(folder: Path) -> str | None:
    try:
        return hashlib.sha256((folder / BLOB).read_bytes()).hexdigest()
    except FileNotFoundError:
        return None


def _sealed(found: Verified, sha256: str) -> bool:
    """Whether a record seals this update; hashes are in the lines as they are, so no line is parsed."""
    return f'"blob_sha256":"{sha256}"'.encode("ascii") in found.data


def _charged(seen: Attempt, states: list[LedgerState]) -> bool:
    """Whether one of these ledgers has charged the round of an attempt.

    A later attempt of a charged round costs nothing while its update is sealed and unsubmitted; an
    older round's may have been so, which nothing tells any more.
    """
    for state in states:
        last = state.last_attempts.get(seen.run_id)
        if last is None or last.round < seen.round:
            continue
        entry = state.current
        newest = entry is not None and entry.attempt == last and entry.phase is not Phase.SEALED
        if seen <= last or last.round > seen.round or not newest:
            return True
    return False
