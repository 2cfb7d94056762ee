"""From many answers that follow a rule to one alarm: k of the last n, one alarm as long as it lasts, a pause after it."""

from collections import deque
from dataclasses import dataclass, field


@dataclass(slots=True)
class Gate:
    """`needed` of the last `window` answers; after an alarm `cooldown_s` seconds without another."""

    needed: int = 1
    window: int = 1
    cooldown_s: float = 0.0
    _hits: deque[bool] = field(default_factory=deque)
    _told: bool = False
    _quiet_until: float = float("-inf")

    def passes(self, *, hit: bool, now: float, momentary: bool = False) -> bool:
        """Whether this answer is the alarm; `now` in seconds that never go back.

        A state (what pictures or windows show) is told once, until fewer than half of `needed` are left in the window,
        so that one which flickers is one alarm; one that begins within the pause and outlasts it is told then. What is
        `momentary`, an event, is over at once.
        """
        self._hits.append(hit)
        if len(self._hits) > self.window:
            self._hits.popleft()
        hits = sum(self._hits)
        if 2 * hits < self.needed:
            self._told = False
        if hits < self.needed or not hit or self._told or now < self._quiet_until:
            return False
        self._quiet_until = now + self.cooldown_s
        if momentary:
            self._hits.clear()
        else:
            self._told = True
        return True
