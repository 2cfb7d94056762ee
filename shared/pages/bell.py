"""Server-sent events: whoever looks is told that there is something new, never what."""

import asyncio
from collections.abc import AsyncIterator

MOST_LISTENERS = 32
HEARTBEAT_S = 5.0  # also the longest a change of presence goes unseen
GATHER_S = 0.1  # events that come together ring once


class TooMany(Exception):
    pass


class Bell:
    """ring() from any thread; everything else inside the server's loop."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._listeners: set[asyncio.Event] = set()
        self._closed = False

    def bind(self) -> None:
        """Call inside the loop that serves."""
        self._loop = asyncio.get_running_loop()

    def ring(self) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._ring)

    def close(self) -> None:
        """End every stream."""
        self._closed = True
        self.ring()

    def admit(self) -> asyncio.Event:
        """A place for stream(), taken at once: requests that come together cannot share one.

        Raises TooMany when everybody who fits is there; leave() gives the place back.
        """
        if len(self._listeners) >= MOST_LISTENERS:
            raise TooMany
        place = asyncio.Event()
        self._listeners.add(place)
        return place

    def leave(self, place: asyncio.Event) -> None:
        self._listeners.discard(place)

    async def stream(self, heard: asyncio.Event) -> AsyncIterator[bytes]:
        """One message per ring and one every few seconds; `heard` is a place from admit()."""
        number = 0
        while not self._closed:
            number += 1
            yield f"data: {number}\n\n".encode()
            try:
                await asyncio.wait_for(heard.wait(), HEARTBEAT_S)
            except TimeoutError:
                continue
            await asyncio.sleep(GATHER_S)
            heard.clear()

    def _ring(self) -> None:
        for heard in self._listeners:
            heard.set()
