"""How well devices with voices of their own teach `audio-command` what voices say that none of them has.

    python scripts/make_commands.py DIR
    python scripts/bench_commands.py DIR [--runs 3] [--epsilon 8] [--variant cnn] [--json]

The federation of scripts/federating.py. δ = 1e-5, 100 rounds of one full step.
`--validation` measures on the voices that settings are chosen with, and on no others. Without ε all recordings
are in one place, and nothing protects them. The gates hold for DIR as made without further options.
"""

import argparse
import json
import logging
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

try:
    from federating import Clock, federate, load, newest, one_step, pooled
    from make_commands import COMMANDS

    from edgeveil.coordinator.runs.evaluation import Evaluator
except ModuleNotFoundError as error:
    sys.exit(f'{error.name} is missing; run: pip install -e ".[dev]"')

TASK = "audio-command"
LABELS = ",".join(sorted(COMMANDS))
PLAIN_STEPS = 300
PLAIN_RATES = {"statistics": 0.02, "cnn": 0.003}  # of Adam
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
    parser.add_argument("--set", action="append", default=[], metavar="KEY=JSON", help="of a plan")
    parser.add_argument("--validation", action="store_true")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    logging.disable(logging.WARNING)
    options, devices, tests = prepared(chosen.dir, chosen.variant, validation=chosen.validation)
    more = {key: json.loads(value) for key, value in (each.split("=") for each in chosen.set)}
    met, rows = True, []
    for gate in GATES[chosen.variant]:
        if chosen.epsilon not in (None, gate.epsilon):
            continue
        rate = chosen.rate or gate.learning_rate
        for number in range(1, chosen.runs + 1 if gate.epsilon else 2):
            row = run(options, devices, tests, (gate.epsilon, rate), more)
            rows.append({"variant": chosen.variant, "run": number, **row})
            if not chosen.json:
                print(rows[-1], flush=True)
        of_gate = [row for row in rows if row["epsilon_limit"] == gate.epsilon]
        if "quiet" in tests:
            met = met and float(np.mean([row["accuracy_quiet"] for row in of_gate])) >= gate.least
    if chosen.json:
        print(json.dumps(rows, indent=2))
    return 0 if met else 1


def prepared(
    folder: Path, variant: str, *, validation: bool = False
) -> tuple[Any, list[Any], dict[str, Any]]:
    """Options, the records of each device, and what measures by name."""
    task = load(newest(TASK))
    options = task.parse_options({"labels": LABELS, "variant": variant})
    devices = [task.load(each / "commands", options) for each in sorted(folder.glob("device-*"))]
    held = VALIDATION if validation else HELD_OUT
    tests = {name: Evaluator(task, options, folder / path, quiet=True) for name, path in held.items()}  # fmt: skip
    return options, devices, tests


def run(
    options: Any,
    devices: list[Any],
    tests: dict[str, Any],
    how: tuple[float, float],
    more: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """`how`: ε, 0 for none, and learning rate."""
    epsilon, rate = how
    clock, task = Clock(), load(newest(TASK))
    if epsilon:
        raw = {"labels": LABELS, "variant": options.variant}
        plan = one_step(len(devices), TASK, raw, epsilon, rate, **more or {})
        model, noise = federate(plan, devices)
    else:
        model = pooled(task, options, devices, steps=PLAIN_STEPS, rate=PLAIN_RATES[options.variant])
        noise = 0.0
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
    return row | clock.read()


if __name__ == "__main__":
    sys.exit(main())
