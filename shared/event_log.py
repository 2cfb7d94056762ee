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
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, Self

from shared.clock import Clock, SystemClock
from shared.errors import StateDamaged

MAX_LINE = 4096  # bytes; an honest line has about 200
REASON = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,79}")
UNLISTED = "unlisted"  # stands for a reason that is not a code

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
    AGENT_CONNECT = "agent.connect"
    AGENT_DISCONNECT = "agent.disconnect"
    AGENT_SELECT = "agent.select"
    AGENT_REPLY = "agent.reply"
    AGENT_DROP = "agent.drop"
    AGENT_REFUSE = "agent.refuse"
    AGENT_JOIN = "agent.join"
    AGENT_REVOKE = "agent.revoke"
    INVITE_CREATE = "invite.create"
    INVITE_VOID = "invite.void"
    INVITE_REUSE = "invite.reuse"
    JOIN_REFUSE = "join.refuse"
    ROSTER_EXPORT = "roster.export"
    ROSTER_IMPORT = "roster.import"
    SESSION_CLONE = "session.clone"
    CERTIFICATE_RENEW = "certificate.renew"
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
        return {
            key: value
            for key, value in asdict(self).items()
            if value not in ("", 0, None) or key == "dur_ms" and value == 0
        }


class EventLog:
    """Appends to one file (0600), safe to share between threads; every line is one write.

    A line torn by a crash is cut off when the log is opened again.
    """

    def __init__(self, path: Path, *, clock: Clock | None = None) -> None:
        raise NotImplementedError

    def emit(
        self,
        event: Event,
        *,
        level: Level = "info",
        run: str = "",
        round: int = 0,
        attempt: int = 0,
        stage: str = "",
        agent: str = "",
        dur_ms: int | None = None,
        reason: str = "",
        sync: bool = False,
    ) -> None:
        """Append one line; with `sync` it is on the disk before this returns."""
        raise NotImplementedError

    def sync(self) -> None: ...
    def close(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...


def read_events(path: Path) -> Iterator[EventLine]:
    """Every complete line of the log; raises StateDamaged naming file and line. Absent file: nothing."""
    raise NotImplementedError
