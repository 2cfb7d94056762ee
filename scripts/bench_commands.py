"""How well devices with voices of their own teach `audio-command` what voices say that none of them has.

    python scripts/make_commands.py DIR
    python scripts/bench_commands.py DIR [--runs 3] [--epsilon 8] [--variant cnn] [--json]

The real trainer with its own noise, the strategy and the average of the coordinator; ledgers and secure
aggregation, which change no figure but by rounding, take no part. δ = 1e-5, 100 rounds of one full step.
`--validation` measures on the voices that settings are chosen with, and on no others. Without ε all recordings
are in one place, and nothing protects them. The gates hold for DIR as made without further options.
"""

import argparse
import json
import logging
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests/benches"), str(ROOT / "scripts")]

try:
    from fakes_federation import plan_for
    from make_commands import COMMANDS

    from edgeveil.agent.training.training import train
    from edgeveil.coordinator.learning import schedules, strategies
    from edgeveil.coordinator.plan.derived import training_plan
    from edgeveil.coordinator.runs.evaluation import Evaluator, initial_model
    from edgeveil.shared.tasks.modules import read_vector
    from edgeveil.shared.tasks.records import ArrayRecords
    from edgeveil.shared.tasks.registry import load, newest
except ModuleNotFoundError as error:
    sys.exit(f'{error.name} is missing; run: pip install -e ".[dev]"')

TASK = "audio-command"
LABELS = ",".join(sorted(COMMANDS))
ROUNDS, PLAIN_STEPS, PLAIN_RATE = 100, 300, 0.02
HELD_OUT = {"noisy": "server/commands", "quiet": "server/quiet"}
VALIDATION = {"validation": "validation/commands"}


@dataclass(frozen=True)
class Gate:
    """`least`: mean accuracy over the runs, on quiet recordings of unseen voices."""

    epsilon: float  # 0 for none
    learning_rate: float
    least: float


GATES = {
    "statistics": (Gate(0.0, 0.0, 0.90), Gate(8.0, 30.0, 0.90), Gate(3.0, 15.0, 0.88), Gate(1.0, 8.0, 0.80)),
    "cnn": (Gate(0.0, 0.0, 0.0), Gate(8.0, 1.0, 0.0)),
}  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("dir", type=Path, help="a folder made by make_commands.py")
    parser.add_argument("--variant", choices=sorted(GATES), default="statistics")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--epsilon", type=float, help="only this one; 0 for none")
    parser.add_argument("--rate", type=float, help="instead of the gate's learning rate")
    parser.add_argument("--validation", action="store_true")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    logging.disable(logging.WARNING)
    task = load(newest(TASK))
    options = task.parse_options({"labels": LABELS, "variant": chosen.variant})
    devices = [task.load(each / "commands", options) for each in sorted(chosen.dir.glob("device-*"))]  # fmt: skip
    held = VALIDATION if chosen.validation else HELD_OUT
    tests = {name: Evaluator(task, options, chosen.dir / path, quiet=True) for name, path in held.items()}  # fmt: skip
    met, rows = True, []
    for gate in GATES[chosen.variant]:
        if chosen.epsilon not in (None, gate.epsilon):
            continue
        rate = chosen.rate or gate.learning_rate
        for number in range(1, chosen.runs + 1 if gate.epsilon else 2):
            row = run(task, options, devices, tests, (gate.epsilon, rate))
            rows.append({"variant": chosen.variant, "run": number, **row})
            if not chosen.json:
                print(rows[-1], flush=True)
        of_gate = [row for row in rows if row["epsilon_limit"] == gate.epsilon]
        if "quiet" in tests:
            met = met and float(np.mean([row["accuracy_quiet"] for row in of_gate])) >= gate.least
    if chosen.json:
        print(json.dumps(rows, indent=2))
    return 0 if met else 1


def run(
    task: Any, options: Any, devices: list[Any], tests: dict[str, Any], how: tuple[float, float]
) -> dict[str, Any]:
    """`how`: ε, 0 for none, and learning rate."""
    epsilon, rate = how
    began, cpu = time.monotonic(), time.process_time()
    if epsilon:
        model, noise = federated(task, options, devices, epsilon, rate)
    else:
        model, noise = plain(task, options, devices), 0.0
    row = {
        "epsilon_limit": epsilon,
        "noise_multiplier": noise,
        "learning_rate": rate,
        "devices": len(devices),
        "recordings": sum(len(each) for each in devices),
    }
    for name, evaluator in tests.items():
        found = evaluator.evaluate(model)
        row |= {f"accuracy_{name}": found["accuracy"], f"macro_f1_{name}": found["macro_f1"]}
    spent = {
        "seconds": round(time.monotonic() - began, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
    }
    return row | spent


def federated(
    task: Any, options: Any, devices: list[Any], epsilon: float, rate: float
) -> tuple[Any, float]:
    asked = training_plan(plan(len(devices), epsilon, rate))
    model, tensors = initial_model(task, options)
    sizes = [len(records) for records in devices]
    state, mean_model = strategies.NOTHING, None
    for number in range(1, ROUNDS + 1):
        updates = [
            train(task, options, records, model, tensors, asked, size).update
            for records, size in zip(devices, sizes, strict=True)
        ]
        mean = np.average(np.array(updates, np.float64), axis=0, weights=sizes)
        step = strategies.apply("fedavgm", model, mean, state=state, number=number)
        model, state = step.model, step.state
        mean_model = schedules.averaged(
            "tail", mean_model, model, number, decay=0.9, start=ROUNDS // 2 + 1
        )
    return (model if mean_model is None else mean_model), asked.noise_multiplier


def plain(task: Any, options: Any, devices: list[Any]) -> Any:
    """All recordings in one place, Adam, nothing clipped and no noise."""
    pooled = ArrayRecords(
        np.concatenate([each.inputs for each in devices]),
        np.concatenate([each.targets for each in devices]),
    )
    module, draw = task.build(options), np.random.default_rng(1)
    optimiser = torch.optim.Adam(module.parameters(), lr=PLAIN_RATE if options.variant == "statistics" else 0.003)  # fmt: skip
    for _ in range(PLAIN_STEPS):
        inputs, targets = pooled.take(draw.choice(len(pooled), 256, replace=False))
        optimiser.zero_grad()
        task.criterion("mean")(module(inputs), targets).backward()
        optimiser.step()
    return read_vector(module, task.tensors(options))


def plan(agents: int, epsilon: float, rate: float) -> Any:
    return plan_for(
        agents,
        task__id=TASK,
        task__options={"labels": LABELS},
        training__steps=1,
        training__clip_norm=0.1,
        training__learning_rate=rate,
        training__epsilon=epsilon,
        rounds__count=ROUNDS,
        rounds__spare=0,
        rounds__minimum=agents,
    )


if __name__ == "__main__":
    sys.exit(main())
