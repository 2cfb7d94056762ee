"""The two image tasks on small fixed data with fixed noise and fixed draws: what training and evaluation give.

`python tests/benches/recorded_bench.py` writes tests/vectors/tasks/recorded.json anew; do that only for a
change that is meant to change results, and say so in CHANGELOG.md.
"""

import json
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import dp_bench as bench
import numpy as np
from catalogue_bench import grey_digits, task_and_options, write_npz

from edgeveil.agent.training.training import train
from edgeveil.coordinator.runs.evaluation import Evaluator, initial_model

FILE = Path(__file__).resolve().parents[1] / "vectors" / "tasks" / "recorded.json"
SIZE = {"classes": 3, "height": 12, "width": 28}
EVERY = 13  # every so many values of an update are kept, and its length
CASES = [
    (task_id, variant, mode)
    for task_id, variant in (
        ("feature-head", "fixed"),
        ("image-classification", "cnn"),
        ("image-classification", "linear"),
    )
    for mode in ("hooks", "ghost", "single")
]


@contextmanager
def fixed_chance():
    """The noise of every step, and who is drawn for it, from one public seed."""
    noise, draws = np.random.default_rng(11), np.random.default_rng(12)

    def sample(records, rate):
        return np.flatnonzero(draws.random(records) < rate).astype(np.int64)

    with (
        patch(
            "edgeveil.agent.training.engines.optimizer.gaussian",
            lambda count, std: noise.normal(0.0, std, count),
        ),
        patch("edgeveil.agent.training.sampler.poisson_sample", sample),
        patch("edgeveil.agent.training.sampler.self_test", lambda: None),
    ):
        yield


def images(folder, count, salt):
    pixels, labels = grey_digits(count, classes=3)
    random = np.random.default_rng(salt)
    dark = random.integers(0, 170, (count, 12, 28), dtype=np.uint8)
    return write_npz(folder / f"{salt}.npz", X=pixels[:, :12] // 3 + dark, y=labels)


def outcome(folder, task_id, variant, mode):
    """(update, the model's evaluation): four steps of one local round, then the whole test set."""
    task, options = task_and_options(task_id, variant, **SIZE)
    records = task.load(images(folder, 40, 1), options)
    start, tensors = initial_model(task, options)
    plan = bench.plan(
        steps=4, sample_rate=0.5, noise_multiplier=0.8, momentum=0.5, learning_rate=0.5
    )
    with fixed_chance():
        found = train(task, options, records, start, tensors, plan, 40, modes=(mode,))
    assert found.gradient_mode == mode
    evaluator = Evaluator(task, options, images(folder, 31, 2), quiet=True)
    return found.update, evaluator.examine(start + found.update)


def kept(update, evaluation, confusion):
    """As recorded: float32 values and float64 figures as their shortest exact decimals."""
    return {
        "every": [float(value) for value in update[::EVERY]],
        "norm": float(np.linalg.norm(update.astype(np.float64))),
        "metrics": dict(evaluation.metrics),
        "confusion": confusion,
    }


def confusion_of(evaluation):
    return evaluation.kept["confusion"]


def record(folder):
    made = {}
    for task_id, variant, mode in CASES:
        update, evaluation = outcome(folder, task_id, variant, mode)
        made[f"{task_id} {variant} {mode}"] = kept(update, evaluation, confusion_of(evaluation))
    return made


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as made_in:
        FILE.write_text(json.dumps(record(Path(made_in)), indent=1) + "\n")
