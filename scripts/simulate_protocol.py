"""Play the secure-aggregation protocol on a hostile virtual network, many times.

Random schedules, each from its own seed (SEED, SEED + 1, …), or every pattern of lost agents:

    python scripts/simulate_protocol.py --schedules 100000 --seed 1
    python scripts/simulate_protocol.py --schedules 1 --seed 4711 --trace
    python scripts/simulate_protocol.py --patterns 5 6

Exits with 1 and the schedule's trace when a rule is broken. Prints one JSON object at the end.
"""

import argparse
import json
import sys
import time
from collections import Counter
from itertools import product
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests/benches")]

from protocol.patterns import NEVER, check  # noqa: E402 - the path is set just above
from protocol.sim import Violation, reuse_cryptography, simulate  # noqa: E402


def schedules(count: int, seed: int, *, trace: bool) -> dict[str, object]:
    """Play `count` seeds from `seed` on; raises Violation."""
    ended: Counter[str] = Counter()
    faults: Counter[str] = Counter()
    for number in range(seed, seed + count):
        outcome = simulate(number)
        ended.update(outcome.ended)
        faults.update(outcome.faults)
        if trace:
            print("\n".join(outcome.trace), file=sys.stderr)
        elif (number - seed + 1) % 5000 == 0:
            print(f"{number - seed + 1} schedules", file=sys.stderr, flush=True)
    return {
        "schedules": count,
        "seed": seed,
        "attempts": dict(ended.most_common()),
        "faults": dict(faults.most_common()),
    }


def patterns(cohorts: list[int]) -> dict[str, object]:
    """Every agent lost before any exchange or never, for each cohort size and both c_min."""
    found: dict[str, object] = {}
    for n in cohorts:
        for c_min in (0, 1):
            outcomes = [
                check(n, list(pattern), c_min) for pattern in product(range(NEVER + 1), repeat=n)
            ]
            found[f"n={n} c_min={c_min}"] = {
                "patterns": len(outcomes),
                "exact sum of the survivors": sum(outcomes),
                "hidden": len(outcomes) - sum(outcomes),
            }
            print(f"n={n} c_min={c_min}: done", file=sys.stderr, flush=True)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--schedules", type=int, default=2000, metavar="N")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--trace", action="store_true", help="print what happened in each schedule")
    parser.add_argument("--patterns", type=int, nargs="+", metavar="N", help="cohort sizes instead")
    given = parser.parse_args()
    started = time.process_time()
    reuse_cryptography()
    try:
        if given.patterns:
            found = patterns(given.patterns)
        else:
            found = schedules(given.schedules, given.seed, trace=given.trace)
    except (Violation, AssertionError) as error:
        print(error, file=sys.stderr)
        return 1
    print(json.dumps(found | {"cpu_seconds": round(time.process_time() - started, 1)}, indent=2))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
