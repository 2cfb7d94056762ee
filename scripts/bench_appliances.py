"""How well eight devices teach `sensor-sequence` which household appliance draws a current (PLAID).

The federation of scripts/federating.py on windows of 40 cycles of the mains, each cycle a row; recordings are dealt to
the devices in equal shares of each class, anew for each seed. Tested on the half of the recordings that PLAID's authors
part off. --validation holds a fifth of the training recordings out instead:
settings are chosen there. ε 0 is without noise, all records in one place.
python scripts/bench_appliances.py [--epsilon 8] [--seeds 3] [--validation] [--json]
"""

import argparse
import json
import logging
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

try:
    import partition
    from data import CACHE, obtain
    from data_sets import PLAID_COLUMNS, PLAID_LABELS, PLAID_WINDOW
    from federating import Clock, federate, load, newest, one_step, pooled, scored, together

    from edgeveil.shared.base.errors import EdgeveilError
except ModuleNotFoundError as error:
    sys.exit(f'{error.name} is missing; run: pip install -e ".[dev]"')

TASK, DEVICES = "sensor-sequence", 8
# A current of any size counts by how it compares with .1 A, so that small appliances are told apart too.
OPTIONS = {
    "columns": ", ".join(
        f"{name} [{unit}] {-most:g}..{most:g}" for name, unit, most in PLAID_COLUMNS
    ),
    "signed_log": ", ".join(f"{name} 0/0.1" for name, _, _ in PLAID_COLUMNS),
    "window": PLAID_WINDOW,
    "labels": ",".join(PLAID_LABELS),
}
RATES = {8.0: 40.0, 3.0: 20.0}
STEPS, PLAIN_RATE = 500, 0.05  # of Adam


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--epsilon", type=float, action="append", help="default: 0, 8 and 3")
    parser.add_argument("--rate", type=float, help="instead of the ε's own")
    parser.add_argument("--variant", default="statistics")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--validation", action="store_true")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    logging.disable(logging.WARNING)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        source = Path(name) / "plaid"
        try:
            obtain("plaid", source, CACHE)
            for seed in range(1, chosen.seeds + 1):
                dealt = deal(source, Path(name) / str(seed), seed, validation=chosen.validation)
                for epsilon in chosen.epsilon or (0.0, *RATES):
                    rows.append(run(dealt, epsilon, seed, chosen.variant, chosen.rate))
                    if not chosen.json:
                        print(rows[-1], flush=True)
        except EdgeveilError as error:
            sys.exit(error.message)
    if chosen.json:
        print(json.dumps(rows, indent=2))
    return 0


def deal(source: Path, folder: Path, seed: int, *, validation: bool = False) -> list[Path]:
    """A folder for each device, and the one to test on."""
    words = ["--devices", str(DEVICES), "--by", "iid", "--seed", str(seed), "--quiet"]
    words += ["--held-out", "0.2" if validation else "0"]
    if partition.main([str(source / "training"), str(folder), *words]):
        sys.exit("the recordings could not be parted")
    devices = sorted(folder.glob("device-*"))
    return [*devices, folder / "server" if validation else source / "test"]


def run(
    dealt: list[Path], epsilon: float, seed: int, variant: str = "statistics", rate: float | None = None
) -> dict[str, Any]:  # fmt: skip
    clock, raw = Clock(), OPTIONS | {"variant": variant}
    task = load(newest(TASK))
    options = task.parse_options(raw)
    *devices, test = [task.load(each, options) for each in dealt]
    noise, rate = 0.0, rate or RATES.get(epsilon, PLAIN_RATE)
    if epsilon:
        model, noise = federate(one_step(len(devices), TASK, raw, epsilon, rate), devices)
    else:
        model = pooled(task, options, devices, steps=STEPS, rate=rate, seed=seed)
    found = scored(task, options, model, test)
    return {
        "variant": variant,
        "epsilon_limit": epsilon,
        "noise_multiplier": noise,
        "learning_rate": rate,
        "seed": seed,
        "windows": len(together(devices)),
        "windows_held_out": len(test),
        "accuracy": round(found["accuracy"], 4),
        "macro_f1": round(found["macro_f1"], 4),
        "majority": round(float(np.bincount(test.targets).max() / len(test)), 4),
        **clock.read(),
    }


if __name__ == "__main__":
    sys.exit(main())
