"""Token buckets per address, bounded in memory."""

import ipaddress
import threading
from collections import OrderedDict
from dataclasses import dataclass

from edgeveil.shared.base.clock import Clock


@dataclass(eq=False)
class RateLimiter:
    """Allows `burst` requests at once and `per_second` in the long run, for each address.

    At most `most` addresses are remembered; the one seen longest ago is forgotten first. An IPv6
    host owns a whole /64, so that is what counts as one address.
    """

    per_second: float
    burst: float
    clock: Clock
    most: int = 4096

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # (left, when)

    def allow(self, address: str) -> bool:
        key, now = host_of(address), self.clock.monotonic()
        with self._lock:
            left, when = self._buckets.pop(key, (self.burst, now))
            left = min(self.burst, left + (now - when) * self.per_second)
            allowed = left >= 1
            self._buckets[key] = (left - 1 if allowed else left, now)
            if len(self._buckets) > self.most:
                self._buckets.popitem(last=False)
        return allowed


def host_of(address: str) -> str:
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, 64), strict=False))
