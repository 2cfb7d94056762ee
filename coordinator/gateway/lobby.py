"""Connections on which nobody has authenticated yet: few, short-lived, and the oldest leave first.

A connection is trusted from its first request that passed every check of the gateway. Until then it
lives for `life_s` at most, and when too many wait the longest-waiting one is cut, so that somebody
who opens connections and says little cannot keep agents out.
"""

import asyncio
from collections import defaultdict
from typing import Any, Protocol


class Connection(Protocol):
    """What the lobby needs of a connection."""

    loop: asyncio.AbstractEventLoop
    transport: Any


class Lobby:
    """Used inside one event loop."""

    def __init__(self, *, most: int, most_per_address: int, life_s: float) -> None:
        self._most = most
        self._most_per_address = most_per_address
        self._life_s = life_s
        self._waiting: dict[Connection, str] = {}  # in the order of arrival → address
        self._by_address: dict[str, dict[Connection, None]] = defaultdict(dict)
        self._timers: dict[Connection, asyncio.TimerHandle] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def enter(self, connection: Connection, address: str) -> None:
        own = self._by_address[address]
        if len(own) >= self._most_per_address:
            self._cut(next(iter(own)))
        elif len(self._waiting) >= self._most:
            self._cut(next(iter(self._waiting)))
        self._waiting[connection] = address
        self._by_address[address][connection] = None
        self._timers[connection] = connection.loop.call_later(self._life_s, self._cut, connection)

    def leave(self, connection: Connection) -> None:
        """It authenticated, or it is gone. Idempotent."""
        address = self._waiting.pop(connection, None)
        if address is None:
            return
        self._timers.pop(connection).cancel()
        own = self._by_address[address]
        del own[connection]
        if not own:
            del self._by_address[address]

    def _cut(self, connection: Connection) -> None:
        self.leave(connection)
        connection.transport.abort()
