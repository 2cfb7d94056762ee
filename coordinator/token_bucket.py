"""Rate limits: one bucket per key, in bounded memory."""

from collections import OrderedDict


class Buckets:
    """Each key may spend `burst` at once and `rate` per second; the oldest of 10,000 keys go."""

    def __init__(self, rate: float, burst: float, *, most_keys: int = 10_000) -> None:
        self._rate = rate
        self._burst = burst
        self._most_keys = most_keys
        self._levels: OrderedDict[object, tuple[float, float]] = OrderedDict()

    def take(self, key: object, now: float) -> bool:
        """Spend one token at monotonic time `now`; False if there is none."""
        level, then = self._levels.pop(key, (self._burst, now))
        level = min(self._burst, level + (now - then) * self._rate)
        allowed = level >= 1.0
        self._levels[key] = (level - 1.0 if allowed else level, now)
        if len(self._levels) > self._most_keys:
            self._levels.popitem(last=False)
        return allowed
