"""What unequal sizes do to a model of real digits: eight devices, one of which has five images.

    python scripts/bench_sizes.py [--seeds 3]

The plan of deploy/samples/plan-basic.toml for eight: local DP-SGD, ring and quantiser of the product, an
ordinary generator, no masks. Compared are uniform weights with n_ref the record count, weights by declared
sizes (the ladder's step), by noisy counts, and uniform weights without the small device.
"""

import argparse
import logging
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests/benches")]

from public_data_bench import mnist_5000, stratified_order  # noqa: E402
from simulate import Setting, Trainer  # noqa: E402

from edgeveil.coordinator.learning import strategies  # noqa: E402
from edgeveil.coordinator.plan.derived import secagg_params, training_plan  # noqa: E402
from edgeveil.coordinator.plan.plan import Plan  # noqa: E402
from edgeveil.coordinator.runs.evaluation import Evaluator, initial_model  # noqa: E402
from edgeveil.shared.privacy.counting import LEAST_SCALE, ladder_step, proposed_size  # noqa: E402
from edgeveil.shared.tasks.records import ArrayRecords  # noqa: E402
from edgeveil.shared.tasks.registry import load, newest  # noqa: E402
from edgeveil.shared.vector.quantization import dequantise, quantise  # noqa: E402

DEVICES, SMALL, HELD_OUT = 8, 5, 1000
WAYS = (
    "uniform weights",
    "declared sizes",
    "noisy counts",
    "uniform weights, without the small one",
)


def plan_of(weights: str) -> Plan:
    return Plan.model_validate(
        {
            "task": {"id": "feature-head"},
            "training": {"steps": 8, "clip_norm": 0.3, "learning_rate": 100.0, "epsilon": 8.0},
            "rounds": {"count": 5, "goal": 7},
            "secagg": {"weights": weights},
        }
    )


def sizes_of(way: str, data: list[ArrayRecords]) -> list[int]:
    if way == "declared sizes":
        return [ladder_step(len(own)) for own in data]
    if way == "noisy counts":
        return [proposed_size(len(own), LEAST_SCALE) for own in data]
    return [len(own) for own in data]


class Federation:
    def __init__(self, folder: Path, seed: int) -> None:
        self.task = load(newest("feature-head"))
        self.options = self.task.parse_options({"variant": "fixed"})
        digits = mnist_5000()
        order = stratified_order(digits.labels, seed)
        test, order = digits.take(order[:HELD_OUT]), order[HELD_OUT:]
        np.savez(folder / "test.npz", X=test.pixels, y=test.labels)
        self.data = []
        for rows in [order[:SMALL], *np.array_split(order[SMALL:], DEVICES - 1)]:
            part = digits.take(rows)
            np.savez(folder / "part.npz", X=part.pixels, y=part.labels)
            self.data.append(self.task.load(folder / "part.npz", self.options))
        self.evaluator = Evaluator(self.task, self.options, folder / "test.npz")
        self.trainer, self.seed = Trainer(self.task, self.options), seed

    def accuracy(self, way: str) -> float:
        """After the last round."""
        data = self.data[1:] if way.endswith("without the small one") else self.data
        sizes = sizes_of(way, data)
        plan = plan_of("uniform" if way.startswith("uniform") else "declared")
        proposal = training_plan(plan)
        model, _ = initial_model(self.task, self.options)
        values = secagg_params(plan, proposal, model.size).segments[1]
        weights = sizes if plan.weights == "declared" else [1] * len(data)
        setting = Setting(
            plan.rounds.count, proposal.steps, proposal.sample_rate, proposal.clip_norm,
            proposal.learning_rate, proposal.noise_multiplier,
        )  # fmt: skip
        random = torch.Generator().manual_seed(self.seed)
        for _ in range(setting.rounds):
            total = np.zeros(model.size, np.int64)
            for own, n_ref, weight in zip(data, sizes, weights, strict=True):
                update = self.trainer.update(model, own, setting, random, n_ref)
                total += quantise(update, values, weight=weight)
            mean = dequantise(total, values) / sum(weights)
            model = strategies.apply("fedavg", model, mean).model
        return float(self.evaluator.evaluate(model)["accuracy"])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="each with its own split and noise")
    chosen = parser.parse_args()
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    found: dict[str, list[float]] = {way: [] for way in WAYS}
    for seed in range(1, chosen.seeds + 1):
        with tempfile.TemporaryDirectory() as name:
            federation = Federation(Path(name), seed)
            for way in WAYS:
                found[way].append(federation.accuracy(way))
                print(f"seed {seed}, {way}: {found[way][-1]:.3f}", flush=True)
    for way, scores in found.items():
        print(f"{way}: mean {np.mean(scores):.3f}, {min(scores):.3f} to {max(scores):.3f}")


if __name__ == "__main__":
    main()
