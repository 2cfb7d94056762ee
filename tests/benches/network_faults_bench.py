"""Schedules of network faults against a real coordinator and four thin agents over TLS.

    python tests/benches/network_faults_bench.py --seed 1 --schedules 3 --seconds 60

Coordinator and agents live in network namespaces (nemesis_bench). Whatever the network does: no
stage outlives its deadline, no sum is wrong, no ledger entry is lost or doubled, and once it is
whole again rounds are committed again without anybody's help. Prints JSON.
"""

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests/benches")]

from real_crash_bench import AGENTS, Bench, orphans  # noqa: E402

# isort: split
from load_bench import slowed  # noqa: E402
from nemesis_bench import Nemesis, schedule, why_not  # noqa: E402

from edgeveil.coordinator.store.store import Store  # noqa: E402

NAMES = ("server", *(f"agent-{number}" for number in range(AGENTS)))
START_S, HEAL_S, OVER_S = 120.0, 90.0, 3.0  # the last two are longer on a busy machine
DEADLINE_S = 15.0  # of every stage, as the plan of the bench has it


def trial(seeds, seconds, folder):
    """Play one schedule per seed against one federation; what was counted and what was broken."""
    busy = slowed()
    with Nemesis(NAMES) as network:
        bench = Bench(
            folder,
            seeds[0],
            address=network.addresses["server"],
            enter=lambda name: network.enter("server" if name == "coordinator" else name),
        )
        bench.start()
        found, healed = [], []
        try:
            if bench.await_rounds(2, START_S) is None:
                found.append("no round was committed before anything was disturbed")
            traffic = Counter()
            for seed in seeds:
                network.play(schedule(seed, seconds, list(NAMES[1:])))
                time.sleep(seconds)
                traffic.update(network.counts())
                limit_s = HEAL_S * slowed()
                healed.append(bench.await_rounds(2, limit_s))
                if healed[-1] is None:
                    found.append(f"network:{seed}: no two rounds within {limit_s:.0f} s of its end")
        finally:
            stopped = bench.stop()
    counts, broken = bench.verdict()
    left, busy = orphans(folder), max(busy, slowed())
    return {
        **counts, **_attempts(bench), "traffic": traffic, "healed_s": healed, "stopped": stopped, "slowed": busy,
        "violations": found + broken + list(_overdue(bench, busy)) + [f"process {pid} was left" for pid in left],
    }  # fmt: skip


def _rows(bench):
    with Store.open(bench.home, read_only=True) as store:
        return store.rounds(bench.run_id)


def _attempts(bench):
    rows = _rows(bench)
    lost = Counter(why.partition(":")[0] for row in rows for why in row.dropped_reasons.values())
    return {"aborted": Counter(row.reason for row in rows if row.reason), "dropped": lost}


def _overdue(bench, busy):
    for row in _rows(bench):
        for stage, seconds in row.stage_seconds.items():
            if seconds > DEADLINE_S + OVER_S * busy:
                yield f"round {row.round} attempt {row.attempt}: {stage} took {seconds} s"


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=1, help="the first; the next ones follow")
    parser.add_argument("--schedules", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=60.0, help="of each schedule")
    options = parser.parse_args()
    if reason := why_not():
        sys.exit(f"a network of our own {reason}")
    seeds = list(range(options.seed, options.seed + options.schedules))
    with tempfile.TemporaryDirectory(prefix="edgeveil-network-") as name:
        found = trial(seeds, options.seconds, name)
        if found["violations"]:
            logs = (Path(name) / "federation" / "side").glob("*.log")
            found["logs"] = {path.name: path.read_text()[-3000:] for path in logs}
    sys.stdout.write(json.dumps({"seeds": seeds, **found}, indent=2) + "\n")
    return 1 if found["violations"] else 0


if __name__ == "__main__":
    sys.exit(main())
