"""What honest peers feel at the gateway while one hostile peer floods it, beside nobody flooding.

    python scripts/bench_floods.py                        # every kind, about three minutes
    python scripts/bench_floods.py --only chunks records --seconds 6

Real SuperLink, gateway and TLS on loopback; the attacker is a process of its own with 128 connections
of a stranger or 16 of one enrolled agent. Times of an agent's authenticated requests on its connection,
and of GET /healthz on a new connection each, in milliseconds and as ratios to those without a flood.
"""

import argparse
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/benches"))

from fleet_raw_bench import connected_pair  # noqa: E402
from flood_trial_bench import Trial, trial  # noqa: E402
from floods_bench import KINDS  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402
from transport_bench import federation  # noqa: E402


def figures(found: list[float]) -> tuple[float, float]:
    """p50 and p99 in milliseconds."""
    return 1e3 * Trial.quantile(found, 0.5), 1e3 * Trial.quantile(found, 0.99)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)  # fmt: skip
    parser.add_argument("--only", nargs="*", choices=KINDS, default=list(KINDS))
    parser.add_argument("--seconds", type=float, default=5.0)
    options = parser.parse_args()
    table = Table("flood", "agent p50", "p99", "×", "stranger p50", "p99", "×", "MB/s", "load")
    with federation(0, links=False) as bench, connected_pair(bench) as (honest, evil):
        calm = trial(bench, honest, evil, None, options.seconds)
        base = (*figures(calm.agent), *figures(calm.stranger))
        rows = [("none", calm)]
        rows += [(kind, trial(bench, honest, evil, kind, options.seconds)) for kind in options.only]
    for kind, found in rows:
        agent, stranger = figures(found.agent), figures(found.stranger)
        table.add_row(
            kind,
            *(f"{value:.0f}" for value in agent),
            f"{agent[1] / base[1]:.1f}",
            *(f"{value:.0f}" for value in stranger),
            f"{stranger[1] / base[3]:.1f}",
            f"{found.sent / options.seconds / 1e6:.1f}",
            f"{found.slowed:.1f}",
        )
    Console(width=110).print(table)
    print(f"milliseconds; × is p99 with over p99 without; load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
