"""Named places at which a test can end, stop, delay or fail a process; otherwise they do nothing.

`EDGEVEIL_FAILPOINTS="agent.seal.before=kill@2,events.append.before=sleep:0.5"` arms the processes
started by the two commands: the action happens at the n-th passage (default the first), once. The
list below is closed (docs/design.md, "Failpoints").
"""

import errno
import os
import re
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from edgeveil.shared.base.errors import ConfigError

VARIABLE = "EDGEVEIL_FAILPOINTS"
PRODUCTION = "EDGEVEIL_PRODUCTION"  # any value but 0: armed failpoints are refused at the start
_ITEM = re.compile(
    r"([a-z0-9_.]+)=(kill|raise|eio|sleep:(\d{1,3}(?:\.\d{1,3})?))(?:@([1-9]\d{0,5}))?"
)


class Failpoint(StrEnum):
    """Every failpoint there is. The first word says whose code it is in; `shared` code has its own."""

    AGENT_KEYS_BEFORE = "agent.keys.before"
    AGENT_KEYS_AFTER = "agent.keys.after"
    AGENT_RESERVE_BEFORE = "agent.reserve.before"
    AGENT_RESERVE_AFTER = "agent.reserve.after"
    AGENT_TRAIN_BEFORE = "agent.train.before"
    AGENT_TRAIN_AFTER = "agent.train.after"
    AGENT_BLOB_BEFORE = "agent.blob.before"
    AGENT_BLOB_AFTER = "agent.blob.after"
    AGENT_SEAL_BEFORE = "agent.seal.before"
    AGENT_SEAL_AFTER = "agent.seal.after"
    AGENT_ADVANCE_BEFORE = "agent.advance.before"
    AGENT_ADVANCE_AFTER = "agent.advance.after"
    AGENT_SUBMIT_BEFORE = "agent.submit.before"
    AGENT_SUBMIT_AFTER = "agent.submit.after"
    AGENT_PUSH_BEFORE = "agent.push.before"
    AGENT_PUSH_AFTER = "agent.push.after"
    AGENT_ACK_BEFORE = "agent.ack.before"
    AGENT_ACK_AFTER = "agent.ack.after"
    LEDGER_WRITE_BEFORE = "ledger.write.before"
    LEDGER_FSYNC_BEFORE = "ledger.fsync.before"
    LEDGER_FSYNC_AFTER = "ledger.fsync.after"
    FILE_FSYNC_BEFORE = "file.fsync.before"
    FILE_RENAME_BEFORE = "file.rename.before"
    FILE_RENAME_AFTER = "file.rename.after"
    FILE_FOLDER_AFTER = "file.folder.after"
    EVENTS_APPEND_BEFORE = "events.append.before"
    EVENTS_APPEND_AFTER = "events.append.after"
    EVENTS_FSYNC_BEFORE = "events.fsync.before"
    DATABASE_COMMIT_BEFORE = "database.commit.before"
    DATABASE_COMMIT_AFTER = "database.commit.after"
    COORDINATOR_ATTEMPT_BEFORE = "coordinator.attempt.before"
    COORDINATOR_ATTEMPT_AFTER = "coordinator.attempt.after"
    COORDINATOR_STAGE_ROUND = "coordinator.stage.round"
    COORDINATOR_STAGE_SHARE = "coordinator.stage.share"
    COORDINATOR_STAGE_MASKED = "coordinator.stage.masked"
    COORDINATOR_STAGE_AGREE = "coordinator.stage.agree"
    COORDINATOR_STAGE_UNMASK = "coordinator.stage.unmask"
    COORDINATOR_SENT = "coordinator.stage.sent"
    COORDINATOR_REVEALED = "coordinator.sum.revealed"
    COORDINATOR_CHECKPOINT_BEFORE = "coordinator.checkpoint.before"
    COORDINATOR_CHECKPOINT_AFTER = "coordinator.checkpoint.after"
    COORDINATOR_RECORD_BEFORE = "coordinator.record.before"
    COORDINATOR_RECORD_AFTER = "coordinator.record.after"
    COORDINATOR_ABORT_BEFORE = "coordinator.abort.before"
    COORDINATOR_FLOWER_BEFORE = "coordinator.flower.before"
    COORDINATOR_FLOWER_AFTER = "coordinator.flower.after"
    COORDINATOR_ROSTER_BEFORE = "coordinator.roster.before"
    COORDINATOR_ROSTER_AFTER = "coordinator.roster.after"


class Crash(BaseException):
    """The action `raise`: nothing in the product catches it, so it ends what it meets like a crash."""


Hook = Callable[[Failpoint], None]
_hook: Hook | None = None


def failpoint(point: Failpoint) -> None:
    """Costs one comparison unless a test has installed something."""
    if _hook is not None:
        _hook(point)


def install(hook: Hook | None) -> None:
    """Call `hook` at every passage in this process; None makes failpoints do nothing again."""
    global _hook  # noqa: PLW0603 - one process, one schedule; the hot path must stay one comparison
    _hook = hook


@dataclass(slots=True)
class _Item:
    action: str
    seconds: float
    passages_left: int


class Schedule:
    """What EDGEVEIL_FAILPOINTS asks for, as a hook. Safe to share between threads."""

    def __init__(self, text: str) -> None:
        """Raises ConfigError for a name or an action that does not exist."""
        self._items: dict[Failpoint, _Item] = {}
        self._lock = threading.Lock()
        for part in filter(None, (piece.strip() for piece in text.split(","))):
            found = _ITEM.fullmatch(part)
            if found is None:
                raise ConfigError(
                    f"{VARIABLE}: {part!r} is not NAME=kill|raise|eio|sleep:SECONDS, with @N for "
                    "the N-th passage"
                )
            try:
                point = Failpoint(found[1])
            except ValueError as error:
                raise ConfigError(f"{VARIABLE}: there is no failpoint {found[1]!r}") from error
            self._items[point] = _Item(found[2], float(found[3] or 0), int(found[4] or 1))

    def __call__(self, point: Failpoint) -> None:
        with self._lock:
            item = self._items.get(point)
            if item is None:
                return
            item.passages_left -= 1
            if item.passages_left:
                return
            del self._items[point]
        _act(point, item)


def arm_from_environment() -> None:
    """What both commands do first; without the variable, nothing.

    Raises:
        ConfigError: the variable is malformed, or this is a production process.
    """
    text = os.environ.get(VARIABLE, "")
    if not text:
        return
    if os.environ.get(PRODUCTION, "0") not in {"", "0"}:
        raise ConfigError(f"{VARIABLE} is for tests and {PRODUCTION} is set; remove one of them")
    install(Schedule(text))


def _act(point: Failpoint, item: _Item) -> None:
    if item.action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
        threading.Event().wait()  # the signal may reach another thread first; never go on
    if item.action == "raise":
        raise Crash(point.value)
    if item.action == "eio":
        raise OSError(errno.EIO, f"failpoint {point.value}")
    time.sleep(item.seconds)
