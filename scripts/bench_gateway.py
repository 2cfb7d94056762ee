"""Processor time of the gateway's process per request, with its gate before the HTTP parser and without.

    python scripts/bench_gateway.py                      # all kinds, about five minutes
    python scripts/bench_gateway.py --only small --runs 21

Two gateways serve one agent's signed requests over TLS on loopback, with the same routes and without a
SuperLink: one behind the gate (coordinator/gateway/http), one behind uvicorn's protocol on asyncio's own
listener. They take turns of some 50 milliseconds, so that what else the machine does meets both, and are
started anew for each run. Of each run the median of its turns counts, of the runs the median. The requests are
made before a turn. The allocator keeps what it has, as it does once a large block was freed: otherwise the
order of the kinds decides whether each large body gets fresh pages, which is half of what it costs.
"""

import argparse
import json
import os
import socket
import ssl
import statistics
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/benches"))

from cryptography.hazmat.primitives.asymmetric import ec  # noqa: E402
from flwr.proto.message_pb2 import PullObjectRequest, PushObjectRequest  # noqa: E402
from flwr.proto.node_pb2 import Node  # noqa: E402
from gateway_bench import NODE, PLAN, RUN, SESSION, VECTOR, name  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

from edgeveil.agent.flower_link.fleet_client import public_pem  # noqa: E402
from edgeveil.agent.joining.signed_post import signed_headers  # noqa: E402
from edgeveil.shared.wire import condition  # noqa: E402
from edgeveil.shared.wire.identity import Identity  # noqa: E402

SERVER = ROOT / "tests/benches/gateway_bench.py"
KEEPING = {"MALLOC_MMAP_THRESHOLD_": "33554432", "MALLOC_TRIM_THRESHOLD_": "268435456"}  # glibc's
KINDS = {  # requests of a turn; what one is
    "small": (25, "a signed request of 50 bytes"),
    "plan": (25, "a pull of 3 kB"),
    "model": (4, "a pull of 4 MiB"),
    "upload": (4, "an upload of 4 MiB"),
}


class Agent:
    """Keys of one agent, and its requests as bytes: head and body, written one after the other."""

    def __init__(self) -> None:
        self.identity = Identity.generate()
        self.node_key = ec.generate_private_key(ec.SECP256R1())
        self.public = public_pem(self.node_key)
        self.session = f"1.{os.urandom(8).hex()}"

    def told(self) -> str:
        found = {"identity": self.identity.public, "node": self.public}
        return json.dumps({key: value.hex() for key, value in found.items()})

    def request(self, kind: str) -> tuple[bytes, bytes]:
        path, body = self.asked(kind)
        headers = signed_headers(
            self.node_key, self.public, self.identity, self.session, path, body
        )
        headers |= {
            "accept": "*/*", "connection": "keep-alive", "accept-encoding": "identity",
            "user-agent": "python-httpx", "content-type": "application/protobuf",
            "content-length": str(len(body)),
        }  # fmt: skip
        lines = "".join(f"{key}: {value}\r\n" for key, value in headers.items())
        return f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n{lines}\r\n".encode(), body

    @staticmethod
    def asked(kind: str) -> tuple[str, bytes]:
        node = Node(node_id=NODE)
        if kind == "small":
            return condition.PATH, condition.Condition(charging=True, battery=True).encode()
        if kind == "upload":
            push = PushObjectRequest(node=node, run_id=RUN, object_id=name(VECTOR), object_content=VECTOR, session_id=SESSION)  # fmt: skip
            return "/v1/fleet/push-object", push.SerializeToString()
        content = PLAN if kind == "plan" else VECTOR
        pull = PullObjectRequest(node=node, run_id=RUN, object_id=name(content))
        return "/v1/fleet/pull-object", pull.SerializeToString()


class Server:
    """A gateway in a process of its own, and one connection to it."""

    def __init__(self, role: str, agent: Agent) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(SERVER), role],
            env=os.environ | KEEPING, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        port = int(self.ask(agent.told()))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        plain = socket.create_connection(("127.0.0.1", port))
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.line = context.wrap_socket(plain)
        self._buffer = memoryview(bytearray(1 << 20))
        self.turn([agent.request("small")])

    def ask(self, line: str = "") -> str:
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline()

    def turn(self, requests: list[tuple[bytes, bytes]]) -> float:
        """Processor milliseconds for each request."""
        before = float(self.ask())
        for head, body in requests:
            self.line.sendall(head)
            self.line.sendall(body)
            self._answer()
        return 1e3 * (float(self.ask()) - before) / len(requests)

    def _answer(self) -> None:
        got = b""
        while b"\r\n\r\n" not in got:
            got += self.line.recv(1 << 16)
        head, _, body = got.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(got)
        left = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]) - len(body)
        while left > 0:
            left -= self.line.recv_into(self._buffer)

    def stop(self) -> None:
        self.line.close()
        self.process.kill()
        self.process.wait()


def run(kinds: list[str], pairs: int) -> dict[str, list[float]]:
    """Milliseconds of a request at two new servers, gated and ungated, by kind."""
    agent = Agent()
    with ExitStack() as stack:
        servers = [Server(role, agent) for role in ("gated", "ungated")]
        for server in servers:
            stack.callback(server.stop)
        return {kind: medians(kind, agent, servers, pairs) for kind in kinds}


def medians(kind: str, agent: Agent, servers: list[Server], pairs: int) -> list[float]:
    found: list[list[float]] = [[], []]
    for number in range(pairs + 1):
        for at in (0, 1) if number % 2 else (1, 0):
            requests = [agent.request(kind) for _ in range(KINDS[kind][0])]
            found[at].append(servers[at].turn(requests))
    return [statistics.median(turns[1:]) for turns in found]  # the first is for warmth


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)  # fmt: skip
    parser.add_argument("--only", nargs="*", choices=KINDS, default=list(KINDS))
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--pairs", type=int, default=12)
    options = parser.parse_args()
    runs = [run(options.only, options.pairs) for _ in range(options.runs)]
    table = Table("request", "gated", "ungated", "ratio", "quartiles of runs")
    for kind in options.only:
        gated, ungated = zip(*(found[kind] for found in runs), strict=True)
        low, middle, high = statistics.quantiles(with_ / without for with_, without in zip(gated, ungated, strict=True))  # fmt: skip
        table.add_row(
            KINDS[kind][1],
            f"{statistics.median(gated):.2f}",
            f"{statistics.median(ungated):.2f}",
            f"{middle:.2f}",
            f"{low:.2f} to {high:.2f}",
        )
    Console(width=110).print(table)
    print(f"processor milliseconds a request; load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
