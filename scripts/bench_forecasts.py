"""How well eight wearers of a watch teach `forecasting` where the wrist of two others will be: one acceleration, 0.2 s on.

The federation of scripts/federating.py, with the plan that `coordinator plan new` writes for ε and sizes: nothing was
chosen here. Windows of 100 rows (2 s) that do not overlap, whose last row holds the answer. Beside it what costs
nothing: to say that all stays as it is, and the mean of what the devices have. ε 0 is without noise, all records in
one place. The recordings are those of scripts/bench_wearables.py.
--variant is another than the plan's, which sets no rate for it: with --epsilon 0.
python scripts/bench_forecasts.py FILE [--ahead 10] [--pairs 5] [--epsilon 8] [--variant statistics] [--json]
"""

import argparse
import json
import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np

try:
    from bench_wearables import COLUMNS, PAIRS, WINDOW, watch, wearers_records
    from federating import Clock, federate, load, newest, pooled, scored, together

    from edgeveil.coordinator.plan.first import Wanted, first_plan
    from edgeveil.coordinator.plan.plan import Plan
except ModuleNotFoundError as error:
    sys.exit(f'{error.name} is missing; run: pip install -e ".[dev]"')

TASK, TARGET = "forecasting", "ay [g]"
RECORDS = 250  # of one device, about
STEPS, PLAIN_RATE = 1000, 0.01


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("file", type=Path, help="watch_dataset.npy of seglearn 1.2.5")
    parser.add_argument("--ahead", type=int, default=10, help="rows, at 50 a second")
    parser.add_argument("--pairs", type=int, default=len(PAIRS), help="of wearers held out")
    parser.add_argument("--epsilon", type=float, action="append", help="default: 0, 8, 3 and 1")
    parser.add_argument("--variant", choices=("changes", "statistics"), default="changes")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    logging.disable(logging.WARNING)
    recordings = watch(chosen.file)
    rows = []
    for epsilon in chosen.epsilon or (0.0, 8.0, 3.0, 1.0):
        for pair in PAIRS[: chosen.pairs]:
            rows.append(run(recordings, pair, epsilon, chosen.ahead, chosen.variant))
            if not chosen.json:
                print(rows[-1], flush=True)
    if chosen.json:
        print(json.dumps(rows, indent=2))
    return 0


def plan_of(agents: int, epsilon: float, ahead: int, variant: str) -> Plan:
    wanted = Wanted(
        labels=(), shape=(WINDOW, 6), agents=agents, records=RECORDS, epsilon=epsilon, columns=COLUMNS,
        task=TASK, ahead=TARGET,
    )  # fmt: skip
    plan = first_plan(wanted).plan
    options = {**plan.task.options, "ahead": ahead, "variant": variant}
    return plan.model_copy(update={"task": plan.task.model_copy(update={"options": options})})


def run(
    recordings: dict[str, Any], pair: tuple[int, int], epsilon: float, ahead: int, variant: str
) -> dict[str, Any]:
    clock, task = Clock(), load(newest(TASK))
    plan = plan_of(8, epsilon or 8.0, ahead, variant)
    options = task.parse_options(plan.task.options)
    devices, test = wearers_records(task, options, recordings, pair)
    noise = 0.0
    if epsilon:
        model, noise = federate(plan, devices)
    else:
        model = pooled(task, options, devices, steps=STEPS, rate=PLAIN_RATE)
    found = scored(task, options, model, test)
    half = (options.number.high - options.number.low) / 2
    persistent = half * (test.inputs[:, 0] - test.targets)
    mean = half * (together(devices).targets.mean() - test.targets)
    return {
        "epsilon_limit": epsilon,
        "noise_multiplier": noise,
        "learning_rate": plan.training.learning_rate if epsilon else PLAIN_RATE,
        "ahead": ahead,
        "variant": variant,
        "held_out": list(pair),
        "windows_held_out": len(test),
        **{name: round(found[name], 4) for name in ("rmse", "mae", "r2")},
        **_errors("persistence", persistent),
        **_errors("mean", mean),
        **clock.read(),
    }


def _errors(name: str, away: np.ndarray) -> dict[str, float]:
    return {
        f"{name}_rmse": round(float(np.sqrt((away**2).mean())), 4),
        f"{name}_mae": round(float(np.abs(away).mean()), 4),
    }


if __name__ == "__main__":
    sys.exit(main())
