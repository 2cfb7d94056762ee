"""Published models at the door: which is offered to an agent, and its bytes (docs/transport.md, "Models").

Both requests are authenticated like Fleet requests and stand beside the agent's session, as a device that
trains nothing asks too. Nothing here knows what a package holds.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Protocol

from edgeveil.coordinator.gateway.nodes import Node
from edgeveil.coordinator.gateway.vocabulary import Reason, Rejected
from edgeveil.shared.base.errors import ProtocolError
from edgeveil.shared.models.offer import SLICE, Answer, Offer, Question, SliceQuestion

Gone = Callable[[], Coroutine[None, None, None]]


class Shelf(Protocol):
    """What is published; parts are read in worker threads."""

    def offer_for(self, agent_id: bytes) -> Offer | None:
        """The newest offer that this agent may have."""

    def part(self, agent_id: bytes, serial: int, at: int, size: int) -> bytes | None:
        """Bytes of the file of an offer; None if this agent is not offered it (any more), or if there are none there."""


class NoShelf:
    """Of a gateway that publishes nothing."""

    def offer_for(self, agent_id: bytes) -> Offer | None:  # noqa: ARG002 - the protocol's
        return None

    def part(self, agent_id: bytes, serial: int, at: int, size: int) -> bytes | None:  # noqa: ARG002 - the protocol's
        return None


class ModelDoor:
    """Runs in the gateway's event loop."""

    def __init__(self, shelf: Shelf, hold_s: float) -> None:
        self._shelf = shelf
        self._hold_s = hold_s
        self._changed = asyncio.Event()
        self._closed = False

    def close(self) -> None:
        """The gateway stops: held questions are told to come again."""
        self._closed = True
        self.changed()

    def changed(self) -> None:
        """Something was published or withdrawn: every held question looks again."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def offer(self, node: Node, body: bytes, gone: Gone) -> bytes:
        """The answer to a Question; raises Rejected."""
        try:
            asked = Question.decode(body)
        except ProtocolError as error:
            raise Rejected(Reason.MALFORMED) from error
        node.fetched, node.model = asked.serial, asked.in_use
        found = await self._newer(node, asked, gone)
        return Answer(offer=found).model_dump_json().encode("ascii")

    async def part(self, node: Node, body: bytes) -> bytes:
        """A slice of the file; raises Rejected(object) if it is not offered to this agent."""
        try:
            asked = SliceQuestion.decode(body)
        except ProtocolError as error:
            raise Rejected(Reason.MALFORMED) from error
        where = node.member.agent_id, asked.serial, asked.at, SLICE
        found = await asyncio.to_thread(self._shelf.part, *where)
        if found is None:
            raise Rejected(Reason.OBJECT)
        return found

    async def _newer(self, node: Node, asked: Question, gone: Gone) -> Offer | None:
        loop = asyncio.get_running_loop()
        end, left = loop.time() + self._hold_s, asyncio.ensure_future(gone())
        try:
            while True:
                changed = self._changed  # before looking, so that no change is missed
                found = self._shelf.offer_for(node.member.agent_id)
                if self._closed:
                    raise Rejected(Reason.UNAVAILABLE)
                if node.revoked:
                    raise Rejected(Reason.REVOKED)
                if found is not None and found.serial > asked.serial:
                    return found
                rest = end - loop.time()
                if not asked.wait or rest <= 0 or left.done():
                    return None
                woken = asyncio.ensure_future(changed.wait())
                try:
                    await asyncio.wait(
                        {woken, left}, timeout=rest, return_when=asyncio.FIRST_COMPLETED
                    )
                finally:
                    woken.cancel()
        finally:
            left.cancel()
