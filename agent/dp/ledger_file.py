"""The ledger's bytes on disk: verified when read, durable when appended, refused when in doubt.

A line counts once its fsync returned. A crash can leave an unfinished last line; what that line
announced had not started, so it is cut. Anything else that does not verify stops everything.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from shared.clock import Clock
from shared.errors import Blame, Busy, ConfigError, ProtocolError, RefusalCode
from shared.files import write_atomic
from shared.identity import Signer
from shared.privacy.ledger import LedgerState
from shared.privacy.records import (
    FORMAT,
    START,
    Fault,
    Kind,
    LedgerDamaged,
    Record,
    Value,
    read_record,
    read_records,
)
from shared.privacy.replay import advance, opened, replay

LEDGER = "ledger.jsonl"


def ledger_records(folder: Path, public: bytes) -> list[Record]:
    """Every verified record, oldest first, without the lock; an unfinished last line is left out.

    Raises:
        LedgerDamaged: a line cannot be trusted.
        ConfigError: there is no ledger.
    """
    data = _read(folder / LEDGER)
    return list(read_records(data[: data.rfind(b"\n") + 1], public))


def read_ledger(folder: Path, public: bytes) -> LedgerState:
    """The verified state without the lock; raises as ledger_records."""
    return replay(ledger_records(folder, public))


class LedgerFile:
    """Append-only; the caller holds the lock and is the only writer."""

    def __init__(self, path: Path, signer: Signer, clock: Clock, state: LedgerState) -> None:
        self._path = path
        self._signer = signer
        self._clock = clock
        self._state = state
        self._broken: LedgerDamaged | None = None

    @classmethod
    def create(
        cls, path: Path, signer: Signer, clock: Clock, dataset_id: str, fields: Mapping[str, Value]
    ) -> Self:
        """Write the first record in one piece: a ledger file is never empty, not even in a crash."""
        body = _body(Kind.OPEN, 1, clock, dataset_id, fields)
        record = Record.make(body, START, signer)
        state = opened(record)
        write_atomic(path, record.line())
        return cls(path, signer, clock, state)

    @classmethod
    def recover(cls, path: Path, signer: Signer, clock: Clock) -> Self:
        """Cut what a crash left unfinished, verify the rest.

        Raises:
            LedgerDamaged: anything else is not as this device wrote it.
        """
        data = _read(path)
        keep = data.rfind(b"\n") + 1
        records = list(read_records(data[:keep], signer.public))
        state = replay(records)
        tail = data[keep:]
        if tail:
            state = _mend(path, keep, tail, state, signer.public)
        return cls(path, signer, clock, state)

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
            Busy: the disk took nothing of it (full); the ledger is as before.
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

    def hash_at(self, seq: int) -> bytes | None:
        """The hash of record `seq`, or None if there is no such record."""
        state = self.state
        if seq == state.seq:
            return state.hash
        records = list(read_records(_read(self._path), self._signer.public))
        return records[seq - 1].hash if 1 <= seq <= len(records) else None

    def _write(self, record: Record) -> None:
        line = record.line()
        handle = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            before = os.fstat(handle).st_size
            try:
                if os.write(handle, line) != len(line):
                    raise OSError("the disk took only a part of the line")
            except OSError as error:
                self._undo(handle, before, record.seq)
                raise Busy(
                    f"{self._path}: record {record.seq} could not be written ({error}); free disk "
                    "space, then training goes on"
                ) from error
            try:
                os.fsync(handle)
            except OSError as error:  # the kernel may have dropped the page: no second try is safe
                raise self._doubt(record.seq, f"fsync failed ({error})") from error
        finally:
            os.close(handle)

    def _undo(self, handle: int, size: int, seq: int) -> None:
        try:
            os.ftruncate(handle, size)
            os.fsync(handle)
        except OSError as error:
            raise self._doubt(seq, f"a partial line could not be removed ({error})") from error

    def _doubt(self, seq: int, why: str) -> LedgerDamaged:
        self._broken = LedgerDamaged(Fault.CHAIN, seq, f"{self._path}: {why}; restart the agent")
        return self._broken


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no ledger yet; the first `agent run` opens it") from error


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


def _mend(path: Path, keep: int, tail: bytes, state: LedgerState, public: bytes) -> LedgerState:
    """Deal with bytes after the last newline.

    A whole valid record that lacks only its newline is kept, since counting it is the safe side.
    With another byte in the newline's place somebody edited the file.
    """
    seq = state.seq + 1
    if _valid(tail[:-1], seq, state.hash, public) is not None:
        raise LedgerDamaged(Fault.CHAIN, seq, f"{path}: its newline was replaced")
    record = _valid(tail, seq, state.hash, public)
    handle = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if record is None:
            os.ftruncate(handle, keep)
        else:
            state = advance(state, record)
            os.pwrite(handle, b"\n", keep + len(tail))
        os.fsync(handle)
    finally:
        os.close(handle)
    return state


def _valid(line: bytes, seq: int, previous: bytes, public: bytes) -> Record | None:
    try:
        return read_record(line, seq, previous, public)
    except LedgerDamaged:
        return None
