"""Time is passed in: protocol code takes a Clock, only the composition roots make the real one."""

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    def monotonic(self) -> float:
        """Seconds that never go back; for deadlines."""

    def wall(self) -> float:
        """Unix seconds; for records and certificates only."""


class SystemClock:
    def monotonic(self) -> float:
        return time.monotonic()

    def wall(self) -> float:
        return time.time()


def utc_text(clock: Clock) -> str:
    """Now, to the second, as reports write it: 2026-01-31T12:00:00Z."""
    return datetime.fromtimestamp(int(clock.wall()), UTC).isoformat().replace("+00:00", "Z")
