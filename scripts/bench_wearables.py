"""How well eight wearers of a watch teach `sensor-sequence` what two others do: seven exercises, at ε 8, 3 and 1.

The federation of scripts/federating.py. Windows of 100 rows (2 s) that do not overlap; δ = 1e-5, 100 rounds of
one full step, five pairs of wearers held out in turn. ε 0 is without noise: AdamW on the devices, their updates
bounded, as a plan with privacy = "none" has it. --validation trains on six of the eight and measures on the two
others: settings are chosen there, with the held-out pair unseen. The recordings are those of the package seglearn
1.2.5 (BSD-3): unpack its wheel and name seglearn/data/watch_dataset.npy.
python scripts/bench_wearables.py FILE [--variant cnn1d] [--pairs 5] [--epsilon 8] [--validation] [--json]
"""

import argparse
import hashlib
import io
import json
import logging
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

try:
    from federating import Clock, federate, load, newest, one_step, scored, together
    from sensors_bench import MOTION
except ModuleNotFoundError as error:
    sys.exit(f'{error.name} is missing; run: pip install -e ".[dev]"')

SHA256 = "eb122f23cdf06ef6bd6c6c5312958ec5cf9d038e2e6d457b8081662c75a42537"
WINDOW, WEARERS = 100, 10
PAIRS = ((9, 10), (1, 2), (3, 4), (5, 6), (7, 8))  # held out
COLUMNS = (
    "ax [g] -8..8, ay [g] -8..8, az [g] -8..8, "
    "wx [rad/s] -35..35, wy [rad/s] -35..35, wz [rad/s] -35..35"
)


@dataclass(frozen=True)
class Gate:
    """`plan`: what differs from 100 rounds of one full step; `least` mean accuracy over the pairs."""

    epsilon: float  # 0: without noise
    learning_rate: float
    least: float = 0.0
    plan: dict[str, Any] = field(default_factory=dict)


NO_NOISE = {
    "training__privacy": "none", "training__optimizer": "adamw", "training__batch_size": 32,
    "training__clip_norm": 10.0, "training__steps": 8, "training__epsilon": None, "server__strategy": "fedavg",
    "rounds__count": 60,
}  # fmt: skip
FEW = {"rounds__count": 40}  # for what takes seconds a round
LONG = NO_NOISE | {"training__steps": 40, "training__clip_norm": 30.0}
GATES = {
    "statistics": (Gate(8.0, 20.0, 0.80), Gate(3.0, 10.0, 0.77), Gate(1.0, 5.0, 0.70)),
    "cnn1d": (Gate(8.0, 2.0), Gate(0.0, 0.002, plan=NO_NOISE)),
    "lstm": (Gate(8.0, 10.0, plan=FEW), Gate(0.0, 0.02, plan=LONG)),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("file", type=Path, help="watch_dataset.npy of seglearn 1.2.5")
    parser.add_argument("--variant", choices=sorted(GATES), default="statistics")
    parser.add_argument("--pairs", type=int, default=len(PAIRS), help="of wearers held out")
    parser.add_argument("--epsilon", type=float, help="only this gate; 0 for no noise")
    parser.add_argument("--rate", type=float, help="instead of the gate's learning rate")
    parser.add_argument("--validation", action="store_true")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=JSON", help="of a plan")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    logging.disable(logging.WARNING)
    more = {key: json.loads(value) for key, value in (each.split("=") for each in chosen.set)}
    recordings = watch(chosen.file)
    met, rows = True, []
    for gate in GATES[chosen.variant]:
        if chosen.epsilon not in (None, gate.epsilon):
            continue
        asked = Gate(gate.epsilon, chosen.rate or gate.learning_rate, gate.least, gate.plan | more)
        found = []
        for pair in PAIRS[: chosen.pairs]:
            found.append(run(chosen.variant, asked, pair, recordings, validation=chosen.validation))
            if not chosen.json:
                print(found[-1], flush=True)
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


def wearers_records(
    task: Any, options: Any, recordings: dict[str, Any], pair: tuple[int, int]
) -> tuple[list[Any], Any]:
    """Of each wearer who is not in the pair, and of the pair, as the task prepares them."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        devices = [
            task.load(write(folder / f"{wearer}", recordings, {wearer}), options)
            for wearer in range(1, WEARERS + 1)
            if wearer not in pair
        ]
        return devices, task.load(write(folder / "test", recordings, set(pair)), options)


def run(
    variant: str,
    gate: Gate,
    pair: tuple[int, int],
    recordings: dict[str, Any],
    *,
    validation: bool = False,
) -> dict[str, Any]:
    """A model that the others have taught, tested on the pair; or with the last two of them in its place."""
    clock, task = Clock(), load(newest("sensor-sequence"))
    raw = {"columns": COLUMNS, "labels": ",".join(recordings["y_labels"]), "variant": variant}
    options = task.parse_options(raw)
    devices, test = wearers_records(task, options, recordings, pair)
    if validation:
        test, devices = together(devices[-2:]), devices[:-2]
    plan = one_step(
        len(devices), "sensor-sequence", raw, gate.epsilon, gate.learning_rate, **gate.plan
    )
    model, noise = federate(plan, devices)
    found = scored(task, options, model, test)
    return {
        "variant": variant,
        "epsilon_limit": gate.epsilon,
        "noise_multiplier": noise,
        "learning_rate": gate.learning_rate,
        "rounds": plan.rounds.count,
        "held_out": list(pair),
        "accuracy": round(found["accuracy"], 4),
        "macro_f1": round(found["macro_f1"], 4),
        "windows_held_out": len(test),
        **clock.read(),
    }


if __name__ == "__main__":
    sys.exit(main())
