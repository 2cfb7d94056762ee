"""The event log: one JSON line per event of a run, the source of every report.

A line says that something happened, to whom and why, from closed lists only. It has no place for a
payload, a loss, an example count, an address, a key or a sentence from a peer
(docs/operating.md, "Logs"). shared/events/events-1.schema.json is the same in the words of JSON Schema.

A log that has grown to ROTATE_BYTES becomes events.jsonl.1, the one before .2, and so on.
"""

import json
import math
import os
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, Self

from edgeveil.shared.base.clock import Clock, SystemClock
from edgeveil.shared.base.failpoints import Failpoint, failpoint
from edgeveil.shared.base.files import fsync_directory

MAX_LINE = 4096  # bytes; an honest line has about 200
ROTATE_BYTES = 10_000_000
KEPT = 9  # older files beside the one that is written to
CODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,79}")
UNLISTED = "unlisted"  # stands for a text that is not a code

Level = Literal["info", "warning", "error", "alarm"]


class Event(StrEnum):
    """Every event there is; the value is noun.verb."""

    COORDINATOR_START = "coordinator.start"
    COORDINATOR_STOP = "coordinator.stop"
    RUN_CREATE = "run.create"
    RUN_START = "run.start"
    RUN_RESUME = "run.resume"
    RUN_FINISH = "run.finish"
    RUN_STOP = "run.stop"
    RUN_FAIL = "run.fail"
    ROUND_START = "round.start"
    ROUND_COMMIT = "round.commit"
    ROUND_EVALUATE = "round.evaluate"
    ROUND_ABORT = "round.abort"
    ROUND_WAIT = "round.wait"
    STAGE_START = "stage.start"
    STAGE_FINISH = "stage.finish"
    AGENT_SELECT = "agent.select"
    AGENT_REPLY = "agent.reply"
    AGENT_DROP = "agent.drop"
    AGENT_EXCLUDE = "agent.exclude"
    AGENT_JOIN = "agent.join"
    AGENT_APPROVE = "agent.approve"
    AGENT_REVOKE = "agent.revoke"
    AGENT_RENAME = "agent.rename"
    INVITE_CREATE = "invite.create"
    INVITE_VOID = "invite.void"
    INVITE_REUSE = "invite.reuse"
    JOIN_REFUSE = "join.refuse"
    ROSTER_IMPORT = "roster.import"
    SESSION_CLONE = "session.clone"
    UPDATE_TRAIN = "update.train"
    UPDATE_EVALUATE = "update.evaluate"
    REPLY_SEND = "reply.send"
    REPLY_REFUSE = "reply.refuse"
    CERTIFICATE_RENEW = "certificate.renew"
    CERTIFICATE_REFUSE = "certificate.refuse"
    CERTIFICATE_EXPIRE = "certificate.expire"
    SIGNER_START = "signer.start"
    SIGNER_STOP = "signer.stop"
    GATEWAY_ERROR = "gateway.error"
    SUPERLINK_START = "superlink.start"
    SUPERLINK_STOP = "superlink.stop"
    SUPERLINK_ERROR = "superlink.error"


@dataclass(frozen=True, slots=True)
class EventLine:
    """`ts` in Unix seconds; an empty string, 0 or None means that the field does not apply."""

    ts: float
    level: str
    event: str
    run: str = ""
    round: int = 0
    attempt: int = 0
    stage: str = ""
    agent: str = ""
    dur_ms: int | None = None
    reason: str = ""
    size: int = 0  # bytes that travelled, of a message whose length follows from public numbers
    parent: str = ""  # RUN:ROUND, or "file": whose model a run begins with, if not with its task's
    model: str = ""  # and that model's SHA-256, hex
    # Of the owner's journal: what the ledger has charged by then, towards who sees sums, and towards
    # everybody; both left out where nothing limits them.
    epsilon_sum: float = 0.0
    epsilon_alone: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """The fields that apply, in the order of the log."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        optional = {item.name: item.default for item in fields(self)[3:]}
        return {key: value for key, value in values.items() if value != optional.get(key, ...)}


@dataclass(eq=False)
class EventLog:
    """Appends to one file (0600), safe to share between threads; every line is one write.

    A line torn by a crash is cut off when the log is opened again. `watch` is called with every
    line, in the thread that emits it, and must neither block nor raise.
    """

    path: Path
    clock: Clock = field(default_factory=SystemClock)
    watch: Callable[[EventLine], None] | None = None
    rotate_bytes: int = ROTATE_BYTES

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._handle = _open_for_append(self.path)
        self._open = True
        _cut_torn_line(self._handle)
        fsync_directory(self.path.parent)

    def emit(
        self,
        event: Event,
        *,
        level: Level = "info",
        run: str = "",
        round: int = 0,  # noqa: A002 - the word of the protocol, as everywhere else
        attempt: int = 0,
        stage: str = "",
        agent: str = "",
        dur_ms: int | None = None,
        reason: str = "",
        size: int = 0,
        parent: str = "",
        model: str = "",
        epsilon_sum: float = 0.0,
        epsilon_alone: float = 0.0,
        sync: bool = False,
    ) -> None:
        """Append one line; with `sync` it is on the disk before this returns.

        `run`, `stage` and `agent` are names, `reason`, `parent` and `model` codes; anything else is written as
        "unlisted", so that a log line can neither carry a payload nor bring down a round.
        """
        line = EventLine(
            ts=int(self.clock.wall() * 1000) / 1000,
            level=level,
            event=event.value,
            run=_code(run),
            round=round,
            attempt=attempt,
            stage=_code(stage),
            agent=_code(agent),
            dur_ms=dur_ms,
            reason=_code(reason),
            size=size,
            parent=_code(parent),
            model=_code(model),
            epsilon_sum=_figure(epsilon_sum),
            epsilon_alone=_figure(epsilon_alone),
        )
        data = json.dumps(line.as_json(), separators=(",", ":")).encode("ascii") + b"\n"
        with self._lock:
            if not self._open:
                return
            failpoint(Failpoint.EVENTS_APPEND_BEFORE)
            _write_whole(self._handle, data)
            failpoint(Failpoint.EVENTS_APPEND_AFTER)
            if sync:
                failpoint(Failpoint.EVENTS_FSYNC_BEFORE)
                os.fsync(self._handle)
            if os.fstat(self._handle).st_size >= self.rotate_bytes:
                self._rotate()
        if self.watch is not None:
            self.watch(line)

    def _rotate(self) -> None:
        """Put the full file aside and start the next; a crash in between loses no line."""
        os.fsync(self._handle)
        for number in range(KEPT, 0, -1):
            older = rotated(self.path, number - 1)
            if older.exists():
                older.replace(rotated(self.path, number))
        fresh = _open_for_append(self.path)
        os.close(self._handle)
        self._handle = fresh
        fsync_directory(self.path.parent)

    def sync(self) -> None:
        with self._lock:
            if self._open:
                os.fsync(self._handle)

    def close(self) -> None:
        """Sync and close; later lines are ignored."""
        with self._lock:
            if self._open:
                self._open = False
                try:
                    os.fsync(self._handle)
                finally:
                    os.close(self._handle)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def rotated(path: Path, number: int) -> Path:
    """The name of the log `number` files ago; 0 is the one that is written to."""
    return path.with_name(f"{path.name}.{number}") if number else path


def parse_line(data: bytes) -> EventLine:
    """Raises ValueError or TypeError unless `data` is one event of this version."""
    if len(data) > MAX_LINE:
        raise ValueError(f"longer than {MAX_LINE} bytes")
    line = EventLine(**json.loads(data))
    Event(line.event)  # raises ValueError for a name that is not on the list
    return line


def _code(value: str) -> str:
    return value if not value or CODE.fullmatch(value) else UNLISTED


def _figure(value: float) -> float:
    """JSON has no infinity; six digits are enough to read, and the ledger has all of them."""
    return float(f"{value:.6g}") if math.isfinite(value) else 0.0


def _open_for_append(path: Path) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
    handle = os.open(path, flags, 0o600)
    os.fchmod(handle, 0o600)
    return handle


def _write_whole(handle: int, data: bytes) -> None:
    """Append `data` entirely or, on a full disk, not at all; raises OSError."""
    size = os.fstat(handle).st_size
    try:
        while data:
            data = data[os.write(handle, data) :]
    except OSError:
        os.ftruncate(handle, size)
        raise


def _cut_torn_line(handle: int) -> None:
    size = os.fstat(handle).st_size
    tail = os.pread(handle, MAX_LINE, max(0, size - MAX_LINE))
    torn = len(tail) - (tail.rfind(b"\n") + 1)
    if torn:
        os.ftruncate(handle, size - torn)
        os.fsync(handle)
