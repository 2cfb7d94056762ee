"""What poisoning agents do to a model of real digits, and what medians over shards and the canary save.

    python scripts/bench_poisoning.py --rounds 6

Twenty-four agents with 160 MNIST digits each, eight shards of three; local DP-SGD with noise, updates
cut to the ring's range as the quantiser does, aggregation and judgement by the product's own functions.
Attacks: flip (the update's sign, at the ring's limit), scaled (random, at the limit), labels (trained
on labels turned around). A NaN never leaves a device (the quantiser refuses it) and is counted as an
agent that is missing. Prints a table as JSON.
"""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests/benches")]

from public_data_bench import mnist_5000, stratified_order  # noqa: E402
from simulate import Setting, Trainer  # noqa: E402

from edgeveil.coordinator.learning import judgement, strategies  # noqa: E402
from edgeveil.coordinator.learning.judgement import Scored  # noqa: E402
from edgeveil.coordinator.learning.robust import robust_mean  # noqa: E402
from edgeveil.coordinator.runs.evaluation import Evaluator, initial_model  # noqa: E402
from edgeveil.shared.base.errors import EdgeveilError  # noqa: E402
from edgeveil.shared.secagg.primitives.parameters import SIGNED, Segment  # noqa: E402
from edgeveil.shared.tasks.records import ArrayRecords  # noqa: E402
from edgeveil.shared.tasks.registry import load, newest  # noqa: E402
from edgeveil.shared.vector.quantization import quantise  # noqa: E402

AGENTS, RECORDS, SHARD = 24, 160, 3
ATTACKS = ("none", "flip", "scaled", "labels", "nan")
DEFENCES = ("none", "median", "trimmed", "canary", "median+canary")
TOLERANCE = 0.1


class Federation:
    def __init__(self, folder: Path, rounds: int, start: int) -> None:
        self.start = start
        self.task = load(newest("feature-head"))
        self.options = self.task.parse_options({"variant": "fixed"})
        digits = mnist_5000()
        order = stratified_order(digits.labels, 3)
        test = digits.take(order[:1000])
        np.savez(folder / "test.npz", X=test.pixels, y=test.labels)
        self.data = []
        for number in range(AGENTS):
            rows = order[1000 + number * RECORDS :][:RECORDS]
            part = digits.take(rows)
            np.savez(folder / "part.npz", X=part.pixels, y=part.labels)
            self.data.append(self.task.load(folder / "part.npz", self.options))
        self.evaluator = Evaluator(self.task, self.options, folder / "test.npz")
        self.trainer = Trainer(self.task, self.options)
        self.setting = Setting(rounds, 8, 1.0, 0.3, 100.0, 2.0)
        self.limit = 2 * 100.0 * 0.3 * 8  # the ring's range: twice what an honest signal can reach

    def play(self, attack: str, attackers: int, defence: str) -> list[float]:
        """Accuracy after each round; a round undone by the canary keeps the last one."""
        random = np.random.default_rng(7)
        self.noise = torch.Generator().manual_seed(7)
        model, _ = initial_model(self.task, self.options)
        scores: list[Scored] = []
        accuracies: list[float] = []
        for number in range(1, self.setting.rounds + 1):
            active = attack if number >= self.start else "none"
            updates = [
                self._update(model, place, active if place < attackers else "none", random)
                for place in range(AGENTS)
            ]
            mean = self._aggregate(updates, defence.split("+", maxsplit=1)[0], random)
            new = strategies.apply("fedavg", model, mean).model
            accuracy = self.evaluator.evaluate(new)["accuracy"]
            undone = defence.endswith("canary") and judgement.harmful(
                accuracy, scores or [Scored(0, 0.1)], tolerance=TOLERANCE
            )
            if not undone:
                model = new
                scores.append(Scored(number, accuracy))
            accuracies.append(scores[-1].score if scores else 0.1)
        return accuracies

    def _update(
        self, model: np.ndarray, place: int, attack: str, random: np.random.Generator
    ) -> np.ndarray | None:
        own: ArrayRecords = self.data[place]
        if attack == "labels":
            own = replace(own, targets=9 - own.targets)
        update = self.trainer.update(model, own, self.setting, self.noise).astype(np.float64)
        if attack == "flip":
            update = -update * (self.limit / max(np.abs(update).max(), 1e-9))
        if attack == "scaled":
            update = random.choice([-1.0, 1.0], update.size) * self.limit
        if attack == "nan":
            update[0] = np.nan
            try:
                quantise(update, Segment("params", SIGNED, update.size, 1, 1000, 1.0))
            except EdgeveilError:
                return None
        return np.clip(update, -self.limit, self.limit)

    @staticmethod
    def _aggregate(
        updates: list[np.ndarray | None], defence: str, random: np.random.Generator
    ) -> np.ndarray:
        shards = np.array_split(random.permutation(AGENTS), AGENTS // SHARD)
        means = []
        for shard in shards:
            kept = [updates[place] for place in shard]
            present = [one for one in kept if one is not None]
            if len(present) >= SHARD:  # a shard below the minimum aborts, and its members sit out
                means.append(np.mean(present, axis=0))
        kind = defence if defence in {"median", "trimmed"} else "none"
        return robust_mean(kind, means, trim=0.25)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--start", type=int, default=3, help="the first round that is attacked")
    parser.add_argument("--attackers", default="1,3")
    options = parser.parse_args()
    import tempfile  # noqa: PLC0415

    rows = []
    with tempfile.TemporaryDirectory() as name:
        federation = Federation(Path(name), options.rounds, options.start)
        for attack in ATTACKS:
            for attackers in [0] if attack == "none" else map(int, options.attackers.split(",")):
                found = {
                    defence: round(federation.play(attack, attackers, defence)[-1], 3)
                    for defence in DEFENCES
                }
                rows.append({"attack": attack, "attackers": attackers, "accuracy": found})
                print(rows[-1], file=sys.stderr)
    print(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
