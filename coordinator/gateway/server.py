"""The only door of the coordinator: agents' Fleet requests, joining, health (docs/transport.md).

It runs in a thread of its own with its own event loop. The driver's side talks to it through
`attach`, `expect`, `wake` and `forget`; the roster's through `set_members`. It imports no flwr.
"""

import asyncio
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from edgeveil.coordinator.gateway.counts import Counts
from edgeveil.coordinator.gateway.edge_store import EdgeStore
from edgeveil.coordinator.gateway.http.listener import HttpServer
from edgeveil.coordinator.gateway.models import NoShelf, Shelf
from edgeveil.coordinator.gateway.nodes import Nodes
from edgeveil.coordinator.gateway.routes import About, Join, Routes
from edgeveil.coordinator.gateway.upstream import UpstreamClient
from edgeveil.coordinator.gateway.vocabulary import GatewaySettings, Instruction, Upstream
from edgeveil.coordinator.machine.transport import Log, Member, Presence
from edgeveil.shared.base.clock import Clock, SystemClock
from edgeveil.shared.base.errors import ConfigError

_STOP_GRACE_S = 2.0
_START_S = 10.0


class Gateway:
    """`join` answers `/v1/join` in a worker thread; `ready` adds to `/readyz`, `about` to `/v1/whoami`
    (in a worker thread too). `shelf` holds the published models.
    """

    def __init__(
        self,
        *,
        join: Join,
        ready: Callable[[], bool],
        log: Log,
        about: About = dict,
        shelf: Shelf | None = None,
        settings: GatewaySettings | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.settings = settings or GatewaySettings()
        self._clock = clock or SystemClock()
        self.store = EdgeStore()
        self._nodes = Nodes()
        self._routes = Routes(
            self._nodes,
            self.store,
            self.settings,
            self._clock,
            log,
            join=join,
            ready=ready,
            about=about,
            shelf=shelf or NoShelf(),
        )
        self._forwarded: Counter[bytes] = Counter()
        self._taken = (0, 0)  # body bytes, up and down, that take_traffic() has told
        self._server = HttpServer(self._routes.serve, self.settings, self._routes.refused_unread)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run_loop, name="gateway", daemon=True)

    @property
    def port(self) -> int:
        return self._server.port

    def start(self, host: str, port: int, files: tuple[Path, Path] | None) -> None:
        """Listen; `port` 0 lets the system choose. `files`: certificate chain and key; None: no TLS.

        Raises:
            ConfigError: the address is taken or not ours, the certificate cannot be used, or no TLS
                is asked for on an address that is not loopback.
        """
        try:
            self._call(self._server.start(host, port, files)).result(_START_S)
        except ssl.SSLError as error:
            raise ConfigError(
                f"{files[0] if files else ''}: this certificate does not fit its key ({error.reason})"
            ) from error
        except OSError as error:
            raise ConfigError(
                f"cannot listen on {host}:{port} ({error.strerror or error}); "
                "is another coordinator running? change `listen` in coordinator.toml"
            ) from error

    def reload(self, certificate: Path, key: Path) -> None:
        """Use a renewed certificate for new connections."""
        self._call(self._server.reload(certificate, key)).result(_START_S)

    def stop(self) -> None:
        """Refuse new work, end open polls, close every connection. Idempotent."""
        if not self._thread.is_alive():
            return
        self._call(self._close()).result(_STOP_GRACE_S + 5.0)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_STOP_GRACE_S + 5.0)
        self._routes.close()

    def set_members(
        self, members: Iterable[Member], revoked: frozenset[bytes] = frozenset()
    ) -> None:
        """Who may connect from now on. `revoked`: transport keys (PEM) that are told so.

        Takes effect on requests under way: a held poll of a removed agent ends within milliseconds.
        """
        for node in self._nodes.set_members(members, revoked):
            self.store.forget_agent(node.member.agent_id)
            self._wake(node.wake)

    def presence(self) -> dict[bytes, Presence]:
        now = self._clock.monotonic()
        with self._nodes.lock:
            return {node.member.agent_id: node.presence(now) for node in self._nodes.all()}

    def silence(self) -> dict[bytes, float]:
        """Seconds since each member was last heard of, by agent id."""
        now = self._clock.monotonic()
        with self._nodes.lock:
            return {node.member.agent_id: node.silence(now) for node in self._nodes.all()}

    def models_changed(self) -> None:
        """The shelf has changed: agents that wait for a model are answered."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._routes.models.changed)

    def models_told(self) -> dict[bytes, tuple[int, str | None]]:
        """By agent id: the newest serial it has fetched (0: none, or never asked), and the model in use
        where its owner lets it tell; since this gateway's start.
        """
        with self._nodes.lock:
            nodes = self._nodes.all()
            return {node.member.agent_id: (node.fetched, node.model) for node in nodes}

    def forwarded(self) -> dict[bytes, int]:
        """Requests sent on to SuperLink so far, by agent id."""
        return dict(self._forwarded)

    def rejected(self) -> dict[str, int]:
        """Refused requests so far, by reason."""
        return self._routes.counts.by_reason()

    def counts(self) -> Counts:
        """Everything that was counted since the start, as it is now."""
        return self._routes.counts.copy()

    def take_traffic(self) -> tuple[int, int]:
        """Body bytes (up, down) of Fleet requests since the last call; used by one thread."""
        counts, (up, down) = self.counts(), self._taken
        self._taken = counts.up, counts.down
        return counts.up - up, counts.down - down

    def attach(self, upstream: Upstream) -> None:
        self._call(self._attach(upstream)).result(_START_S)

    def detach(self) -> None:
        if self._thread.is_alive():
            self._call(self._attach(None)).result(_START_S)

    def set_nodes(self, ids: Mapping[bytes, int], run_id: int) -> None:
        """SuperLink's node ids by transport key, and the Flower run that is current."""
        with self._nodes.lock:
            self._nodes.run_id = run_id
            self._nodes.set_ids(ids)

    def expect(self, instruction: Instruction) -> None:
        """Announce a message before it is pushed, so that no poll can see it unannounced."""
        with self._nodes.lock:
            node = self._nodes.agent(instruction.agent_id)
            if node is not None:
                node.announced[instruction.message_id] = instruction

    def withdraw(self, instruction: Instruction) -> None:
        with self._nodes.lock:
            node = self._nodes.agent(instruction.agent_id)
            if node is not None:
                node.on_its_way(instruction.message_id)
                node.delivered.pop(instruction.message_id, None)

    def wake(self, instructions: Iterable[Instruction]) -> None:
        """The announced messages are stored: let the held polls of their agents go."""
        with self._nodes.lock:
            for instruction in instructions:
                node = self._nodes.agent(instruction.agent_id)
                if node is not None and instruction.message_id in node.announced:
                    del node.announced[instruction.message_id]
                    node.waiting[instruction.message_id] = instruction
                    self._wake(node.wake)

    def forget(self) -> None:
        """Drop every announced message and every object."""
        with self._nodes.lock:
            for node in self._nodes.all():
                node.clear()
        self.store.clear()

    def _wake(self, event: asyncio.Event) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(event.set)

    def _call(self, coroutine: Coroutine[Any, Any, None]) -> Future[None]:
        if not self._thread.is_alive():
            self._thread.start()
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def _run_loop(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    async def _attach(self, upstream: Upstream | None) -> None:
        door = self._routes.door
        old = door.client
        door.client = None if upstream is None else UpstreamClient(upstream, self._forwarded)
        for node in self._nodes.all():
            node.wake.set()
        if old is not None:
            await old.close()

    async def _close(self) -> None:
        self._routes.models.close()
        await self._attach(None)
        await self._server.stop(_STOP_GRACE_S)
