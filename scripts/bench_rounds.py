"""What a whole round costs beside the training itself: many thin agents, or few with a large model.

    python scripts/bench_rounds.py memory --agents 1000 --parameters 1e5
    python scripts/bench_rounds.py tls --agents 10 --parameters 1e6 --rounds 5
    python scripts/bench_rounds.py memory --agents 10 --rounds 5 --noise both
    python scripts/bench_rounds.py stock --agents 3

`memory`: every party in one process, each distinct signature verified once. `tls`: `serve` with its
SuperLink, and agents in processes of their own, over TLS on loopback; CPU seconds are those of all
processes together. `stock`: five small exchanges of Flower's own processes, for comparison. Training is one line of numpy;
ledgers, secure aggregation, store and checkpoints are the product's. Local noise belongs to training and is
not drawn here, a share of the noise is; `--noise both` takes a round of each in turn and draws both. Prints JSON.
"""

import argparse
import contextlib
import json
import logging
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests/benches"), str(ROOT / "scripts")]

from scale_bench import (  # noqa: E402
    Members,
    MemoryFederation,
    TlsFederation,
    cpu_seconds,
    in_shares,
    memory_mb,
    plan_of,
    stage_seconds,
    verify_once,
)

STOCK_EXCHANGES = 5


def memory(folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Of two kinds of noise, the rounds alternate, so that both meet the same load of the machine."""
    kinds = ("local", "shared") if given.noise == "both" else (given.noise,)
    verify_once()
    plans = {kind: plan_of(given.agents, 50, **_noise(kind, given)) for kind in kinds}
    members = {
        kind: Members(
            folder / kind, given.agents, given.parameters, plan, draws=given.noise == "both"
        )
        for kind, plan in plans.items()
    }
    federations = {kind: MemoryFederation(each) for kind, each in members.items()}
    drivers = {kind: each.driver() for kind, each in federations.items()}
    rounds: dict[str, list[dict[str, float]]] = {kind: [] for kind in kinds}
    for number in range(1, given.rounds + 1):
        for kind, driver in drivers.items():
            wall, spent = time.monotonic(), time.process_time()
            driver._complete(number)  # noqa: SLF001 - drive() would not let us look in between
            wall, spent = time.monotonic() - wall, time.process_time() - spent
            rounds[kind].append({"wall_s": round(wall, 2), "cpu_s": round(spent, 3)})
    for federation in federations.values():
        federation.close()
    found = {
        kind: {
            "rounds": rounds[kind],
            "survivors": [len(record.survived) for record in members[kind].records()],
            "stages": stage_seconds(members[kind].events),
        }
        for kind in kinds
    }
    peak = {"peak_mb": round(memory_mb(os.getpid(), "VmHWM"))}
    if given.noise != "both":
        return found[given.noise] | peak
    return found | peak | {"shared_over_local": _ratio(rounds)}


def _ratio(rounds: dict[str, list[dict[str, float]]]) -> float:
    """CPU of a round, in the median; the first makes keys and tables and is left out where there are more."""
    middle = {
        kind: statistics.median(row["cpu_s"] for row in rows[1:] or rows)
        for kind, rows in rounds.items()
    }
    return round(middle["shared"] / middle["local"], 3)


def _noise(kind: str, given: argparse.Namespace) -> dict[str, Any]:
    return in_shares(given.agents) if kind == "shared" else {}


def tls(folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """The first round is left out: sessions, tables and connections are made in it."""
    plan = plan_of(given.agents, given.rounds + 1, **_noise(given.noise, given))
    members = Members(folder / "bench", given.agents, given.parameters, plan)
    federation = TlsFederation(members, given.processes)
    federation.start()
    try:
        federation.wait_for(1, 240)
        before, began = costs(federation), time.monotonic()
        federation.wait_for(given.rounds + 1, 240)
        seconds = time.monotonic() - began
        parties = federation.parties()
        done = federation.committed() - 1
        spent = {
            name: round((now - before[name]) / done, 2) for name, now in costs(federation).items()
        }
        peak = {name: round(memory_mb(pid, "VmHWM")) for name, pid in parties.items()}
    finally:
        federation.stop()
    stages = stage_seconds(members.events)[1:]
    return {
        "wall_s": round(statistics.median(row["whole"] for row in stages), 2),
        "worst_s": max(row["whole"] for row in stages),
        "cpu_s_per_round": round(sum(spent.values()), 2),
        "cpu_s": spent,
        "seconds_per_round": round(seconds / done, 2),
        "stages": {
            name: round(statistics.median(row[name] for row in stages), 2) for name in stages[0]
        },
        "survivors": [len(record.survived) for record in members.records()],
        "peak_mb": peak,
    }  # fmt: skip


def costs(federation: TlsFederation) -> dict[str, float]:
    return {name: cpu_seconds(pid) for name, pid in federation.parties().items()}


def stock(_folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    import bench_transport_flower as flower  # noqa: PLC0415 - starts processes of Flower's

    flower.NODES, flower.EXCHANGES = given.agents, STOCK_EXCHANGES
    times, resident = flower._run(_folder)  # noqa: SLF001
    return {
        "five_small_exchanges_s": round(sum(times), 1),
        "each_s": [round(seconds, 1) for seconds in times],
        "server_mb": round(resident / (1 << 20)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("link", choices=("memory", "tls", "stock"))
    parser.add_argument("--agents", type=int, default=10)
    parser.add_argument("--parameters", type=lambda text: int(float(text)), default=1_000_000)
    parser.add_argument("--rounds", type=int, default=1, help="measured rounds")
    parser.add_argument("--processes", type=int, default=2, help="of agents, with tls")
    parser.add_argument(
        "--noise", choices=("local", "shared", "both"), default="local", help="both: with memory"
    )
    parser.add_argument("--folder", type=Path, help="where to write (default: a temporary folder)")
    given = parser.parse_args()
    if given.noise == "both" and given.link != "memory":
        parser.error("--noise both goes with memory")
    logging.disable(logging.CRITICAL)
    with contextlib.ExitStack() as stack:
        folder = given.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        found = {"memory": memory, "tls": tls, "stock": stock}[given.link](folder, given)
    load = [round(value, 1) for value in os.getloadavg()]
    head = {
        "link": given.link,
        "agents": given.agents,
        "parameters": given.parameters,
        "noise": given.noise,
    }
    print(json.dumps(head | {"load": load} | found, indent=2))


if __name__ == "__main__":
    main()
