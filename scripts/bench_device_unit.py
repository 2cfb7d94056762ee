"""What is learned under `unit = "device"` beside how long its noise is: where plans are refused, and why there.

Digits (scikit-learn), a linear head of 650 numbers, ε 8 with local noise, 18 records a device drawn with replacement, ten
plain steps a round, the mean of the models of the later half. Of many devices the mean update is that of 300. Rounds
and clip are chosen on 200 training records of one seed, the figure is of test records of three others.

python scripts/bench_device_unit.py [--length 2 --length 1] [--json]
"""

import argparse
import itertools
import json
import math
import sys
from typing import Any

try:
    import numpy as np
    from numpy.typing import NDArray
    from sklearn.datasets import load_digits

    from edgeveil.shared.privacy.filter import noise_multiplier_for
    from edgeveil.shared.privacy.whole_updates import APART, noise_length
except ModuleNotFoundError as error:
    sys.exit(f'{error.name} is missing; run: pip install -e ".[dev]"')

EPSILON, DELTA = 8.0, 1e-5
RECORDS, STEPS, RATE, DRAWN, HELD_OUT, TRAINED = 18, 10, 2.0, 300, 200, 1437
SETTINGS = tuple(itertools.product((10, 40), (0.3, 1.0, 3.0)))  # rounds, clip
SEEDS = (1, 2, 3)
LENGTHS = (4.0, 2.0, 1.0, 0.5, 0.25, 0.0)
Floats = NDArray[np.float64]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--length", type=float, action="append", help="default: 4 to 0")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    rows = [measured(length) for length in chosen.length or LENGTHS]
    if chosen.json:
        print(json.dumps(rows, indent=2))
        return 0
    print("noise/way  devices  rounds  clip  accuracy (least to most)")
    for row in rows:
        found = row["accuracies"]
        mean = f"{np.mean(found):.3f} ({min(found):.3f} to {max(found):.3f})"
        print(f"{row['length']:9g}  {row['devices']:7}  {row['rounds']:6}  {row['clip']:4}  {mean}")
    return 0


def measured(length: float) -> dict[str, Any]:
    """The accuracy where noise is so many times as long as the way that the model can go; 0: no noise."""
    best = max(SETTINGS, key=lambda setting: trained(0, length, *setting, held_out=True))
    found = [trained(seed, length, *best, held_out=False) for seed in SEEDS]
    return {
        "length": length,
        "devices": devices(length, best[0]) if length else 0,
        "rounds": best[0],
        "clip": best[1],
        "accuracies": found,
    }


def devices(length: float, rounds: int) -> int:
    sigma = noise_multiplier_for(EPSILON, DELTA, rounds, 1.0)
    return math.ceil((noise_length(sigma, 650, 1, rounds) / length) ** 2)


def trained(seed: int, length: float, rounds: int, clip: float, *, held_out: bool) -> float:
    inputs, labels = digits()
    order = np.random.default_rng(100 + seed).permutation(len(inputs))
    train, test = order[: TRAINED - HELD_OUT], order[TRAINED:]
    if held_out:
        test = order[TRAINED - HELD_OUT : TRAINED]
    random = np.random.default_rng(seed)
    spread, drawn = 0.0, DRAWN
    if length:
        many = devices(length, rounds)
        sigma = noise_multiplier_for(EPSILON, DELTA, rounds, 1.0)
        spread, drawn = sigma * APART * clip / math.sqrt(many), min(DRAWN, many)
    model, kept = np.zeros((65, 10)), []
    for number in range(rounds):
        rows = random.choice(train, (drawn, RECORDS))
        update = mean_update(model, inputs[rows], np.eye(10)[labels[rows]], clip)
        model = model + update + random.normal(size=model.shape) * spread
        if 2 * number >= rounds:
            kept.append(model)
    guessed = (inputs[test] @ np.mean(kept, axis=0)).argmax(1)
    return float((guessed == labels[test]).mean())


def digits() -> tuple[Floats, NDArray[np.int64]]:
    """Pixels of each digit centred and of length 1, and a constant."""
    pixels, labels = load_digits(return_X_y=True)
    pixels = pixels - pixels.mean(1, keepdims=True)
    pixels /= np.linalg.norm(pixels, axis=1, keepdims=True)
    return np.hstack([pixels, np.full((len(pixels), 1), 0.2)]), labels


def mean_update(model: Floats, inputs: Floats, targets: Floats, clip: float) -> Floats:
    """Of clipped updates; inputs (devices, records, 65), targets (devices, records, 10)."""
    moved = np.repeat(model[None], len(inputs), 0)
    for _ in range(STEPS):
        logits = inputs @ moved
        likely = np.exp(logits - logits.max(-1, keepdims=True))
        likely /= likely.sum(-1, keepdims=True)
        moved -= RATE * (inputs.transpose(0, 2, 1) @ (likely - targets)) / RECORDS
    updates = moved - model
    norms = np.sqrt((updates**2).sum((1, 2), keepdims=True))
    return np.asarray((updates * np.minimum(1, clip / norms)).mean(0))


if __name__ == "__main__":
    sys.exit(main())
