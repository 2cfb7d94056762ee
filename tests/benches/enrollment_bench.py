"""Helpers for the tests of enrolment and state: a clock to turn, devices, and a real TLS join server."""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import uvicorn
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from edgeveil.coordinator.federation.certificates import ensure_leaf, fingerprint
from edgeveil.coordinator.federation.enrollment import JoinDesk, create_invites
from edgeveil.coordinator.federation.roster_files import export_roster, import_roster, sign_roster
from edgeveil.coordinator.records.records import EnrolledAgent
from edgeveil.coordinator.store.store import Store
from edgeveil.shared.events.log import EventLog
from edgeveil.shared.wire.identity import Identity
from edgeveil.shared.wire.join import JoinRequest, Keys
from edgeveil.shared.wire.roster import agent_id
from edgeveil.shared.wire.tokens import Token

NOW = 1_800_000_000.0


@dataclass
class TurnableClock:
    seconds: float = NOW

    def wall(self) -> float:
        return self.seconds

    def monotonic(self) -> float:
        return self.seconds - NOW + 1000.0


@dataclass
class Device:
    """A device's keys, without a home folder."""

    identity: Identity = field(default_factory=Identity.generate)
    node: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )

    @property
    def node_public(self) -> bytes:
        public = self.node.public_key()
        return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    @property
    def agent_id(self) -> bytes:
        return agent_id(self.identity.public)

    def request(self, token: Token, **changes: object) -> JoinRequest:
        values = {
            "token_id": token.token_id,
            "proof_key": token.proof_key,
            "name": token.name,
            "signer": self.identity,
            "node_public": self.node_public,
            "software": "0.1.0",
        }
        return JoinRequest.make(**(values | changes))

    def enrolled(self, name: str) -> EnrolledAgent:
        return EnrolledAgent(self.agent_id, name, self.identity.public, self.node_public, NOW)


@dataclass
class Bench:
    """A coordinator's enrolment side in a folder, with the federation key at hand."""

    folder: Path
    clock: TurnableClock = field(default_factory=TurnableClock)
    url: str = "https://localhost:8443"

    def __post_init__(self) -> None:
        self.federation = Identity.generate()
        self.coordinator = Identity.generate()
        self.store = Store.open(self.folder, create=True, clock=self.clock)
        self.events_path = self.folder / "events.jsonl"
        self.events = EventLog(self.events_path, clock=self.clock)
        self.keys = Keys(self.coordinator.public, self.federation.public)
        self.desk = JoinDesk(self.store, self.keys, events=self.events, clock=self.clock)
        self.authority = os.urandom(16)

    def invite(self, *names: str, ttl_s: float = 3600.0, hold: bool = False) -> list[Token]:
        return create_invites(
            self.store,
            names,
            ttl_s=ttl_s,
            url=self.url,
            authority=self.authority,
            keys=self.keys,
            hold=hold,
            clock=self.clock,
        )

    def post(self, request: JoinRequest | bytes) -> tuple[int, dict[str, str]]:
        body = request if isinstance(request, bytes) else request.encode()
        return self.desk.handle(body, "192.0.2.7")

    def sign_and_import(self, clock: TurnableClock | None = None) -> None:
        signed = sign_roster(self.export(clock), self.federation)
        import_roster(self.store, signed, self.federation.public, clock=clock or self.clock)

    def export(self, clock: TurnableClock | None = None) -> bytes:
        return export_roster(self.store, self.federation.public, clock=clock or self.clock)

    def close(self) -> None:
        self.store.close()
        self.events.close()


@contextmanager
def tls_server(
    bench: Bench,
    chain: Path,
    key: Path,
    host: str = "127.0.0.1",
    lie: Callable[[int, dict[str, str]], Response] | None = None,
) -> Iterator[int]:
    """The desk behind uvicorn on a free loopback port; `lie` may replace what the desk answers."""

    async def join(request: Request) -> Response:
        body = await request.body()
        status, answer = await run_in_threadpool(bench.desk.handle, body, request.client.host)
        if lie is not None:
            return lie(status, answer)
        return JSONResponse(answer, status_code=status)

    app = Starlette(routes=[Route("/v1/join", join, methods=["POST"])])
    with free_server(app, chain, key, host) as port:
        yield port


@contextmanager
def free_server(app: Starlette, chain: Path, key: Path, host: str = "127.0.0.1") -> Iterator[int]:
    """Any app over TLS on a free loopback port."""
    listener = socket.create_server((host, 0))
    config = uvicorn.Config(
        app, ssl_certfile=str(chain), ssl_keyfile=str(key), log_level="error", lifespan="off"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    give_up = time.monotonic() + 60
    while not server.started and time.monotonic() < give_up:
        time.sleep(0.01)
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(60)
        listener.close()


@contextmanager
def running_coordinator(folder: Path, hosts: tuple[str, ...] = ("localhost",)) -> Iterator[Bench]:
    """A Bench whose desk answers over TLS with a certificate of its own authority."""
    folder.mkdir(parents=True, exist_ok=True)
    bench = Bench(folder)
    bench.clock.seconds = time.time()
    chain, key = ensure_leaf(folder / "tls", hosts)
    bench.authority = fingerprint((folder / "tls" / "ca.pem").read_bytes())[:16]
    try:
        with tls_server(bench, chain, key) as port:
            bench.url = f"https://localhost:{port}"
            yield bench
    finally:
        bench.close()
