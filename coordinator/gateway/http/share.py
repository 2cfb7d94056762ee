"""How much of the event loop strangers may take, all of them together, and who of them goes first.

A stranger is a connection on which no request has shown an agent's key yet. The measure is processor
time of the loop's thread, so every kind of input counts as what it costs: handshakes, TLS records of
one byte, headers, requests. While there is something left, what comes is read at once. Otherwise
connections wait, not read from, and go on in small turns: first the ones that, with their address, have
cost least, where an address from which agents came may have cost a little more; of two equals the newer.
"""

import asyncio
import heapq
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

PART = 0.25  # of the loop
DEPTH_S = 0.02  # what may be taken at once
TURN_S = 0.005  # the longest time of one turn, but for its last read
_HALF_LIFE_S = 1.0  # of what an address is remembered to have cost
_MOST_ADDRESSES = 4096
_REQUEST_S = 0.001  # what answering a request is taken to cost before one was answered
_NEWEST = 0.1  # the weight of the newest request in what one is taken to cost
_FRIEND_S = 0.1  # so much more may an address have cost where agents were admitted


class Waiting(Protocol):
    """What the share needs of a connection."""

    address: str
    cost_s: float

    def go(self) -> None:
        """Work on what was read, and read on; charges for it."""


class Share:
    """Used inside one event loop."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        part: float = PART,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._loop = loop
        self._part = part
        self._clock = clock
        self._left, self._when = DEPTH_S, clock()
        self.request_s = _REQUEST_S  # what answering one costs, as it was lately
        self._queue: list[tuple[float, int, Waiting]] = []
        self._filled = False  # in this turn of the loop
        self._arrivals = 0
        self._timer: asyncio.TimerHandle | None = None
        self._costs: OrderedDict[str, tuple[float, float]] = OrderedDict()  # (seconds, when)
        self._friends: OrderedDict[str, None] = OrderedDict()

    def enough(self) -> bool:
        """Something is left, and nobody waits for it."""
        return not self._queue and self._refill() > 0

    def charge(self, address: str, seconds: float) -> None:
        """`seconds` below 0 give back what turned out to be an agent's."""
        now = self._clock()
        self._left = min(DEPTH_S, self._left - seconds)
        self._costs[address] = (max(0.0, self._cost(address, now) + seconds), now)
        self._costs.move_to_end(address)
        if len(self._costs) > _MOST_ADDRESSES:
            self._costs.popitem(last=False)

    def learn(self, seconds: float) -> None:
        """What answering a stranger's request did cost."""
        self.request_s += _NEWEST * (seconds - self.request_s)

    def befriend(self, address: str) -> None:
        """An agent was admitted from there."""
        self._friends[address] = None
        self._friends.move_to_end(address)
        if len(self._friends) > _MOST_ADDRESSES:
            self._friends.popitem(last=False)

    def wait(self, who: Waiting) -> None:
        """who.go() is called when its turn has come."""
        rank = who.cost_s + self._cost(who.address, self._clock())
        if who.address in self._friends:
            rank -= _FRIEND_S
        self._arrivals += 1
        heapq.heappush(self._queue, (rank, -self._arrivals, who))
        if self._timer is None:
            self._plan()

    def close(self) -> None:
        self._queue.clear()
        if self._timer is not None:
            self._timer.cancel()

    def _plan(self) -> None:
        """At least a turn's worth is saved up before a turn, so that turns lie apart."""
        delay = max(0.0, TURN_S - self._refill()) / self._part
        self._timer = self._loop.call_later(delay, self._turn)

    def _turn(self) -> None:
        end = self._refill() - TURN_S
        while self._queue and self._left > max(0.0, end):
            heapq.heappop(self._queue)[2].go()
        if self._queue:
            self._plan()
        else:
            self._timer = None

    def _refill(self) -> float:
        """Once in a turn of the loop: one that lasts long must not earn more work while it lasts."""
        if self._filled:
            return self._left
        self._filled = True
        self._loop.call_soon(self._forget_turn)
        now = self._clock()
        self._left = min(DEPTH_S, self._left + self._part * (now - self._when))
        self._when = now
        return self._left

    def _forget_turn(self) -> None:
        self._filled = False

    def _cost(self, address: str, now: float) -> float:
        seconds, when = self._costs.get(address, (0.0, now))
        return float(seconds * 0.5 ** ((now - when) / _HALF_LIFE_S))
