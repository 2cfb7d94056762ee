"""Time is passed in: protocol code takes a Clock, only the composition roots make the real one."""

import time
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
