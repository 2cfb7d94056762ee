"""How well devices teach `multimodal` orders that need two senses: what is seen says which thing, what is heard says what to do.

    python scripts/make_commands.py DIR
    python scripts/bench_pairs.py DIR [--epsilon 8] [--runs 3] [--validation] [--json]

Each recording of four of the commands in DIR is put beside a picture of one of three things (Fashion-MNIST, MIT),
which no other record has: twelve orders, and neither sense alone knows more than a share of them. The federation of
scripts/federating.py; tested on voices and pictures that no device has. ε 0 is without noise, all records in one
place. --validation measures on the voices that settings are chosen with, and on pictures that no device has.
"""

import argparse
import csv
import json
import logging
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

try:
    from federating import Clock, federate, load, newest, one_step, pooled, scored, together
    from PIL import Image
    from public_data_bench import PublicImages, fashion_mnist
except ModuleNotFoundError as error:
    sys.exit(f'{error.name} is missing; run: pip install -e ".[dev]"')

TASK = "multimodal"
THINGS = {"bag": 8, "boot": 9, "trousers": 1}  # classes of Fashion-MNIST
SAID = ("close", "louder", "open", "quiet")
ORDERS = tuple(f"{thing} {said}" for thing in THINGS for said in SAID)
RATES = {8.0: 60.0}
STEPS, PLAIN_RATE, SEED = 500, 0.02, 21


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("dir", type=Path, help="a folder made by make_commands.py")
    parser.add_argument("--epsilon", type=float, action="append", help="default: 0 and 8")
    parser.add_argument("--rate", type=float, help="instead of the ε's own")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--validation", action="store_true")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    logging.disable(logging.WARNING)
    devices, test = records(chosen.dir, validation=chosen.validation)
    rows = []
    for epsilon in chosen.epsilon or (0.0, *RATES):
        for number in range(1, chosen.runs + 1):
            rows.append({"run": number, **run(devices, test, epsilon, chosen.rate, seed=number)})
            if not chosen.json:
                print(rows[-1], flush=True)
    if chosen.json:
        print(json.dumps(rows, indent=2))
    return 0


def records(spoken: Path, *, validation: bool = False) -> tuple[list[Any], Any]:
    """Of each device, and those to test on."""
    task = load(newest(TASK))
    options = task.parse_options({"labels": ",".join(ORDERS)})
    training, held = fashion_mnist("train"), fashion_mnist("test")
    random = np.random.default_rng(SEED)
    shown = {thing: random.permutation(np.flatnonzero(training.labels == at)) for thing, at in THINGS.items()}  # fmt: skip
    tested = {thing: np.flatnonzero(held.labels == at) for thing, at in THINGS.items()}
    devices = []
    with tempfile.TemporaryDirectory() as name:
        for number, source in enumerate(sorted(spoken.glob("device-*"))):
            folder = Path(name) / f"device-{number}"
            write(folder, source / "commands", training, shown, random)
            devices.append(task.load(folder, options))
        if validation:
            write(Path(name) / "test", spoken / "validation/commands", training, shown, random)
        else:
            write(Path(name) / "test", spoken / "server/commands", held, tested, random)
        return devices, task.load(Path(name) / "test", options)


def write(
    folder: Path,
    commands: Path,
    pictures: PublicImages,
    left: dict[str, np.ndarray],
    random: np.random.Generator,
) -> None:
    """A pair for each recording; the pictures used are taken out of `left`."""
    folder.mkdir(parents=True)
    lines = [["image", "sound", "label"]]
    for said in SAID:
        for path in sorted((commands / said).glob("*.wav")):
            thing = str(random.choice(list(THINGS)))
            row, left[thing] = int(left[thing][0]), left[thing][1:]
            image, sound = f"{len(lines):04}.png", f"{len(lines):04}.wav"
            Image.fromarray(pictures.pixels[row]).save(folder / image)
            shutil.copyfile(path, folder / sound)
            lines.append([image, sound, f"{thing} {said}"])
    with (folder / "records.csv").open("w", newline="") as file:
        csv.writer(file).writerows(lines)


def run(
    devices: list[Any], test: Any, epsilon: float, rate: float | None = None, *, seed: int = 1
) -> dict[str, Any]:
    clock, task = Clock(), load(newest(TASK))
    raw = {"labels": ",".join(ORDERS)}
    options = task.parse_options(raw)
    noise, rate = 0.0, rate or (RATES[8.0] if epsilon else PLAIN_RATE)
    if epsilon:
        model, noise = federate(one_step(len(devices), TASK, raw, epsilon, rate), devices)
    else:
        model = pooled(task, options, devices, steps=STEPS, rate=rate, seed=seed)
    found = scored(task, options, model, test)
    row = {"epsilon_limit": epsilon, "noise_multiplier": noise, "learning_rate": rate}
    row |= {"records": len(together(devices)), "held_out": len(test)}
    row |= {name: round(found[name], 4) for name in ("accuracy", "macro_f1")}
    return row | clock.read()


if __name__ == "__main__":
    sys.exit(main())
