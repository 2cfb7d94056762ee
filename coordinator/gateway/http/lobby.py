"""How many connections there may be: few of strangers, short-lived, and few of each agent.

A connection is an agent's from its first request that passed every check of the gateway. Until then
it lives for `life_s` at most. When there are too many of strangers or of one agent, the oldest one is
cut, so that whoever opens connections and says little cannot keep others out.
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

    def __init__(
        self, *, most: int, most_per_address: int, life_s: float, most_per_agent: int
    ) -> None:
        self._most = most
        self._most_per_address = most_per_address
        self._life_s = life_s
        self.most_per_agent: int | None = most_per_agent  # None: a proxy mixes them on its own
        self._waiting: dict[Connection, str] = {}  # in the order of arrival → address
        self._by_address: dict[str, dict[Connection, None]] = defaultdict(dict)
        self._timers: dict[Connection, asyncio.TimerHandle] = {}
        self._owner: dict[Connection, bytes] = {}
        self._by_agent: dict[bytes, dict[Connection, None]] = defaultdict(dict)

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

    def admit(self, connection: Connection, agent_id: bytes) -> None:
        """This agent spoke on it; a connection that is gone already is not counted. Idempotent."""
        if connection not in self._waiting:
            return
        self._forget_stranger(connection)
        own = self._by_agent[agent_id]
        if self.most_per_agent is not None and len(own) >= self.most_per_agent:
            self._cut(next(iter(own)))
        self._by_agent[agent_id][connection] = None
        self._owner[connection] = agent_id

    def leave(self, connection: Connection) -> None:
        """It is gone. Idempotent."""
        self._forget_stranger(connection)
        agent_id = self._owner.pop(connection, None)
        if agent_id is not None:
            own = self._by_agent[agent_id]
            del own[connection]
            if not own:
                del self._by_agent[agent_id]

    def _forget_stranger(self, connection: Connection) -> None:
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
