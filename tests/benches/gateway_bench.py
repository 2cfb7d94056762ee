"""A gateway without SuperLink in a process of its own, with the gate before its HTTP parser or without.

    python gateway_bench.py gated|ungated

Reads a line of JSON, the one agent; prints the port; then answers every line with the processor seconds so far.
"""

import asyncio
import hashlib
import json
import os
import ssl
import sys
import tempfile
import time
from pathlib import Path

from uvicorn.protocols.http.h11_impl import H11Protocol

from edgeveil.coordinator.flower_runtime.superlink import self_signed
from edgeveil.coordinator.flower_runtime.wire import FlowerCodec
from edgeveil.coordinator.gateway.http.listener import HttpServer
from edgeveil.coordinator.gateway.http.web import CONNECTION
from edgeveil.coordinator.gateway.server import Gateway
from edgeveil.coordinator.gateway.vocabulary import GatewaySettings, Upstream
from edgeveil.coordinator.machine.transport import Member
from edgeveil.shared.wire.roster import agent_id

NODE, RUN, SESSION, MESSAGE = 7, 1, "upload", "message"
PLAN = b"p" * 3000
VECTOR = bytes(4 << 20)  # a masked vector of a million parameters
UNBOUNDED = 1e12


def name(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class Anybody:
    """What routes tell of a connection, heard by nobody."""

    def claim(self) -> None: ...
    def disown(self) -> None: ...
    def admit(self, agent_id: bytes) -> None: ...


class Ungated(HttpServer):
    """The same HTTP settings behind asyncio's listener and TLS, without a gate."""

    async def start(self, host: str, port: int, files: tuple[Path, Path] | None) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(*files or ())
        state = {CONNECTION: Anybody()}
        self.server = await asyncio.get_running_loop().create_server(
            lambda: H11Protocol(self._config, self._state, state), host, port, ssl=context
        )
        self.port = self.server.sockets[0].getsockname()[1]


class Listener:
    """Of a SuperLink that is not there."""

    def ready(self, *_: object) -> None: ...
    def lost(self, *_: object) -> None: ...


def tell(value: float) -> None:
    sys.stdout.write(f"{value}\n")
    sys.stdout.flush()


def serve(server: type[HttpServer]) -> None:
    told = json.loads(sys.stdin.readline())
    identity, node_key = bytes.fromhex(told["identity"]), bytes.fromhex(told["node"])
    member = Member(agent_id(identity), "agent", identity, node_key)
    settings = GatewaySettings(
        rate_per_agent=UNBOUNDED, burst_per_agent=UNBOUNDED,
        rate_per_address=UNBOUNDED, burst_per_address=UNBOUNDED,
    )  # fmt: skip
    gateway = Gateway(join=lambda *_: (200, {}), ready=bool, log=lambda *_, **__: None, settings=settings)  # fmt: skip
    gateway._server = server(gateway._routes.serve, settings, gateway._routes.refused_unread)
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder, "crt"), Path(folder, "key")
        for path, content in zip(files, self_signed(), strict=True):
            path.write_bytes(content)
        gateway.start("127.0.0.1", 0, files)
    gateway.attach(Upstream("https://127.0.0.1:1", ssl.create_default_context(), FlowerCodec(), Listener()))  # fmt: skip
    gateway.set_members([member])
    gateway.set_nodes({member.node_public: NODE}, RUN)
    node = gateway._nodes.agent(member.agent_id)
    names = {name(content): content for content in (PLAN, VECTOR)}
    gateway.store.hold(MESSAGE, names)
    gateway.store.fill(names)
    gateway.store.grant(member.agent_id, MESSAGE, names)
    gateway.store.expect(member.agent_id, SESSION, "reply", [name(VECTOR)], [name(VECTOR)], most_bytes=len(VECTOR))  # fmt: skip
    tell(gateway.port)
    for _ in sys.stdin:
        node.active = True  # the first request of a session ends that
        tell(time.process_time())
    os._exit(0)


if __name__ == "__main__":
    serve({"gated": HttpServer, "ungated": Ungated}[sys.argv[1]])
