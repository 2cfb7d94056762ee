"""Thousands of tiny rounds in a row: does memory grow, do file descriptors?

    python scripts/soak_rounds.py --rounds 10000                 # one process, in-memory link
    python scripts/soak_rounds.py --rounds 1000 --link tls       # serve, SuperLink and agents over TLS
    python scripts/soak_rounds.py --rounds 1800 --link tls --pace 2

Real driver, sessions, ledgers, store and checkpoints; thin agents (no torch). Memory is fitted by a straight
line over the rounds, once what has a level has reached it: after the first tenth, after the 1,400 rounds (at
most half of them) that fill SQLite's page cache of 2 MB, and over TLS after 400 s, since the gateway remembers
the nonces of the last 375 s; their level follows the pace of the rounds (give --pace on a machine that does
other things too). Prints JSON with the slope in MB per 1,000 rounds per process, the file descriptors at the
first and last sample, and the sizes of what was written.
Ends with 1 when a slope reaches 1 MB per 1,000 rounds or descriptors grow.
"""

import argparse
import contextlib
import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests/benches")]

import numpy as np  # noqa: E402
from scale_bench import (  # noqa: E402
    Members,
    MemoryFederation,
    TlsFederation,
    descriptors,
    memory_mb,
    plan_of,
)

AGENTS, SIZE, SAMPLES = 4, 16, 200
SETTLE_S = {"memory": 0.0, "tls": 400.0}
CACHED = 1400  # rounds after which SQLite's page cache of 2 MB is full
MOST_SLOPE = 1.0  # MB per 1,000 rounds


class Watch:
    """Memory and descriptors of each process, sampled by round."""

    def __init__(self, settle_s: float = 0.0) -> None:
        self.rows: list[tuple[int, dict[str, float], dict[str, int]]] = []
        self._settled = time.monotonic() + settle_s
        self._first = 0  # the round from which on it counts

    def take(self, number: int, parties: dict[str, int]) -> None:
        memory = {name: memory_mb(pid) for name, pid in parties.items()}
        files = {name: descriptors(pid) for name, pid in parties.items()}
        self.rows.append((number, memory, files))
        if time.monotonic() < self._settled:
            self._first = number

    def report(self) -> dict[str, Any]:
        last = self.rows[-1][0]
        begin = max(self._first, last / 10, min(CACHED, last / 2))
        settled = [row for row in self.rows if row[0] > begin]
        if len(settled) < 10:
            raise SystemExit("too few rounds to see a slope: give --rounds more")
        numbers = [row[0] for row in settled]
        found = {}
        for name in settled[-1][1]:
            memory = [row[1][name] for row in settled]
            files = [row[2][name] for row in settled]
            slope = 1000 * float(np.polyfit(numbers, memory, 1)[0])
            found[name] = {
                "rounds": [numbers[0], numbers[-1]],
                "memory_mb": [round(memory[0], 1), round(memory[-1], 1)],
                "slope_mb_per_1000_rounds": round(slope, 3),
                "descriptors": [files[0], max(files), files[-1]],
            }
        return found


def memory_link(members: Members, rounds: int, watch: Watch, tell: Callable[[int], None]) -> None:
    federation = MemoryFederation(members)
    driver = federation.driver()
    every = max(1, rounds // SAMPLES)
    try:
        for number in range(1, rounds + 1):
            driver._complete(number)  # noqa: SLF001 - drive() would not let us look in between
            if number % every == 0:
                watch.take(number, {"all parties": os.getpid()})
                tell(number)
    finally:
        federation.close()


def tls_link(
    members: Members, rounds: int, watch: Watch, tell: Callable[[int], None], pace_s: float
) -> None:
    federation = TlsFederation(members, processes=1, pace_s=pace_s)
    federation.start()
    every = max(1, rounds // SAMPLES)
    try:
        for number in range(every, rounds + 1, every):
            federation.wait_for(number, 900 + 5 * every)  # may be starved at low priority
            watch.take(number, federation.parties())
            tell(number)
    finally:
        federation.stop()


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=10_000)
    parser.add_argument("--link", choices=("memory", "tls"), default="memory")
    parser.add_argument(
        "--pace", type=float, default=0.0, help="over TLS: seconds from round to round"
    )
    parser.add_argument("--folder", type=Path, help="where to write (default: a temporary folder)")
    parser.add_argument("--json", type=Path, help="write the result here as well")
    given = parser.parse_args()
    logging.disable(logging.CRITICAL)
    began, spent = time.monotonic(), time.process_time()
    watch = Watch(SETTLE_S[given.link])
    run = memory_link if given.link == "memory" else partial(tls_link, pace_s=given.pace)
    with contextlib.ExitStack() as stack:
        folder = given.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        members = Members(folder / "soak", AGENTS, SIZE, plan_of(AGENTS, given.rounds))

        def tell(number: int) -> None:
            print(f"round {number} of {given.rounds}", file=sys.stderr, flush=True)

        run(members, given.rounds, watch, tell)
        records = members.records()
        written = {
            name: sum(path.stat().st_size for path in members.folder.rglob(name))
            for name in ("state.db*", "events.jsonl*", "ledger.jsonl", "*.safetensors")
        }
    processes = watch.report()
    grown = [
        name
        for name, one in processes.items()
        if one["slope_mb_per_1000_rounds"] >= MOST_SLOPE
        or one["descriptors"][-1] > one["descriptors"][0]
    ]
    text = json.dumps(
        {
            "link": given.link,
            "rounds": given.rounds,
            "committed": sum(record.outcome == "committed" for record in records),
            "aborted": sum(record.outcome == "aborted" for record in records),
            "agents": AGENTS,
            "parameters": SIZE,
            "pace_s": given.pace,
            "seconds": round(time.monotonic() - began),
            "cpu_s_of_this_process": round(time.process_time() - spent),
            "processes": processes,
            "bytes_written": written,
            "grown": grown,
        },
        indent=2,
    )
    print(text)
    if given.json:
        given.json.write_text(text + "\n")
    return 1 if grown else 0


if __name__ == "__main__":
    raise SystemExit(main())
