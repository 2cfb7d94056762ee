"""What honest peers feel while one hostile one floods the gateway: their times, request by request."""

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from fleet_raw_bench import RawAgent, code
from floods_bench import AGENTS, SHORT
from load_bench import Stopwatch
from transport_bench import Bench

from edgeveil.shared.wire.certificates import pinned_context

ATTACKER = Path(__file__).resolve().parent / "floods_bench.py"
STRANGERS_CONNECTIONS, AGENTS_CONNECTIONS = 128, 16
ELSEWHERE = "127.0.0.9"  # honest strangers; who shares the attacker's address shares its limits
_SETTLE_S = 0.3


@dataclass(frozen=True)
class Trial:
    """Seconds, sorted: an agent's authenticated requests on one connection, strangers' /healthz on new ones."""

    agent: list[float]
    stranger: list[float]
    slowed: float  # by how much the machine was busy with other things
    sent: int  # bytes of the attacker

    @staticmethod
    def quantile(found: list[float], part: float) -> float:
        return found[min(len(found) - 1, int(len(found) * part))]


def keys_of(raw: RawAgent) -> str:
    """For floods_bench."""
    agent = raw.agent
    node = agent.node_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return json.dumps(
        {
            "node_key": node.decode(),
            "node_public": agent.member.node_public.decode(),
            "seed": agent.identity._private.private_bytes_raw().hex(),
            "session": raw.session,
        }
    )


@contextlib.contextmanager
def flood(kind: str, port: int, seconds: float, keys: str = "") -> Iterator[subprocess.Popen[str]]:
    count = AGENTS_CONNECTIONS if kind in AGENTS else STRANGERS_CONNECTIONS
    if kind in SHORT:
        count //= 4
    command = [sys.executable, str(ATTACKER), kind, str(port), str(seconds), str(count)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as attacker:
        attacker.stdin.write(keys)
        attacker.stdin.close()
        yield attacker
        attacker.wait(60)


def trial(
    bench: Bench, honest: RawAgent, evil: RawAgent, kind: str | None, seconds: float
) -> Trial:
    """`kind` None: nobody floods. `honest` has activated and holds its connection."""
    agent: list[float] = []
    stranger: list[float] = []
    sent = 0
    with Stopwatch() as watch:
        if kind is None:
            _ask(bench, honest, agent, stranger, time.monotonic() + seconds)
        else:
            with flood(kind, bench.gateway.port, seconds + 1, keys_of(evil)) as attacker:
                time.sleep(1 + _SETTLE_S)  # it imports
                _ask(bench, honest, agent, stranger, time.monotonic() + seconds - _SETTLE_S)
                sent = json.loads(attacker.stdout.readline())["bytes"]
    return Trial(sorted(agent), sorted(stranger), watch.slowed, sent)


def _ask(bench: Bench, honest: RawAgent, agent: list[float], stranger: list[float], end: float) -> None:  # fmt: skip
    trusting = pinned_context(bench.certificate)
    while time.monotonic() < end or not stranger:
        for _ in range(5):
            began = time.monotonic()
            assert code(honest.pull_object(1, "0" * 64)) == (403, "object")
            agent.append(time.monotonic() - began)
            time.sleep(0.01)
        began = time.monotonic()
        way = httpx.HTTPTransport(verify=trusting, local_address=ELSEWHERE)
        with httpx.Client(base_url=bench.url, transport=way, timeout=30) as new:
            assert new.get("/healthz").status_code == 200
        stranger.append(time.monotonic() - began)
