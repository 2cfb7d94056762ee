"""A small federation on loopback for transport tests: real SuperLink, real TLS, real links.

The agents' handlers are plain functions; there is no cryptography of the protocol in here.
"""

import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from ports_bench import free_port

from edgeveil.agent.flower_link.client_app import build
from edgeveil.agent.flower_link.fleet_client import public_pem
from edgeveil.agent.flower_link.link import FlowerLink
from edgeveil.coordinator.flower_runtime.runtime import FlowerRuntime
from edgeveil.coordinator.flower_runtime.superlink import self_signed
from edgeveil.coordinator.gateway.server import Gateway
from edgeveil.coordinator.gateway.vocabulary import GatewaySettings
from edgeveil.coordinator.machine.transport import Incoming, Member
from edgeveil.shared.wire.condition import Condition
from edgeveil.shared.wire.identity import Identity
from edgeveil.shared.wire.messages import Attempt, Kind, Reply, Request, make_reply, make_request
from edgeveil.shared.wire.roster import agent_id

RUN = "run-1"
PATIENCE_S = 60.0  # where time is not what a test claims


class Events:
    """A log that can be asked."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, str]] = []

    def __call__(
        self, event: str, *, level: str = "info", agent: str = "", reason: str = ""
    ) -> None:
        self.seen.append((event, agent, reason))

    def names(self) -> list[str]:
        return [event for event, _, _ in self.seen]


class BenchAgent:
    """Keys of one agent, and its link when it runs."""

    def __init__(self, name: str) -> None:
        self.identity = Identity.generate()
        self.node_key = ec.generate_private_key(ec.SECP256R1())
        self.agent_id = agent_id(self.identity.public)
        self.name = name
        self.member = Member(self.agent_id, name, self.identity.public, public_pem(self.node_key))
        self.session = 0
        self.status: list[str] = []
        self.accepted: list[Reply] = []
        self.requests: list[Request] = []
        self.error: BaseException | None = None
        self.stop_event = threading.Event()
        self.thread: threading.Thread | None = None
        self.handle: Callable[[Request], Reply] = self.echo
        self.condition: Condition | None = None  # what it tells before each poll

    def echo(self, request: Request) -> Reply:
        """Body and bulk come back reversed, so that an echo is no accident."""
        bulk = None if request.bulk is None else bytes(request.bulk)[::-1]
        return make_reply(self.identity, self.agent_id, request, request.body[::-1], bulk)

    def _handle(self, request: Request) -> Reply:
        self.requests.append(request)
        return self.handle(request)

    def start(self, url: str, ca_pem: bytes, session: int | None = None) -> None:
        self.session = self.session + 1 if session is None else session
        self.stop_event = threading.Event()
        self.error = None
        link = FlowerLink(
            url=url,
            ca_pem=ca_pem,
            node_key=self.node_key,
            signer=self.identity,
            session=self.session,
            app=build(self._handle),
            on_status=self.status.append,
            accepted=self.accepted.append,
            condition=lambda: self.condition,
        )
        self.thread = threading.Thread(target=self._run, args=(link,), daemon=True)
        self.thread.start()

    def _run(self, link: FlowerLink) -> None:
        try:
            link.run(self.stop_event)
        except BaseException as error:
            self.error = error

    def stop(self) -> None:
        self.stop_event.set()
        if self.thread is not None:
            self.thread.join(PATIENCE_S)
            assert not self.thread.is_alive()


class SkewedClock:
    """The system's clock, moved, or its monotonic side stopped."""

    def __init__(self) -> None:
        self.monotonic_offset = 0.0
        self.wall_offset = 0.0
        self._stopped: float | None = None

    def monotonic(self) -> float:
        running = time.monotonic() if self._stopped is None else self._stopped
        return running + self.monotonic_offset

    def stop(self) -> None:
        self._stopped = time.monotonic()

    def go_on(self) -> None:
        self._stopped = None

    def wall(self) -> float:
        return time.time() + self.wall_offset


class Bench:
    def __init__(self, agents: int, settings: GatewaySettings | None = None) -> None:
        self.clock = SkewedClock()
        self.folder = tempfile.TemporaryDirectory()
        self.home = Path(self.folder.name)
        self.events = Events()
        self.certificate, key = self_signed()
        (self.home / "gateway.crt").write_bytes(self.certificate)
        (self.home / "gateway.key").write_bytes(key)
        self.coordinator = Identity.generate()
        self.agents = [BenchAgent(f"agent-{number}") for number in range(1, agents + 1)]
        self.by_id = {agent.agent_id: agent for agent in self.agents}
        self.gateway = Gateway(
            join=lambda body, address: (200, {"length": len(body)}),
            ready=lambda: True,
            log=self.events,
            settings=settings,
            clock=self.clock,
        )
        self.runtime = FlowerRuntime(self.home / "run", self.gateway, self.events)

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.gateway.port}"

    def start(self, *, links: bool = True, port: int = 0) -> None:
        self.runtime.set_members([agent.member for agent in self.agents])
        self.runtime.start()
        self.gateway.start(
            "127.0.0.1",
            port or free_port(),
            (self.home / "gateway.crt", self.home / "gateway.key"),
        )
        if links:
            for agent in self.agents:
                agent.start(self.url, self.certificate)
            self.await_connected()

    def stop(self) -> None:
        for agent in self.agents:
            agent.stop_event.set()
        for agent in self.agents:
            agent.stop()
        self.gateway.stop()
        self.runtime.stop()
        self.folder.cleanup()

    def await_connected(
        self, agents: list[BenchAgent] | None = None, timeout_s: float = PATIENCE_S
    ) -> None:
        wanted = self.agents if agents is None else agents
        await_true(
            lambda: all(self.runtime.presence()[agent.agent_id].connected for agent in wanted),
            timeout_s,
            "the agents did not connect",
        )

    def await_poll(self, agent: BenchAgent) -> None:
        """Until its poll is held, and not only its session known."""
        node = self.gateway._nodes.agent(agent.agent_id)
        await_true(lambda: node.polls > 0, PATIENCE_S, "no poll is held")

    def requests(
        self,
        stage: Kind,
        attempt: int = 1,
        body: bytes = b"hello",
        bulk: bytes | None = None,
        frozen: bytes | None = None,
    ) -> dict[bytes, Request]:
        at = Attempt(RUN, 1, attempt)
        return {
            agent.agent_id: make_request(
                self.coordinator, agent.agent_id, stage, at, body, bulk, frozen
            )
            for agent in self.agents
        }

    def collect(self, expected: int, timeout_s: float = PATIENCE_S) -> list[Incoming]:
        end = time.monotonic() + timeout_s
        found: list[Incoming] = []
        while len(found) < expected and time.monotonic() < end:
            found += self.runtime.receive(min(1.0, end - time.monotonic()))
        return found

    def exchange(
        self, requests: Mapping[bytes, Request], timeout_s: float = PATIENCE_S
    ) -> list[Incoming]:
        stored = self.runtime.send(requests, ttl_s=timeout_s)
        assert stored == frozenset(requests)
        return self.collect(len(requests), timeout_s)


def await_true(check: Callable[[], bool], timeout_s: float, what: str) -> None:
    end = time.monotonic() + timeout_s
    while not check():
        assert time.monotonic() < end, what
        time.sleep(0.02)


@contextmanager
def federation(
    agents: int, settings: GatewaySettings | None = None, *, links: bool = True
) -> Iterator[Bench]:
    bench = Bench(agents, settings)
    try:
        bench.start(links=links)
        yield bench
    finally:
        bench.stop()


def random_bytes(count: int) -> bytes:
    return os.urandom(count)
