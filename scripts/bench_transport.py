"""Time, CPU and memory of the way between coordinator and agents, beside stock Flower where it runs.

    python scripts/bench_transport.py                 # everything, about four minutes
    python scripts/bench_transport.py --only small idle --json out.json
    python scripts/bench_transport.py --only large --megabytes 100 250 400
    python scripts/bench_transport.py --stock --stock-nodes 2 10 30     # stock Flower as well

Real SuperLink, gateway, TLS and links on loopback; agents in processes of their own that echo. No
cryptography of the protocol and no training. Wall times are those of the machine as it is; its load
is printed with them.
"""

import argparse
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests/benches"), str(ROOT / "scripts")]

from ports_bench import free_port  # noqa: E402
from processes_bench import BIN, run, wait_until  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402
from transport_bench import Bench  # noqa: E402

from edgeveil.coordinator.machine.transport import Member  # noqa: E402
from edgeveil.coordinator.serving.admin_client import call  # noqa: E402
from edgeveil.shared.wire.messages import Attempt, Request, Stage, make_request  # noqa: E402

MIB = 1 << 20
SMALL = b"q" * 3000
TICKS = os.sysconf("SC_CLK_TCK")
GOALS = {2: 0.2, 10: 0.5, 30: 1.5}
Row = tuple[str, str, str, str]


class Fleet:
    """A coordinator in this process and `count` agents in one or two others."""

    def __init__(self, count: int) -> None:
        self.bench = Bench(0)
        share = (count + 1) // 2 if count > 2 else count
        self.children = [self._spawn(at, min(share, count - at)) for at in range(0, count, share)]
        described = [
            entry for child in self.children for entry in json.loads(child.stdout.readline())
        ]
        self.members = [
            Member(
                bytes.fromhex(entry["agent_id"]),
                entry["name"],
                bytes.fromhex(entry["identity_public"]),
                entry["node_public"].encode(),
            )
            for entry in described
        ]

    def __enter__(self) -> Self:
        self.bench.start(links=False)
        self.bench.runtime.set_members(self.members)
        where = {"url": self.bench.url, "ca": self.bench.certificate.decode()}
        for child in self.children:
            child.stdin.write(json.dumps(where) + "\n")
            child.stdin.flush()
        wait_until(self.all_connected, 60, "the agents")
        return self

    def __exit__(self, *_: object) -> None:
        for child in self.children:
            child.kill()
            child.wait()
        self.bench.stop()

    def all_connected(self) -> bool:
        return all(found.connected for found in self.bench.runtime.presence().values())

    def exchange(self, number: int, bulk: bytes | None = None) -> float:
        """Seconds from sending to the last reply."""
        attempt = Attempt("bench", 1, number)
        requests: dict[bytes, Request] = {
            member.agent_id: make_request(
                self.bench.coordinator, member.agent_id, Stage.MASKED, attempt, SMALL, bulk
            )
            for member in self.members
        }
        began = time.monotonic()
        found = self.bench.exchange(requests, 120 + len(bulk or b"") / 1e6)
        seconds = time.monotonic() - began
        if len(found) != len(requests) or any(item.reply is None for item in found):
            raise RuntimeError("an exchange lost a reply")
        self.bench.runtime.forget()
        return seconds

    def superlink(self) -> int:
        return self.bench.runtime.superlink_pid or 0

    @staticmethod
    def _spawn(first: int, count: int) -> subprocess.Popen[str]:
        command = [sys.executable, str(ROOT / "scripts/bench_transport_agents.py")]
        return subprocess.Popen(
            [*command, str(first), str(count)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def memory(pid: int, what: str) -> int:
    """VmRSS or VmHWM in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(what + ":"):
            return int(line.split()[1]) << 10
    return 0


def small(repeat: int) -> Iterator[Row]:
    """3 kB each way, all agents at once."""
    for count, goal in GOALS.items():
        with Fleet(count) as fleet:
            fleet.exchange(1)
            times = sorted(fleet.exchange(number) for number in range(2, repeat + 2))
            forwarded = sum(fleet.bench.gateway.forwarded().values()) / count / (repeat + 1)
        p95 = times[int(0.95 * (len(times) - 1))]
        shown = f"{statistics.median(times):.2f} s (p95 {p95:.2f}); {forwarded:.1f} requests to SuperLink each"
        yield f"small exchange, {count} agents, p50", shown, f"≤ {goal} s", "9.4–10.1 s"


def large(megabytes: list[int]) -> Iterator[Row]:
    """Models of that many million bytes down and up; 100 are 25 million parameters of 4 bytes."""
    for size in megabytes:
        bulk = os.urandom(size * 1_000_000)
        with Fleet(2) as fleet:
            seconds = min(fleet.exchange(number, bulk) for number in (1, 2))
            peak = memory(fleet.superlink(), "VmHWM")
        goal = "≤ 10 s" if size == 100 else "–"
        yield f"{size} MB model, 2 agents, one exchange", f"{seconds:.1f} s", goal, "–"
        earlier = "575 MB with a 40 MB model" if size == 100 else "–"
        yield "SuperLink, peak memory with that model", f"{peak / MIB:.0f} MB", "≤ 200 MB", earlier


def idle(seconds: float) -> Iterator[Row]:
    """30 agents that wait for work."""
    with Fleet(30) as fleet:
        fleet.exchange(1)
        time.sleep(25)  # past the activations and into held polls
        watched = {"gateway and driver": os.getpid(), "SuperLink": fleet.superlink()}
        before = {name: cpu_seconds(pid) for name, pid in watched.items()}
        time.sleep(seconds)
        for name, pid in watched.items():
            share = (cpu_seconds(pid) - before[name]) / seconds
            yield f"idle, 30 agents: {name}", f"{share:.1%} of a core", "≤ 2 %", "–"


def revocation() -> Iterator[Row]:
    """From the changed roster to the agent that knows why."""
    with Fleet(2) as fleet:
        time.sleep(1)
        began = time.monotonic()
        gone = fleet.members[0].node_public
        fleet.bench.runtime.set_members(fleet.members[1:], frozenset({gone}))
        fleet.children[0].stdout.readline()
        seconds = time.monotonic() - began
    yield "revocation, until the agent has been told", f"{seconds:.2f} s", "≤ 1 s", "–"


def restart(repeat: int) -> Iterator[Row]:
    """Kill -9 of a real `agent run`, then from its process start to a poll at the gateway."""
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        home, agent, port = Path(name) / "c", Path(name) / "a", free_port()
        where = f"127.0.0.1:{port}"
        run("coordinator", "init", "--one-machine", "--url", f"https://{where}", "--listen", where, home=home)  # fmt: skip
        token = json.loads(run("coordinator", "invite", "--json", "a", home=home).stdout)[0][
            "token"
        ]
        data = write_data(Path(name))
        serve = spawn("coordinator", "serve", home=home)
        stack.callback(end, serve)
        wait_until(lambda: call(home, "status") is not None, 60, "serve")
        child = spawn("agent", "run", "--join", token, "--data", str(data), home=agent)
        times = []
        for _ in range(repeat):
            wait_until(lambda: state(home) == "connected", 60, "the agent")
            time.sleep(6)  # torch and opacus are there
            child.kill()
            child.wait()
            wait_until(lambda: state(home) != "connected", 30, "the loss to be noticed")
            began = time.monotonic()
            child = spawn("agent", "run", home=agent)
            while state(home) != "connected":
                time.sleep(0.02)
            times.append(time.monotonic() - began)
        end(child)
    shown = f"{statistics.median(times):.2f} s (worst {max(times):.2f})"
    yield "killed agent: process start to polling", shown, "≤ 3 s", "≥ 60 s, or never"


def state(home: Path) -> str:
    answer = call(home, "agents")
    agents = [] if answer is None else answer["agents"]
    return str(agents[0]["state"]) if agents else ""


def write_data(folder: Path) -> Path:
    from fakes_federation import write_digits  # noqa: PLC0415 - imports torch

    return Path(write_digits(folder, 1, 60)[0])


def spawn(*command: str, home: Path) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [str(BIN / command[0]), *command[1:]], env=os.environ | {"EDGEVEIL_HOME": str(home)},
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def end(child: "subprocess.Popen[bytes]") -> None:
    child.send_signal(signal.SIGTERM)
    try:
        child.wait(15)
    except subprocess.TimeoutExpired:
        child.kill()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = ("small", "large", "idle", "revocation", "restart")
    parser.add_argument("--only", nargs="+", choices=names, default=names)
    parser.add_argument("--repeat", type=int, default=15, help="small exchanges each (default 15)")
    parser.add_argument("--seconds", type=float, default=30.0, help="of idling (default 30)")
    parser.add_argument(
        "--megabytes", type=int, nargs="+", default=[100], help="sizes of the large models"
    )
    parser.add_argument("--stock", action="store_true", help="run stock Flower too (a minute)")
    parser.add_argument(
        "--stock-nodes", type=int, nargs="+", default=[2], help="with so many nodes (default 2)"
    )
    parser.add_argument("--json", type=Path, help="write the rows here as well")
    given = parser.parse_args()
    parts: dict[str, Callable[[], Iterator[Row]]] = {
        "small": lambda: small(given.repeat),
        "large": lambda: large(given.megabytes),
        "idle": lambda: idle(given.seconds),
        "revocation": revocation,
        "restart": lambda: restart(3),
    }
    rows: list[Row] = []
    for name in given.only:
        for row in parts[name]():
            print(f"{row[0]}: {row[1]}", file=sys.stderr, flush=True)
            rows.append(row)
    if given.stock:
        from bench_transport_flower import stock  # noqa: PLC0415 - starts processes of Flower's

        for nodes in given.stock_nodes:
            rows += stock(nodes)
    show(rows)
    if given.json:
        keys = ("what", "measured", "goal", "stock_flower")
        given.json.write_text(
            json.dumps([dict(zip(keys, row, strict=True)) for row in rows], indent=1)
        )


def show(rows: list[Row]) -> None:
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    made = Table(title=f"Transport on {os.cpu_count()} cores, load {load}", title_justify="left")
    for column in ("what", "measured", "goal", "stock Flower 1.41 (measured earlier)"):
        made.add_column(column)
    for row in rows:
        made.add_row(*row)
    Console(width=140).print(made)


if __name__ == "__main__":
    main()
