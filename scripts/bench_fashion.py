"""How well ten devices with 6,000 pictures of clothes each learn Fashion-MNIST: features that are there, or a network of their own.

The federation of scripts/federating.py; tested on the 10,000 official test images. Classes are dealt evenly, anew
for each seed. --validation holds 10,000 of the training images out instead, and leaves the devices 5,000 each:
settings are chosen there.
python scripts/bench_fashion.py [--model feature-head|cnn] [--epsilon 3] [--seeds 3] [--validation] [--json]
"""

import argparse
import json
import logging
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

try:
    from federating import Clock, federate, load, newest, one_step, part, scored
    from public_data_bench import PublicImages, fashion_mnist, stratified_order

    from edgeveil.shared.base.errors import DataError
except ModuleNotFoundError as error:
    sys.exit(f'{error.name} is missing; run: pip install -e ".[dev]"')

AGENTS, HELD_OUT = 10, 10_000


@dataclass(frozen=True)
class Model:
    """`rates` by ε; `plan` what differs from 100 rounds of one full step."""

    task: str
    options: dict[str, Any]
    rates: dict[float, float]
    plan: dict[str, Any]


MODELS = {
    "feature-head": Model("feature-head", {}, {3.0: 500.0}, {}),
    "cnn": Model(
        "image-classification",
        {"variant": "cnn"},
        {3.0: 1.0},
        {"rounds__count": 20, "training__steps": 3, "training__sample_rate": 0.05, "training__clip_norm": 0.5,
         "server__strategy": "fedavg"},
    ),
}  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", choices=sorted(MODELS), action="append", help="default: both")
    parser.add_argument("--epsilon", type=float, default=3.0)
    parser.add_argument("--rate", type=float, help="instead of the model's own learning rate")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--validation", action="store_true")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=JSON", help="of a plan")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    logging.disable(logging.WARNING)
    more = {key: json.loads(value) for key, value in (each.split("=") for each in chosen.set)}
    rows = []
    try:
        for name in chosen.model or MODELS:
            data = records(name)
            for seed in range(1, chosen.seeds + 1):
                rows.append(run(name, data, chosen.epsilon, seed, validation=chosen.validation, rate=chosen.rate, more=more))  # fmt: skip
                if not chosen.json:
                    print(rows[-1], flush=True)
    except DataError as error:
        sys.exit(error.message)
    if chosen.json:
        print(json.dumps(rows, indent=2))
    return 0


def records(name: str) -> tuple[Any, Any]:
    """All training images and all test images, as the task prepares them."""
    model = MODELS[name]
    task = load(newest(model.task))
    options = task.parse_options(model.options)
    return tuple(_read(task, options, fashion_mnist(each)) for each in ("train", "test"))  # type: ignore[return-value]


def _read(task: Any, options: Any, images: PublicImages) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.npz"
        np.savez(path, X=images.pixels, y=images.labels)
        return task.load(path, options)


def run(
    name: str,
    data: tuple[Any, Any],
    epsilon: float,
    seed: int,
    *,
    validation: bool = False,
    rate: float | None = None,
    more: dict[str, Any] | None = None,
    agents: int = AGENTS,
) -> dict[str, Any]:
    """One federation from dealing to its score; `data` are training and test."""
    clock, model = Clock(), MODELS[name]
    training, test = data
    order = stratified_order(training.targets, seed)
    if validation:
        test, order = part(training, order[:HELD_OUT]), order[HELD_OUT:]
    devices = [part(training, rows) for rows in np.array_split(order, agents)]
    if (rate := rate or model.rates.get(epsilon)) is None:
        sys.exit(f"--rate is missing: none was chosen for ε {epsilon:g}")
    plan = one_step(agents, model.task, model.options, epsilon, rate, **model.plan | (more or {}))
    learned, noise = federate(plan, devices)
    task = load(newest(model.task))
    found = scored(task, task.parse_options(model.options), learned, test)
    return {
        "model": name,
        "epsilon_limit": epsilon,
        "noise_multiplier": noise,
        "learning_rate": rate,
        "seed": seed,
        "records": len(devices[0]),
        "accuracy": round(found["accuracy"], 4),
        "macro_f1": round(found["macro_f1"], 4),
        **clock.read(),
    }


if __name__ == "__main__":
    sys.exit(main())
