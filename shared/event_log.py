"""The event log: one JSON line per event of a run, the source of every report.

A line says that something happened, to whom and why, from closed lists only. It has no place for a
payload, a loss, an example count, an address, a key or a sentence from a peer
(docs/operating.md, "Logs").
"""

import json
import os
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, Self

from shared.clock import Clock, SystemClock
from shared.errors import StateDamaged
from shared.files import fsync_directory

MAX_LINE = 4096  # bytes; an honest line has about 200
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
    ROUND_ABORT = "round.abort"
    ROUND_WAIT = "round.wait"
    STAGE_START = "stage.start"
    STAGE_FINISH = "stage.finish"
    AGENT_SELECT = "agent.select"
    AGENT_REPLY = "agent.reply"
    AGENT_DROP = "agent.drop"
    AGENT_JOIN = "agent.join"
    INVITE_CREATE = "invite.create"
    INVITE_VOID = "invite.void"
    INVITE_REUSE = "invite.reuse"
    JOIN_REFUSE = "join.refuse"
    ROSTER_IMPORT = "roster.import"
    SESSION_CLONE = "session.clone"
    CERTIFICATE_RENEW = "certificate.renew"
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

    def as_json(self) -> dict[str, Any]:
        """The fields that apply, in the order of the log."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        optional = {item.name: item.default for item in fields(self)[3:]}
        return {key: value for key, value in values.items() if value != optional.get(key, ...)}


class EventLog:
    """Appends to one file (0600), safe to share between threads; every line is one write.

    A line torn by a crash is cut off when the log is opened again.
    """

    def __init__(self, path: Path, *, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        self._handle = os.open(path, flags, 0o600)
        self._open = True
        os.fchmod(self._handle, 0o600)
        _cut_torn_line(self._handle)
        fsync_directory(path.parent)

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
        sync: bool = False,
    ) -> None:
        """Append one line; with `sync` it is on the disk before this returns.

        `run`, `stage` and `agent` are names, `reason` is a code; anything else is written as
        "unlisted", so that a log line can neither carry a payload nor bring down a round.
        """
        line = EventLine(
            ts=int(self._clock.wall() * 1000) / 1000,
            level=level,
            event=event.value,
            run=_code(run),
            round=round,
            attempt=attempt,
            stage=_code(stage),
            agent=_code(agent),
            dur_ms=dur_ms,
            reason=_code(reason),
        )
        data = json.dumps(line.as_json(), separators=(",", ":")).encode("ascii") + b"\n"
        with self._lock:
            if not self._open:
                return
            _write_whole(self._handle, data)
            if sync:
                os.fsync(self._handle)

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


def read_events(path: Path) -> Iterator[EventLine]:
    """Every complete line of the log, oldest first; an absent file has none.

    Raises:
        StateDamaged: a line that is not an event, named by file and line. A torn last line is
            what a crash leaves behind and is skipped.
    """
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    with file:
        for number, data in enumerate(file, start=1):
            if not data.endswith(b"\n"):
                return
            try:
                yield _read_line(data)
            except (TypeError, ValueError, RecursionError) as error:
                raise StateDamaged(f"{path}:{number}: not an event line ({error})") from error


def _read_line(data: bytes) -> EventLine:
    if len(data) > MAX_LINE:
        raise ValueError(f"longer than {MAX_LINE} bytes")
    line = EventLine(**json.loads(data))
    Event(line.event)  # raises ValueError for a name that is not on the list
    return line


def _code(value: str) -> str:
    return value if not value or CODE.fullmatch(value) else UNLISTED


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
