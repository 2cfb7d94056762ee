"""How busy the machine is, for limits that are promises where a processor is to spare.

A limit in seconds says nothing on a machine that does ten other things. It is multiplied by how much
longer than its own processor time a small piece of work takes here, just before and just after: by 1
on an idle machine, so nothing is weakened there.
"""

import time
from typing import Self

SAMPLE_S = 0.05


def slowed() -> float:
    """How many times longer work takes here now than the processor time it needs; 1 or more."""
    began, worked = time.monotonic(), time.thread_time()
    while time.thread_time() - worked < SAMPLE_S:
        pass
    return max(1.0, (time.monotonic() - began) / SAMPLE_S)


class Stopwatch:
    """`with Stopwatch() as watch: …`, then `assert watch.within(2), watch`."""

    def __enter__(self) -> Self:
        self.slowed = slowed()
        self._began = time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.monotonic() - self._began
        self.slowed = max(self.slowed, slowed())

    def within(self, seconds: float) -> bool:
        """So many seconds on an idle machine."""
        return self.seconds < seconds * self.slowed

    def __repr__(self) -> str:
        return (
            f"{self.seconds:.2f} s on a machine that takes {self.slowed:.1f} times as long as idle"
        )
