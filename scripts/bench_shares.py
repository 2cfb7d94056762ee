"""What noise in shares costs a device: CPU time of the integers, and of adding up a ledger of many kinds of step.

    python scripts/bench_shares.py noise                    # ms for 100,000 values
    python scripts/bench_shares.py ledger --records 10000   # replay of as many kinds of noise as records

The least of --repeat runs, CPU seconds of this process. Signatures are verified before, so that `ledger` is the
arithmetic alone: what docs/benchmarks.md calls verifying everything is mostly signatures. Prints JSON.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests/benches")]

import many_kinds_bench as many  # noqa: E402 - the path is set just above
import privacy_bench as bench  # noqa: E402

from edgeveil.agent.ledger.reading import ledger_records  # noqa: E402
from edgeveil.shared.privacy.ledger.replay import replay  # noqa: E402
from edgeveil.shared.vector.integer_noise import discrete_gaussian  # noqa: E402

HONEST = 6


def noise(given: argparse.Namespace) -> dict[str, Any]:
    return {
        "values": given.values,
        "ms": {
            f"2^{bits}": round(
                1000 * least(lambda bits=bits: discrete_gaussian(given.values, bits), given.repeat),
                2,
            )
            for bits in given.bits
        },
    }


def ledger(given: argparse.Namespace) -> dict[str, Any]:
    """Charges of other noise each, all in shares."""
    with tempfile.TemporaryDirectory() as folder:
        device = bench.Device(Path(folder) / "ledger", policy=many.SHARED)
        many.charge_many(device, given.records, noise=5000.0, rate=given.rate, honest=HONEST)
        records = ledger_records(device.ledger.parent, device.identity.public)
    counts = [given.records // 4, given.records // 2, given.records]
    opening = len(records) - given.records
    return {
        "rate": given.rate,
        "cpu_s": {
            str(count): round(
                least(lambda count=count: replay(records[: opening + count]), given.repeat), 3
            )
            for count in counts
        },
    }


def least(call: Callable[[], object], repeat: int) -> float:
    times = []
    for _ in range(repeat):
        began = time.process_time()
        call()
        times.append(time.process_time() - began)
    return min(times)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("noise", "ledger"))
    parser.add_argument("--values", type=int, default=100_000)
    parser.add_argument("--bits", type=int, nargs="+", default=[8, 16, 20], help="s = 2^bits")
    parser.add_argument("--records", type=int, default=10_000)
    parser.add_argument("--rate", type=float, default=1.0, help="sample rate of the charges")
    parser.add_argument("--repeat", type=int, default=5)
    given = parser.parse_args()
    found = {"noise": noise, "ledger": ledger}[given.what](given)
    load = [round(value, 1) for value in os.getloadavg()]
    print(json.dumps({"what": given.what, "load": load} | found, indent=2))


if __name__ == "__main__":
    main()
