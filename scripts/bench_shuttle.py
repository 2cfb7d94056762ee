"""How well eight devices with 2,000 rows of Shuttle each learn what is odd (`anomaly`), and rare states (`rare-classes`).

The real trainer with its own noise and the strategies of the coordinator; ledgers and secure aggregation, which
change no figure but by rounding, take no part. Rows are drawn anew for each seed: 16,000 to train, others to
measure on. --validation draws them from rows that no reported figure uses; choose settings there.
python scripts/bench_shuttle.py [--task anomaly|rare-classes|tabular] [--epsilon 3] [--seeds 3] [--validation]
"""

import argparse
import json
import logging
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests/benches"), str(ROOT / "scripts")]

try:
    from fakes_federation import plan_for
    from shuttle import CACHE, COLUMNS, SIGNED_LOG, STATES, read, write

    from edgeveil.agent.training.training import train
    from edgeveil.coordinator.learning import schedules, strategies
    from edgeveil.coordinator.plan.derived import training_plan
    from edgeveil.coordinator.runs.evaluation import Evaluator, initial_model
    from edgeveil.shared.base.errors import DataError
    from edgeveil.shared.tasks.registry import load, newest
except ModuleNotFoundError as error:
    sys.exit(f'{error.name} is missing; run: pip install -e ".[dev]"')

DEVICES, EACH, TEST = 8, 2000, 14_000
ON_TABLE = {"columns": COLUMNS, "signed_log": SIGNED_LOG}
LABELS = {"labels": ",".join(STATES)}
ONE_STEP = {"training__steps": 1, "training__clip_norm": 0.1, "rounds__count": 100}
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
    rows = np.random.default_rng(1).permutation(len(states))
    part = rows[:28_000] if chosen.validation else rows[28_000:]
    for name in chosen.task or sorted(PLANS):
        more = {key: json.loads(value) for key, value in (each.split("=") for each in chosen.set)}
        for seed in range(chosen.seeds):
            drawn = np.random.default_rng(100 + seed).permutation(part)
            print(json.dumps(federate(name, chosen.epsilon, (values[drawn], states[drawn]), more)), flush=True)  # fmt: skip
    return 0


def federate(name: str, epsilon: float, rows: Any, more: dict[str, Any]) -> dict[str, Any]:
    """One federation on the first rows, measured on those after them."""
    began = time.process_time()
    keys = PLANS[name] | {key: value for key, value in more.items() if "__" in key}
    keys["task__options"] |= {key: value for key, value in more.items() if "__" not in key}
    plan = plan_for(
        DEVICES, task__id=name, training__epsilon=epsilon, rounds__spare=0, rounds__minimum=DEVICES, **keys
    )  # fmt: skip
    asked, task = training_plan(plan), load(newest(name))
    options = task.parse_options(plan.task.options)
    with tempfile.TemporaryDirectory() as folder:
        ends = [*range(0, DEVICES * EACH + 1, EACH), DEVICES * EACH + TEST]
        parts = [
            write(Path(folder) / str(low), (rows[0][low:high], rows[1][low:high]))
            for low, high in pairwise(ends)
        ]
        devices = [task.load(part, options) for part in parts[:-1]]
        evaluator = Evaluator(task, options, parts[-1], quiet=True)
    model, tensors = initial_model(task, options)
    state, mean_model = strategies.NOTHING, None
    strategy = "fedavg" if name == "anomaly" else "fedavgm"
    for number in range(1, plan.rounds.count + 1):
        updates = [train(task, options, each, model, tensors, asked, EACH).update for each in devices]  # fmt: skip
        step = strategies.apply(strategy, model, np.mean(updates, axis=0, dtype=np.float64), state=state, number=number)  # fmt: skip
        model, state = step.model, step.state
        start = plan.rounds.count // 2 + 1
        mean_model = schedules.averaged("tail", mean_model, model, number, decay=0.9, start=start)
    found = evaluator.evaluate(model if mean_model is None else mean_model)
    held = rows[1][ends[-2] : ends[-1]]
    row = {"task": name, "epsilon_limit": epsilon, "noise_multiplier": asked.noise_multiplier}
    row |= {key: round(float(value), 4) for key, value in found.items() if key != "classes"}
    row |= {"majority": round(float((held == np.bincount(held).argmax()).mean()), 4)}
    row |= {"support": dict(zip(STATES, np.bincount(held, minlength=len(STATES)).tolist(), strict=True))}  # fmt: skip
    return row | {"cpu_seconds": round(time.process_time() - began, 1)}


if __name__ == "__main__":
    sys.exit(main())
