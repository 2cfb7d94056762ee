"""What privacy costs on photos: the frozen network's head at ε 3 beside the same head without noise, and beside
histograms of colours.

The private figure is a federation of ten with the plan that `coordinator plan new` writes (scripts/bench_features.py).
The two others know all records at once, and no noise: logistic regression, its strength chosen on a fifth of the
training records. So histograms of colours have every advantage but what they see.

"scenes" and "photos" are composed of garments in colours (scripts/bench_features.py, scripts/make_photos.py);
"cells" are real: 2,624 grey pictures of solar cells (elpv-dataset, CC BY-NC-SA 4.0, for measuring only).

python scripts/bench_photos.py scenes|photos|cells [--epsilon 3] [--seeds 3] [--json]
"""

import argparse
import json
import logging
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

try:
    from bench_features import AGENTS, Piece
    from bench_features import deal as deal_scenes
    from bench_features import train as train_privately
    from data import CACHE, obtain
    from make_photos import CLASSES, photo
    from PIL import Image
    from public_data_bench import fashion_mnist
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import f1_score

    from edgeveil.shared.tasks.backbone.embedding import embed
except ModuleNotFoundError as error:
    sys.exit(f'{error.name} is missing; run: pip install -e ".[dev]"')

NETWORK = "efficientnet-lite0"
STRENGTHS = (1.0, 10.0, 100.0)  # of logistic regression: 1 / L2
BINS = 8  # of a channel
SIDES = {"photos": 128, "cells": 160}
Features = Callable[[np.ndarray], np.ndarray]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", choices=("scenes", "photos", "cells"))
    parser.add_argument("--epsilon", type=float, default=3.0)
    parser.add_argument("--records", type=int, default=200, help="of one device")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.filterwarnings("ignore", module="sklearn")
    rows = []
    for seed in range(1, chosen.seeds + 1):
        pieces = deal(chosen.data, chosen.records, seed)
        private = train_privately(pieces, NETWORK, chosen.records, chosen.epsilon)
        rows.append(
            {
                "data": chosen.data,
                "seed": seed,
                "private": private,
                "same_head_without_noise": pooled(pieces, network),
                "histograms_without_noise": pooled(pieces, histograms),
            }
        )
        if not chosen.json:
            print(rows[-1], flush=True)
    if chosen.json:
        print(json.dumps(rows, indent=2))
    return 0


def deal(data: str, records: int, seed: int) -> list[Piece]:
    """One piece for each agent, and those to test on."""
    if data == "scenes":
        return deal_scenes("scenes", records, seed)
    random = np.random.default_rng(seed)
    pixels, labels, test = photos(records, random) if data == "photos" else cells(random)
    if test is None:
        order = random.permutation(len(labels))
        held, order = order[AGENTS * records :], order[: AGENTS * records]
        test = (pixels[held], labels[held])
        pixels, labels = pixels[order], labels[order]
    return [*((pixels[at::AGENTS], labels[at::AGENTS]) for at in range(AGENTS)), test]


def photos(
    records: int, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, Piece | None]:
    """As make_photos composes them, brought to one size; tested on 900 of garments of the test set."""
    made = []
    for part, count in (("train", AGENTS * records), ("test", 900)):
        source = fashion_mnist(part)
        kinds = [random.permutation(np.flatnonzero(source.labels == k)) for k in CLASSES.values()]
        labels = np.arange(count) % len(kinds)
        rows = [kinds[label][number // len(kinds)] for number, label in enumerate(labels)]
        side = SIDES["photos"]
        shown = [photo(source.pixels[row], random).resize((side, side)) for row in rows]
        made.append((np.stack([np.asarray(each) for each in shown]), labels))
    return *made[0], made[1]


def cells(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray, Piece | None]:
    del random
    side = SIDES["cells"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "cells"
        obtain("elpv", folder, CACHE)
        paths = sorted(folder.glob("*/*.png"))
        labels = np.array([path.parent.name == "defective" for path in paths], np.int64)
        shown = [Image.open(path).convert("RGB").resize((side, side)) for path in paths]
        return np.stack([np.asarray(each) for each in shown]), labels, None


def pooled(pieces: list[Piece], features: Features) -> dict[str, float]:
    """Logistic regression on all training records; its strength chosen on a fifth of them."""
    numbers = features(np.concatenate([pixels for pixels, _ in pieces[:-1]]))
    labels = np.concatenate([each for _, each in pieces[:-1]])
    random = np.random.default_rng(0)
    order = random.permutation(len(labels))
    held, rest = np.split(order, [len(order) // 5])

    def fitted(strength: float, rows: np.ndarray) -> LogisticRegression:
        return LogisticRegression(C=strength, max_iter=2000).fit(numbers[rows], labels[rows])

    best = max(STRENGTHS, key=lambda each: fitted(each, rest).score(numbers[held], labels[held]))
    pixels, truth = pieces[-1]
    said = fitted(best, order).predict(features(pixels))
    return {
        "accuracy": round(float((said == truth).mean()), 4),
        "macro_f1": round(float(f1_score(truth, said, average="macro")), 4),
    }


def network(pixels: np.ndarray) -> np.ndarray:
    return embed(pixels.astype(np.float32) / 255)


def histograms(pixels: np.ndarray) -> np.ndarray:
    """Shares of BINS³ colours, square roots: of length 1, as the network's numbers are."""
    places = pixels.astype(np.int64) * BINS // 256
    flat = ((places[..., 0] * BINS + places[..., 1]) * BINS + places[..., 2]).reshape(
        len(pixels), -1
    )
    counts = np.stack([np.bincount(row, minlength=BINS**3) for row in flat])
    shares: np.ndarray = np.sqrt(counts / flat.shape[1])
    return shares


if __name__ == "__main__":
    sys.exit(main())
