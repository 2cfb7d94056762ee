"""The ledger's bytes on disk: verified when read, durable when appended, refused when in doubt.

A line counts once its fsync returned. A crash can leave an unfinished last line; what that line
announced had not started, so it is cut. Anything else that does not verify stops everything.
"""

import contextlib
import hashlib
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Self

from edgeveil.agent.ledger.reading import (
    BOOKMARK,
    LEDGER,
    Verified,
    check_never_opened,
    ledger_records,
    read_ledger,
)
from edgeveil.agent.ledger.witnesses import read_judged
from edgeveil.shared.base.clock import Clock
from edgeveil.shared.base.errors import Blame, ProtocolError, RefusalCode, StorageFailed
from edgeveil.shared.base.failpoints import Failpoint, failpoint
from edgeveil.shared.base.files import write_atomic
from edgeveil.shared.privacy.ledger.bookmark import Bookmark
from edgeveil.shared.privacy.ledger.records import (
    FORMAT,
    START,
    Fault,
    Kind,
    LedgerDamaged,
    Record,
    Value,
    read_record,
)
from edgeveil.shared.privacy.ledger.replay import advance, opened
from edgeveil.shared.privacy.ledger.state import LedgerState
from edgeveil.shared.wire.identity import Signer
from edgeveil.shared.wire.messages import Attempt

HASH_BYTES = 32
BOOKMARK_EVERY = 1024  # records; verifying as many takes about a tenth of a second

__all__ = ["LEDGER", "LedgerFile", "ledger_records", "read_ledger"]


class LedgerFile:
    """Append-only; the caller holds the lock and is the only writer."""

    def __init__(
        self,
        path: Path,
        signer: Signer,
        clock: Clock,
        found: Verified,
        remarks: tuple[str, ...] = (),
    ) -> None:
        self.remarks = remarks  # what its owner should know of how it was found
        self._path = path
        self._signer = signer
        self._clock = clock
        self._state = found.state
        self._hashes = found.hashes()  # one flat array: a ledger grows for years
        self._digest = hashlib.sha256(found.data)
        self._size = len(found.data)
        self._marked = found.marked
        self._broken: LedgerDamaged | None = None
        self.watch: Callable[[float], None] | None = None  # gets the seconds each fsync took
        self._keep_place()

    @classmethod
    def create(
        cls, path: Path, signer: Signer, clock: Clock, dataset_id: str, fields: Mapping[str, Value]
    ) -> Self:
        """Write the first record in one piece: a ledger file is never empty, not even in a crash.

        Raises:
            LedgerDamaged: there was one, and its file is gone.
        """
        check_never_opened(path, signer.public)
        body = _body(Kind.OPEN, 1, clock, dataset_id, fields)
        record = Record.make(body, START, signer)
        found = Verified(opened(record), record.line(), b"", 0)
        write_atomic(path, found.data)
        return cls(path, signer, clock, found)

    @classmethod
    def recover(
        cls, path: Path, signer: Signer, clock: Clock, attempts: Mapping[str, Attempt]
    ) -> Self:
        """Verify, hold against what else tells of it, and only then cut what a crash left unfinished.

        Raises:
            LedgerDamaged: anything else is not as this device wrote it, or records are missing.
        """
        found, judgement = read_judged(path.parent, signer.public, attempts)
        judgement.insist(found.state, path)
        if found.tail:
            found = _mend(path, found, signer.public)
        return cls(path, signer, clock, found, judgement.remarks)

    @property
    def path(self) -> Path:
        return self._path

    @property
    def signer(self) -> Signer:
        return self._signer

    @property
    def state(self) -> LedgerState:
        """Raises LedgerDamaged after a failed write: nothing is decided on a doubtful ledger."""
        if self._broken is not None:
            raise self._broken
        return self._state

    def append(self, kind: Kind, fields: Mapping[str, Value]) -> None:
        """Chain, sign, write and fsync one record; when this returns, it survives a power loss.

        Raises:
            StorageFailed: the disk took nothing of it (full); the ledger is as before.
            LedgerDamaged: its fate on disk is unknown.
            ProtocolError: STATE, this record may not follow; nothing was written.
        """
        state = self.state
        body = _body(kind, state.seq + 1, self._clock, state.dataset_id, fields)
        record = Record.make(body, state.hash, self._signer)
        try:
            after = advance(state, record)
        except LedgerDamaged as error:
            raise ProtocolError(RefusalCode.STATE, str(error), blame=Blame.SELF) from error
        self._write(record)
        self._state = after
        self._hashes += record.hash
        line = record.line()
        self._digest.update(line)
        self._size += len(line)
        self._keep_place()

    def hash_at(self, seq: int) -> bytes | None:
        """The hash of record `seq`, or None if there is no such record."""
        if not 1 <= seq <= self.state.seq:
            return None
        return bytes(self._hashes[HASH_BYTES * (seq - 1) : HASH_BYTES * seq])

    def _keep_place(self) -> None:
        """Now and then a bookmark, so that the next opening need not verify everything again.

        The first one also attests that there is a ledger. Without one everything still works, only
        slower, so a full disk is no reason to stop.
        """
        if self._marked and self._state.seq - self._marked < BOOKMARK_EVERY:
            return
        mark = Bookmark(self._size, self._digest.digest(), self._state)
        with contextlib.suppress(OSError):
            write_atomic(self._path.with_name(BOOKMARK), mark.encode(self._signer))
        self._marked = self._state.seq

    def _write(self, record: Record) -> None:
        line = record.line()
        handle = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            before = os.fstat(handle).st_size
            try:
                failpoint(Failpoint.LEDGER_WRITE_BEFORE)
                if os.write(handle, line) != len(line):
                    raise OSError("the disk took only a part of the line")
            except OSError as error:
                self._undo(handle, before, record.seq)
                raise StorageFailed(
                    f"{self._path}: record {record.seq} could not be written ({error}); free disk "
                    "space, then training goes on"
                ) from error
            try:
                failpoint(Failpoint.LEDGER_FSYNC_BEFORE)
                started = time.perf_counter()
                os.fsync(handle)
                took = time.perf_counter() - started
            except OSError as error:  # the kernel may have dropped the page: no second try is safe
                raise self._doubt(record.seq, f"fsync failed ({error})") from error
        finally:
            os.close(handle)
        failpoint(Failpoint.LEDGER_FSYNC_AFTER)
        if self.watch is not None:
            self.watch(took)

    def _undo(self, handle: int, size: int, seq: int) -> None:
        try:
            os.ftruncate(handle, size)
            os.fsync(handle)
        except OSError as error:
            raise self._doubt(seq, f"a partial line could not be removed ({error})") from error

    def _doubt(self, seq: int, why: str) -> LedgerDamaged:
        self._broken = LedgerDamaged(Fault.CHAIN, seq, f"{self._path}: {why}; restart the agent")
        return self._broken


def _body(
    kind: Kind, seq: int, clock: Clock, dataset_id: str, fields: Mapping[str, Value]
) -> dict[str, Value]:
    common: dict[str, Value] = {
        "v": FORMAT,
        "seq": seq,
        "time": int(clock.wall()),
        "kind": kind.value,
        "dataset_id": dataset_id,
    }
    return {**common, **fields}


def _mend(path: Path, found: Verified, public: bytes) -> Verified:
    """Deal with bytes after the last newline.

    A whole valid record that lacks only its newline is kept, since counting it is the safe side.
    With another byte in the newline's place somebody edited the file.
    """
    tail, state, keep = found.tail, found.state, len(found.data)
    seq = state.seq + 1
    if _valid(tail[:-1], seq, state.hash, public) is not None:
        raise LedgerDamaged(Fault.CHAIN, seq, f"{path}: its newline was replaced")
    record = _valid(tail, seq, state.hash, public)
    handle = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if record is None:
            os.ftruncate(handle, keep)
            mended = replace(found, tail=b"")
        else:
            whole = found.data + tail + b"\n"
            mended = Verified(advance(state, record), whole, b"", found.marked)
            os.pwrite(handle, b"\n", keep + len(tail))
        os.fsync(handle)
    finally:
        os.close(handle)
    return mended


def _valid(line: bytes, seq: int, previous: bytes, public: bytes) -> Record | None:
    try:
        return read_record(line, seq, previous, public)
    except LedgerDamaged:
        return None
