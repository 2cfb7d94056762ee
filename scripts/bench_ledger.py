"""What a long ledger costs a device: opening it, charging once more, `agent budget` and `agent verify`.

    python scripts/bench_ledger.py --records 2500 5000 10000

A ledger of so many charges with noise in shares, each of other noise, which is the most a coordinator can make of it.
Each figure is of a process of its own: CPU seconds of the act without the start of Python, and the most memory that the
process held, in MB, beside that of one which only imports. `first` opens without a bookmark and verifies everything;
`charge` is the median of 20 rounds with their fsyncs, in ms. Prints JSON.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests/benches")]

try:
    import many_kinds_bench as many
    import privacy_bench as bench
    import report_bench

    from edgeveil.agent.home.home import AgentHome
    from edgeveil.agent.ledger.budget import read_budget
    from edgeveil.agent.reports.verify import check
except ModuleNotFoundError as error:
    sys.exit(f'{error.name} is missing; run: pip install -e ".[dev]"')

NOISE, HONEST, CHARGES = 5000.0, 6, 20
ACTS = ("import", "first", "open", "charge", "budget", "verify")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--records", type=int, nargs="+", default=[2500, 5000, 10_000])
    parser.add_argument("--act", choices=ACTS, help=argparse.SUPPRESS)
    parser.add_argument("--home", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.act:
        print(json.dumps(measured(given.act, given.home)))
        return
    found = {str(count): of_ledger(count) for count in given.records}
    print(json.dumps({"load": [round(value, 1) for value in os.getloadavg()]} | found, indent=2))


def of_ledger(count: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        made = report_bench.joined_device(Path(folder), many.SHARED)
        many.charge_many(made.device, count, noise=NOISE, rate=1.0, honest=HONEST)
        command = [sys.executable, __file__, "--home", str(made.path), "--act"]
        told = {act: subprocess.check_output([*command, act], text=True) for act in ACTS}
    return {act: json.loads(text) for act, text in told.items()}


def measured(act: str, path: Path) -> dict[str, float]:
    home = AgentHome(path)
    device = bench.Device(home.ledger_folder / "data", home.identity(), many.SHARED, offline=True)
    began = time.process_time()
    more = {}
    if act in {"first", "open"}:
        device.open().close()
    elif act == "budget":
        read_budget(path)
    elif act == "verify":
        check(path, None, None)
    elif act == "charge":
        more = {"median_ms": charged(device)}
    spent = time.process_time() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"cpu_s": round(spent, 3), "peak_mb": round(peak), **more}


def charged(device: bench.Device) -> float:
    """Of one round with all its records, wall time."""
    times = []
    with device.open() as store:
        for number in range(CHARGES):
            asked = many.asked(number + 1_000_000, noise=NOISE, rate=1.0, honest=HONEST)
            began = time.perf_counter()
            device.spend(store, asked)
            times.append(1000 * (time.perf_counter() - began))
    return round(statistics.median(times), 2)


if __name__ == "__main__":
    main()
