"""Between the socket and TLS: small reads, and a price for each of them.

A read of a stranger's connection is paid from the strangers' share, and waits while that is used up.
Reads of an agent's connection are made smaller when they cost more than two milliseconds, whatever was in
them, so that one turn of the loop does a bounded amount of work for every connection.
"""

import asyncio
import functools
import time
import types
from asyncio.sslproto import SSLProtocol
from collections.abc import Callable, Generator
from typing import Any

from edgeveil.coordinator.gateway.http.share import Share

LEAST_READ = 4 << 10  # what strangers get: a handshake and a request's head fit
SMALL_READ, FIRST_READ, MOST_READ = 8 << 10, 128 << 10, 256 << 10  # agents': least, first, most
LONG_S, SHORT_S = 0.002, 0.001  # of one read
ACCEPT_S = 0.0005  # what a connection costs before it says anything
WRITE_BUFFER = 512 << 10


class Tls(SSLProtocol):
    """asyncio's, which would keep 256 KiB for every connection: its buffer grows with what is read at once."""

    max_size = LEAST_READ

    def get_buffer(self, n: int) -> memoryview:
        self.max_size = max(self.max_size, n)  # type: ignore[misc] # asyncio reads it from the instance
        return super().get_buffer(n)[:n]


@types.coroutine
def paid(work: Any, pay: Callable[[float], None]) -> Generator[Any, Any, None]:
    """Await the coroutine `work`, and pay for each of its steps the processor time of this thread."""
    step: Callable[[], Any] = functools.partial(work.send, None)
    while True:
        began = time.thread_time()
        try:
            waits_for = step()
        except StopIteration:
            return
        finally:
            pay(time.thread_time() - began)
        try:
            step = functools.partial(work.send, (yield waits_for))
        except GeneratorExit:
            work.close()
            raise
        except BaseException as error:  # noqa: BLE001 - passed on to it, as await does
            step = functools.partial(work.throw, error)


class _Valve:
    """The transport as the layers above see it: their pauses and the meter's do not undo each other."""

    def __init__(self, transport: Any, change: Callable[[bool], None]) -> None:
        self.write = transport.write
        self._transport = transport
        self._change = change

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def pause_reading(self) -> None:
        self._change(True)

    def resume_reading(self) -> None:
        self._change(False)


class Meter(asyncio.BufferedProtocol):
    """`layers` makes TLS and HTTP above, or HTTP alone, when the first bytes are there.

    It may be silent for `silence_s`; `inside` is told once when that is over, or the connection.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        share: Share,
        address: str,
        layers: Callable[["Meter"], asyncio.BaseProtocol],
        *,
        silence_s: float,
        inside: Callable[[str], None] | None,
        lost: Callable[["Meter"], None],
    ) -> None:
        self.loop = loop
        self.address = address
        self.cost_s = 0.0
        self.transport: Any = None
        self._share = share
        self._layers = layers
        self._inside = inside
        self._lost = lost
        self._silence_s = silence_s
        self._above: Any = None
        self._tls: Tls | None = None  # above, if it is TLS
        self.stranger = True
        # Of an agent's reads. What was learned of them outlives a request that is a stranger's.
        self._size = FIRST_READ
        self._suspect = (
            False  # one took long; of the next we ask how much of that is the processor's
        )
        self._buffer = bytearray(LEAST_READ)
        self._held = 0  # bytes that were read and wait in the buffer
        self._held_at = 0.0
        self.waited_s = 0.0  # of what was read last, for its share
        self._advance = self._worked = 0.0  # of the request under way
        self._paused_above = False
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self._timer = self.loop.call_later(self._silence_s, self.transport.abort)
        self._pay(ACCEPT_S)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's; it never hints
        size = LEAST_READ if self.stranger else self._size
        if self._tls is not None:
            return self._tls.get_buffer(size)
        if len(self._buffer) < size:
            self._buffer = bytearray(size)
        return memoryview(self._buffer)[:size]

    def buffer_updated(self, nbytes: int) -> None:
        if self.stranger and not self._share.enough():
            self._held, self._held_at = nbytes, self.loop.time()
            self._flow()
            self._share.wait(self)
        else:
            self.waited_s = 0.0
            self._take(nbytes)

    def go(self) -> None:
        nbytes, self._held = self._held, 0
        if nbytes and not self.transport.is_closing():
            self.waited_s = self.loop.time() - self._held_at
            self._take(nbytes)
            self._flow()

    def asked(self) -> None:
        """A request begins; it is paid in advance, since other reads come before its answer."""
        self._advance = self._share.request_s
        self._worked = 0.0
        self._pay(self._advance)

    def work(self, seconds: float) -> None:
        """So long the loop was busy with its answer."""
        self._worked += seconds

    def done(self) -> None:
        """It is answered."""
        if self.stranger:
            self._share.learn(self._worked)
            self._pay(self._worked - self._advance)

    def arrived(self) -> None:
        """The layers above are ready to speak; their own deadlines hold from now on."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            if self._inside is not None:
                self._inside(self.address)

    def claim(self) -> None:
        """A request on it showed an agent's key. Idempotent."""
        if self.stranger:
            self._share.charge(self.address, -self.cost_s)
            self.cost_s = 0.0
            self.stranger = False
            if self._held:
                self.loop.call_soon(self.go)

    def disown(self) -> None:
        """It is a stranger's again, and so is the request under way. Idempotent."""
        if not self.stranger:
            self.stranger = True
            self._advance = self._share.request_s
            self._pay(self._advance)

    def admit(self) -> None:
        """A request on it passed every check."""
        self._share.befriend(self.address)

    def eof_received(self) -> bool | None:
        return None if self._above is None else self._above.eof_received()

    def pause_writing(self) -> None:
        if self._above is not None:
            self._above.pause_writing()

    def resume_writing(self) -> None:
        if self._above is not None:
            self._above.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self.arrived()
        self._held = 0
        self._lost(self)
        if self._above is not None:
            self._above.connection_lost(exc)

    def _take(self, nbytes: int) -> None:
        if not self.stranger and nbytes <= LEAST_READ:
            self._deliver(nbytes)  # costs little, whatever it is
            return
        # The time is never less than the processor time, and reading it is no system call.
        clock = time.thread_time if self.stranger or self._suspect else time.monotonic
        began = clock()
        self._deliver(nbytes)
        spent = clock() - began
        if self.stranger:
            self._pay(spent)
        elif spent > LONG_S:
            if self._suspect:
                self._size = max(SMALL_READ, int(self._size * LONG_S / spent))
            self._suspect = True
        elif nbytes == self._size:
            self._suspect = False
            if spent < SHORT_S:
                self._size = min(MOST_READ, self._size * 2)

    def _deliver(self, nbytes: int) -> None:
        if self._above is None:
            self._above = self._layers(self)
            self._above.connection_made(_Valve(self.transport, self._pause_above))
            if isinstance(self._above, Tls):
                self._tls = self._above
                self._tls.get_buffer(nbytes)[:] = self._buffer[:nbytes]
        if self._tls is not None:
            self._tls.buffer_updated(nbytes)
        else:
            self._above.data_received(bytes(memoryview(self._buffer)[:nbytes]))

    def _pay(self, seconds: float) -> None:
        if self.stranger:
            self.cost_s += seconds
            self._share.charge(self.address, seconds)

    def _pause_above(self, paused: bool) -> None:
        self._paused_above = paused
        self._flow()

    def _flow(self) -> None:
        if self._paused_above or self._held:
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()
