"""How well eight devices with 2,000 rows of Shuttle each learn what is odd (`anomaly`), and rare states (`rare-classes`).

The federation of scripts/federating.py. Rows are drawn anew for each seed: 16,000 to train, others to
measure on. --validation draws them from rows that no reported figure uses; choose settings there.
python scripts/bench_shuttle.py [--task anomaly|rare-classes|tabular] [--epsilon 3] [--seeds 3] [--validation]
"""

import argparse
import json
import logging
import sys
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

try:
    from federating import Clock, federate, load, newest, plan_for, scored
    from shuttle import CACHE, COLUMNS, SIGNED_LOG, STATES, read, write

    from edgeveil.shared.base.errors import DataError
except ModuleNotFoundError as error:
    sys.exit(f'{error.name} is missing; run: pip install -e ".[dev]"')

DEVICES, EACH, TEST, VALIDATION = 8, 2000, 14_000, 28_000
ON_TABLE = {"columns": COLUMNS, "signed_log": SIGNED_LOG}
LABELS = {"labels": ",".join(STATES)}
ONE_STEP = {
    "training__steps": 1, "training__clip_norm": 0.1, "rounds__count": 100, "server__strategy": "fedavgm",
}  # fmt: skip
PLANS: dict[str, dict[str, Any]] = {
    "anomaly": {
        "task__options": {**ON_TABLE, "normal": STATES[0]},
        "training__steps": 20, "training__sample_rate": 0.05, "training__clip_norm": 1.0,
        "training__learning_rate": 0.01, "training__optimizer": "adam", "rounds__count": 20,
    },
    "tabular": {"task__options": {**ON_TABLE, **LABELS}, "training__learning_rate": 100.0, **ONE_STEP},
    "rare-classes": {
        "task__options": {**ON_TABLE, **LABELS, "clip": 100, "count_first": 5000},
        "training__learning_rate": 120.0, **ONE_STEP,
    },
}  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--task", choices=sorted(PLANS), action="append")
    parser.add_argument("--epsilon", type=float, default=3.0)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--validation", action="store_true")
    parser.add_argument("--cache", type=Path, default=CACHE, help="for rdata")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=JSON", help="of a plan")
    chosen = parser.parse_args()
    logging.disable(logging.WARNING)
    try:
        values, states = read(chosen.cache)
    except DataError as error:
        sys.exit(error.message)
    part = held_back(states, validation=chosen.validation)
    for name in chosen.task or sorted(PLANS):
        more = {key: json.loads(value) for key, value in (each.split("=") for each in chosen.set)}
        for seed in range(chosen.seeds):
            drawn = np.random.default_rng(100 + seed).permutation(part)
            print(json.dumps(run(name, chosen.epsilon, (values[drawn], states[drawn]), more)), flush=True)  # fmt: skip
    return 0


def held_back(states: np.ndarray, *, validation: bool = False) -> np.ndarray:
    """Rows that figures are made of, or those that settings are chosen on."""
    rows = np.random.default_rng(1).permutation(len(states))
    return rows[:VALIDATION] if validation else rows[VALIDATION:]


def run(name: str, epsilon: float, rows: Any, more: dict[str, Any]) -> dict[str, Any]:
    """One federation on the first rows, measured on those after them."""
    clock = Clock()
    keys = PLANS[name] | {key: value for key, value in more.items() if "__" in key}
    keys["task__options"] |= {key: value for key, value in more.items() if "__" not in key}
    plan = plan_for(
        DEVICES, task__id=name, training__epsilon=epsilon, rounds__spare=0, rounds__minimum=DEVICES,
        server__average="tail", **keys,
    )  # fmt: skip
    task = load(newest(name))
    options = task.parse_options(plan.task.options)
    with tempfile.TemporaryDirectory() as folder:
        ends = [*range(0, DEVICES * EACH + 1, EACH), DEVICES * EACH + TEST]
        parts = [
            write(Path(folder) / str(low), (rows[0][low:high], rows[1][low:high]))
            for low, high in pairwise(ends)
        ]
        *devices, test = [task.load(part, options) for part in parts]
    model, noise = federate(plan, devices)
    found = scored(task, options, model, test)
    held = rows[1][ends[-2] : ends[-1]]
    row = {"task": name, "epsilon_limit": epsilon, "noise_multiplier": noise}
    row |= {key: round(float(value), 4) for key, value in found.items() if key != "classes"}
    row |= {"majority": round(float((held == np.bincount(held).argmax()).mean()), 4)}
    row |= {"support": dict(zip(STATES, np.bincount(held, minlength=len(STATES)).tolist(), strict=True))}  # fmt: skip
    return row | clock.read()


if __name__ == "__main__":
    sys.exit(main())
