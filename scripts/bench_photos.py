"""What privacy costs on photos: the frozen network's head at ε 3 beside the same head without noise, and beside
histograms of colours.

The private figure is a federation of ten with the plan that `coordinator plan new` writes (scripts/bench_features.py).
The same head without noise knows all records at once: logistic regression, its strength chosen on a fifth of the
training records. Histograms of colours are tried in both ways: so, which gives them every advantage but what they
see, and with noise in a federation of the same size and ε (scripts/federating.py, the plan's own learning rate).

"scenes" and "photos" are composed of garments in colours (scripts/bench_features.py, scripts/make_photos.py);
"cells" are real: 2,624 grey pictures of solar cells (elpv-dataset, CC BY-NC-SA 4.0, for measuring only).

python scripts/bench_photos.py scenes|photos|cells [--epsilon 3] [--seeds 3] [--histograms] [--json]
"""

import argparse
import json
import logging
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

try:
    from bench_features import AGENTS, Piece
    from bench_features import deal as deal_scenes
    from bench_features import train as train_privately
    from data import CACHE, obtain
    from federating import ArrayRecords, federate, load, newest, scored
    from make_photos import CLASSES, photo
    from PIL import Image
    from public_data_bench import fashion_mnist
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import f1_score

    from edgeveil.coordinator.plan.first import Wanted, first_plan
    from edgeveil.shared.tasks import images
    from edgeveil.shared.tasks.backbone.embedding import embed
    from edgeveil.shared.tasks.features import with_bias
    from edgeveil.shared.tasks.modules import trainable, zero_linear
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
    parser.add_argument("--histograms", action="store_true", help="with noise, and nothing else")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.filterwarnings("ignore", module="sklearn")
    rows = []
    for seed in range(1, chosen.seeds + 1):
        pieces = deal(chosen.data, chosen.records, seed)
        rows.append(
            {
                "data": chosen.data,
                "seed": seed,
                **run(
                    pieces,
                    records=chosen.records,
                    epsilon=chosen.epsilon,
                    only_histograms=chosen.histograms,
                ),
            }
        )
        if not chosen.json:
            print(rows[-1], flush=True)
    if chosen.json:
        print(json.dumps(rows, indent=2))
    return 0


def run(
    pieces: list[Piece], *, records: int, epsilon: float, only_histograms: bool = False
) -> dict[str, Any]:
    """Accuracy and macro F1 of each way."""
    with_noise = {"histograms_private": histograms_privately(pieces, epsilon)}
    if only_histograms:
        return with_noise
    return {
        "private": train_privately(pieces, NETWORK, records, epsilon),
        "same_head_without_noise": pooled(pieces, network),
        "histograms_without_noise": pooled(pieces, histograms),
        **with_noise,
    }


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


class Head:
    """feature-head on so many numbers that are none of its own features."""

    def __init__(self, inputs: int) -> None:
        self._task, self._inputs = load(newest("feature-head")), inputs

    def __getattr__(self, name: str) -> Any:
        return getattr(self._task, name)

    def build(self, options: Any) -> Any:
        return zero_linear(self._inputs, options.classes, bias=False)

    def tensors(self, options: Any) -> Any:
        return trainable(self.build(options))

    def probe(self, count: int, random: Any, options: Any) -> tuple[Any, Any]:
        return images.probe(count, (self._inputs,), random, options)


def histograms_privately(pieces: list[Piece], epsilon: float) -> dict[str, float]:
    """The plan that is written for features of length one, these sizes and ε."""
    *devices, test = [ArrayRecords(with_bias(histograms(pixels)), labels) for pixels, labels in pieces]  # fmt: skip
    names = tuple(str(each) for each in range(int(test.targets.max()) + 1))
    shape, records = (28, 28, 1), len(devices[0])  # a size of no importance: histograms have none
    wanted = Wanted(names, shape, agents=len(devices), records=records, epsilon=epsilon)
    plan, task = first_plan(wanted).plan, Head(BINS**3 + 1)
    found = scored(task, task.parse_options(plan.task.options), federate(plan, devices, task)[0], test)  # fmt: skip
    return {name: round(found[name], 4) for name in ("accuracy", "macro_f1")}


def network(pixels: np.ndarray) -> np.ndarray:
    return embed(pixels.astype(np.float32) / 255)


def histograms(pixels: np.ndarray) -> np.ndarray:
    """Shares of BINS³ colours, square roots: of length 1, as the network's numbers are."""
    places = pixels.astype(np.int64) * BINS // 256
    flat = ((places[..., 0] * BINS + places[..., 1]) * BINS + places[..., 2]).reshape(
        len(pixels), -1
    )
    counts = np.stack([np.bincount(row, minlength=BINS**3) for row in flat])
    shares: np.ndarray = np.sqrt(counts / flat.shape[1]).astype(np.float32)
    return shares


if __name__ == "__main__":
    sys.exit(main())
