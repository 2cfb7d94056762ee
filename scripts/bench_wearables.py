"""How well eight wearers of a watch teach `sensor-sequence` what two others do: seven exercises, at ε 8, 3 and 1.

The real trainer with its own noise, the strategy and the average of the coordinator. Ledgers and secure
aggregation, which change no figure but by rounding, take no part. Windows of 100 rows (2 s) that do not
overlap; δ = 1e-5, 100 rounds of one full step, five pairs of wearers held out in turn. The recordings are
those of the package seglearn 1.2.5 (BSD-3): unpack its wheel and name seglearn/data/watch_dataset.npy.
python scripts/bench_wearables.py FILE [--pairs 5] [--epsilon 8] [--json]
"""

import argparse
import hashlib
import io
import json
import logging
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests/benches")]

try:
    from fakes_federation import plan_for
    from sensors_bench import MOTION

    from edgeveil.agent.training.training import train
    from edgeveil.coordinator.learning import schedules, strategies
    from edgeveil.coordinator.plan.derived import training_plan
    from edgeveil.coordinator.runs.evaluation import Evaluator, initial_model
    from edgeveil.shared.tasks.registry import load, newest
except ModuleNotFoundError as error:
    sys.exit(f'{error.name} is missing; run: pip install -e ".[dev]"')

SHA256 = "eb122f23cdf06ef6bd6c6c5312958ec5cf9d038e2e6d457b8081662c75a42537"
WINDOW, ROUNDS, WEARERS = 100, 100, 10
PAIRS = ((9, 10), (1, 2), (3, 4), (5, 6), (7, 8))  # held out
COLUMNS = (
    "ax [g] -8..8, ay [g] -8..8, az [g] -8..8, "
    "wx [rad/s] -35..35, wy [rad/s] -35..35, wz [rad/s] -35..35"
)
MEMORY = Path("/dev/shm")  # noqa: S108 - thousands of fsyncs need not wear a disk here


@dataclass(frozen=True)
class Gate:
    epsilon: float
    learning_rate: float
    least: float  # mean accuracy over the pairs


GATES = (Gate(8.0, 20.0, 0.80), Gate(3.0, 10.0, 0.77), Gate(1.0, 5.0, 0.70))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("file", type=Path, help="watch_dataset.npy of seglearn 1.2.5")
    parser.add_argument("--pairs", type=int, default=len(PAIRS), help="of wearers held out")
    parser.add_argument("--epsilon", type=float, help="only this gate")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    logging.disable(logging.WARNING)
    recordings = watch(chosen.file)
    met, rows = True, []
    for gate in GATES:
        if chosen.epsilon not in (None, gate.epsilon):
            continue
        found = [federate(gate, pair, recordings, chosen.json) for pair in PAIRS[: chosen.pairs]]
        mean = float(np.mean([row["accuracy"] for row in found]))
        met = met and mean >= gate.least
        rows += found
        if not chosen.json:
            least, f1 = (min(r["accuracy"] for r in found), np.mean([r["macro_f1"] for r in found]))
            print(
                f"epsilon {gate.epsilon:g}: mean {mean:.4f}, least {least:.4f}, macro F1 {f1:.4f} "
                f"of {len(found)} pairs; gate {gate.least}: {'met' if mean >= gate.least else 'MISSED'}"
            )
    if chosen.json:
        print(json.dumps(rows, indent=2))
    return 0 if met else 1


def watch(path: Path) -> dict[str, Any]:
    """`X`: recordings (rows, 6); `y`, `subject`. Ends the process for any file but that one."""
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != SHA256:
        sys.exit(f"{path}: not the watch_dataset.npy of seglearn 1.2.5")
    found: dict[str, Any] = np.load(io.BytesIO(data), allow_pickle=True).item()  # checked above
    return found


def write(folder: Path, recordings: dict[str, Any], wearers: set[int]) -> Path:
    """Windows of these wearers as arrays beside a schema.toml."""
    windows, labels = [], []
    for rows, label, wearer in zip(
        *(recordings[key] for key in ("X", "y", "subject")), strict=True
    ):
        if int(wearer) in wearers:
            for at in range(0, len(rows) - WINDOW + 1, WINDOW):
                windows.append(rows[at : at + WINDOW])
                labels.append(label)
    folder.mkdir()
    names = ", ".join(f'"{name}"' for name in recordings["y_labels"])
    label_column = f'[[columns]]\nname = "exercise"\nrole = "label"\nlabels = [{names}]\n'
    (folder / "schema.toml").write_text(f"window = {WINDOW}\n{MOTION}{label_column}")
    np.savez(folder / "d.npz", X=np.array(windows, np.float32), y=np.array(labels, np.int64))
    return folder


def federate(
    gate: Gate, pair: tuple[int, int], recordings: dict[str, Any], quiet: bool
) -> dict[str, Any]:
    """A model that eight have taught, tested on the two who took no part."""
    began, cpu = time.monotonic(), time.process_time()
    task = load(newest("sensor-sequence"))
    options = task.parse_options({"columns": COLUMNS, "labels": ",".join(recordings["y_labels"])})
    asked = training_plan(plan(gate))
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as name:
        folder = Path(name)
        devices = [
            task.load(write(folder / f"{wearer}", recordings, {wearer}), options)
            for wearer in range(1, WEARERS + 1)
            if wearer not in pair
        ]
        evaluator = Evaluator(
            task, options, write(folder / "test", recordings, set(pair)), quiet=True
        )
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
    found = evaluator.evaluate(model if mean_model is None else mean_model)
    row = {
        "epsilon_limit": gate.epsilon,
        "noise_multiplier": asked.noise_multiplier,
        "held_out": list(pair),
        "accuracy": found["accuracy"],
        "macro_f1": found["macro_f1"],
        "windows_held_out": int(found["examples"]),
        "seconds": round(time.monotonic() - began, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
    }
    if not quiet:
        print(
            f"epsilon {gate.epsilon:g} wearers {pair}: accuracy {row['accuracy']:.4f}, macro F1 "
            f"{row['macro_f1']:.4f}, {row['cpu_seconds']} CPU s",
            flush=True,
        )
    return row


def plan(gate: Gate) -> Any:
    agents = WEARERS - 2
    return plan_for(
        agents,
        task__id="sensor-sequence",
        task__options={"columns": COLUMNS, "labels": "a,b"},
        training__steps=1,
        training__clip_norm=0.1,
        training__learning_rate=gate.learning_rate,
        training__epsilon=gate.epsilon,
        rounds__count=ROUNDS,
        rounds__spare=0,
        rounds__minimum=agents,
    )


if __name__ == "__main__":
    sys.exit(main())
