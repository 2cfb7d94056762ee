"""Agents for bench_transport.py in a process of their own: real links, and handlers that echo.

First line out: their public keys as JSON. Then one line in, {"url", "ca"}, and they connect.
"""

import json
import sys
import threading
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests/benches")]

from transport_bench import BenchAgent  # noqa: E402 - the path is set just above

from edgeveil.shared.wire.messages import Reply, Request, make_reply  # noqa: E402

SMALL = b"r" * 3000


class EchoAgent(BenchAgent):
    """Answers with 3 kB, and with as many bytes as it was sent beside them."""

    def echo(self, request: Request) -> Reply:
        return make_reply(self.identity, self.agent_id, request, SMALL, request.bulk)


def main() -> None:
    first, count = int(sys.argv[1]), int(sys.argv[2])
    agents = [EchoAgent(f"bench-{number}") for number in range(first, first + count)]
    members = [
        {
            "agent_id": agent.agent_id.hex(),
            "name": agent.name,
            "identity_public": agent.identity.public.hex(),
            "node_public": agent.member.node_public.decode(),
        }
        for agent in agents
    ]
    print(json.dumps(members), flush=True)
    where = json.loads(sys.stdin.readline())
    for agent in agents:
        agent.start(where["url"], where["ca"].encode())
    threads = [agent.thread for agent in agents if agent.thread is not None]
    while any(thread.is_alive() for thread in threads):
        threading.Event().wait(0.05)
        for agent in agents:
            if agent.error is not None:
                print(json.dumps({"ended": agent.name}), flush=True)
                agent.error = None


if __name__ == "__main__":
    main()
