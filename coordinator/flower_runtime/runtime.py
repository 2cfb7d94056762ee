"""The coordinator's Flower side: SuperLink, its run, and the exchange of requests and replies.

Implements coordinator.machine.transport.Transport (docs/transport.md).
"""

import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from edgeveil.coordinator.flower_runtime.mailbox import Mailbox
from edgeveil.coordinator.flower_runtime.run import FlowerRun, Registry
from edgeveil.coordinator.flower_runtime.superlink import SuperLink
from edgeveil.coordinator.flower_runtime.wire import FlowerCodec
from edgeveil.coordinator.gateway.server import Gateway
from edgeveil.coordinator.gateway.vocabulary import Upstream
from edgeveil.coordinator.machine.transport import Incoming, Log, Member, Presence
from edgeveil.shared.base.errors import TransportError
from edgeveil.shared.events.log import Event
from edgeveil.shared.wire.messages import Request

_TICK_S = 1.0
_MESSAGES_PER_RUN = 3000  # SuperLink keeps about 2 KB of each until the run is over and swept


class FlowerRuntime:
    """Used by one driver thread; `set_members`, `presence` and `alive` from any."""

    def __init__(
        self, runtime_dir: Path, gateway: Gateway, log: Log, *, database: str = ":flwr-in-memory:"
    ) -> None:
        self._gateway = gateway
        self._log = log
        self._superlink = SuperLink(runtime_dir, log, database=database)
        self._members: tuple[Member, ...] = ()
        self._lock = threading.Lock()  # members, registry, node ids
        self._registry: Registry | None = None
        self._nodes: dict[bytes, int] = {}  # by agent id
        self._run: FlowerRun | None = None
        self._mailbox = Mailbox(gateway, self._node_ids, self._running)
        self._failed = False

    @property
    def superlink_pid(self) -> int | None:
        return self._superlink.pid

    @property
    def run_id(self) -> int:
        """Flower's number of the run that is current; 0 before `start`."""
        return 0 if self._run is None else self._run.run_id

    def alive(self) -> bool:
        if not self._failed and self._run is not None and not self._superlink.alive():
            self._failed = True
            self._log(Event.SUPERLINK_STOP, level="error")
        return self._run is not None and not self._failed

    def start(self) -> None:
        """Call it from the main thread; raises TransportError when SuperLink does not come up."""
        self._superlink.start()
        try:
            self._registry = Registry(self._superlink)
            self._begin_run()
            address, tls = f"https://{self._superlink.address}", self._superlink.tls()
            upstream = Upstream(address, tls, FlowerCodec(), self._mailbox)
            self._gateway.attach(upstream)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """In the order that lets SuperLink end at once: no connection may be left open. Idempotent."""
        self._gateway.detach()
        self._mailbox.close()
        if self._run is not None and self._superlink.alive():
            self._run.close()
        if self._registry is not None:
            self._registry.close()
        self._run, self._registry = None, None
        self._superlink.stop()

    def set_members(
        self, members: Iterable[Member], revoked: frozenset[bytes] = frozenset()
    ) -> None:
        """Who may connect from now on; the gateway lets the others go before Flower hears of it."""
        with self._lock:
            self._members = tuple(members)
            self._gateway.set_members(self._members, revoked)
            self._sync()

    def presence(self) -> Mapping[bytes, Presence]:
        return self._gateway.presence()

    def take_traffic(self) -> tuple[int, int]:
        return self._gateway.take_traffic()

    def send(
        self, requests: Mapping[bytes, Request], *, ttl_s: float, reply_limit: int | None = None
    ) -> frozenset[bytes]:
        run = self._running()
        if run.lost.is_set():
            run = self._renew()
        return self._mailbox.send(run, requests, ttl_s, reply_limit)

    def receive(self, timeout_s: float) -> list[Incoming]:
        end = time.monotonic() + timeout_s
        while True:
            incoming = self._mailbox.collect(self._running(), min(_TICK_S, end - time.monotonic()))
            if incoming or time.monotonic() >= end:
                return incoming

    def forget(self) -> None:
        self._mailbox.clear()
        self._gateway.forget()
        long = self._mailbox.sent > _MESSAGES_PER_RUN
        if self._run is not None and (long or self._run.lost.is_set()):
            self._renew()

    def _running(self) -> FlowerRun:
        if not self.alive() or self._run is None:
            raise TransportError("Flower's SuperLink is not running; restart the coordinator")
        return self._run

    def _node_ids(self) -> Mapping[bytes, int]:
        with self._lock:
            return self._nodes

    def _sync(self) -> None:
        if self._registry is None:
            return
        ids = self._registry.sync(self._members)
        self._nodes = {member.agent_id: ids[member.node_public] for member in self._members}
        self._gateway.set_nodes(ids, self.run_id)

    def _begin_run(self) -> None:
        registry = self._registry
        if registry is None:
            raise TransportError("Flower's SuperLink is not running; restart the coordinator")
        self._run = FlowerRun(self._superlink, registry.start_run())
        self._mailbox.sent = 0
        with self._lock:
            self._sync()

    def _renew(self) -> FlowerRun:
        """End the run and start another; costs 0.1 to 0.4 s."""
        old = self._running()
        old.close()
        self._begin_run()
        self._sweep()
        return self._running()

    def _sweep(self) -> None:
        """Housekeeping that a failure may put off: the next renewal sweeps this run too."""
        if self._registry is None:
            return
        try:
            self._registry.sweep()
        except TransportError:
            self._log(Event.SUPERLINK_ERROR, level="warning", reason="not_swept")
