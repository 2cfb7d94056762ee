"""The owner's own log, agent.log: refusals with their reasons and our own faults, never records.

A coordinator can have this device refuse as often as it likes. So the log has a bounded size, and of each
kind of line that repeats only some are written: whatever floods, the other kinds stay to be read.
How often each code was refused in all is in refusals.json.
"""

import logging
import os
import threading
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path

from edgeveil.shared.base.clock import Clock
from edgeveil.shared.pages.text import harmless, plain

FILE = "agent.log"
FILE_BYTES, KEPT = 1_000_000, 9  # of one file, and how many full ones stay beside it
MOST_MESSAGE, MOST_LINES = 1000, 100  # characters of a message or line, lines of a traceback
AT_ONCE, EVERY_S = 10, 3600.0  # of one kind: so many at once, then one in so many seconds
FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC


def log_to(path: Path, clock: Clock) -> None:
    """Send everything that this package logs to `path`, and to no such file any more; raises OSError."""
    logging.raiseExceptions = False  # a full disk must not print a traceback of the logger's own
    handler = _OwnFile(path, maxBytes=FILE_BYTES, backupCount=KEPT, encoding="utf-8")
    handler.setFormatter(PlainLines("%(asctime)s %(levelname)s %(message)s"))
    handler.addFilter(SomeOfEachKind(clock))
    logger = logging.getLogger("edgeveil")
    for other in [each for each in logger.handlers if isinstance(each, _OwnFile)]:
        logger.removeHandler(other)
        other.close()
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False


class SomeOfEachKind(logging.Filter):
    """Lets AT_ONCE records of a kind through, then one each EVERY_S, which says how many were left out.

    A kind is what `extra` names as "kind", or else the message before anything is put into it; both
    come from a closed list, so there are few.
    """

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock
        self._lock = threading.Lock()
        self._kinds: dict[str, tuple[float, float, int]] = {}  # (left, when, left out since)

    def filter(self, record: logging.LogRecord) -> bool:
        kind, now = str(getattr(record, "kind", record.msg)), self._clock.monotonic()
        with self._lock:
            left, when, missing = self._kinds.get(kind, (AT_ONCE, now, 0))
            left = min(AT_ONCE, left + (now - when) / EVERY_S)
            if left < 1:
                self._kinds[kind] = (left, now, missing + 1)
                return False
            self._kinds[kind] = (left - 1, now, 0)
        if missing:
            record.msg = f"{record.msg} (and {missing} of this kind before it, not written here)"
        return True


class PlainLines(logging.Formatter):
    """A message is one line without control characters: it may quote what a coordinator sent.

    The lines of a traceback follow it indented, so none of them can pass for a message.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        return plain(super().formatMessage(record), MOST_MESSAGE)

    def format(self, record: logging.LogRecord) -> str:
        lines = super().format(record).split("\n")
        if len(lines) > MOST_LINES:  # the message, and the end of the traceback, where the error is
            lines = [lines[0], *lines[1 - MOST_LINES :]]
        return "\n    ".join(harmless(line[:MOST_MESSAGE]) for line in lines)


class _OwnFile(RotatingFileHandler):
    """Readable by its owner alone, and never another file that a link leads to."""

    def _open(self) -> TextIOWrapper:
        handle = os.open(self.baseFilename, FLAGS, 0o600)
        os.fchmod(handle, 0o600)
        return os.fdopen(handle, "a", encoding=self.encoding)
