"""How near an evaluation on devices comes to one without noise: ten devices with 600 held-out pictures of clothes each.

A linear model on the pixels of 10,000 training images (Fashion-MNIST, plain gradient descent, no noise) is counted by
the product's own code: each device's tally, its integers with noise, their sum modulo 2^32, figures and intervals.
Each seed draws other 6,000 of the 10,000 test images. The noise is that of the plan, and is drawn afresh.
python scripts/bench_evaluation.py [--epsilon 0.5] [--noise shared|local] [--seeds 100]
"""

import argparse
import json
import sys
from typing import Any

import numpy as np

try:
    from federating import Clock
    from public_data_bench import fashion_mnist

    from edgeveil.agent.rounds.evaluating.counts import check_counts, noisy_lanes, sealed, unsealed
    from edgeveil.coordinator.plan.evaluation import evaluation_params, evaluation_plan
    from edgeveil.coordinator.plan.plan import Plan
    from edgeveil.shared.base.errors import DataError
    from edgeveil.shared.scores import classification
    from edgeveil.shared.scores.noisy.estimates import Task, estimates
    from edgeveil.shared.scores.noisy.released import Released, released
    from edgeveil.shared.scores.tallies import summed
    from edgeveil.shared.vector.quantization import dequantise
except ModuleNotFoundError as error:
    sys.exit(f'{error.name} is missing; run: pip install -e ".[dev]"')

AGENTS, RECORDS, CLASSES = 10, 600, 10
TRAINED, STEPS, RATE = 10_000, 300, 30.0  # the model only has to be a usual one
WITHIN = 0.02
LABELS = tuple(str(k) for k in range(CLASSES))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--epsilon", type=float, default=0.5, help="of all evaluations, of which there is one"
    )
    parser.add_argument("--noise", choices=("shared", "local"), default="shared")
    parser.add_argument("--honest", type=int, default=6)
    parser.add_argument("--seeds", type=int, default=100)
    chosen = parser.parse_args()
    try:
        predicted, targets = answers()
    except DataError as error:
        sys.exit(error.message)
    plan = plan_of(chosen.epsilon, chosen.noise, chosen.honest)
    clock = Clock()
    form = classification.form(CLASSES)
    rows = {
        "three counts a class": [
            run(plan, released(form), predicted, targets, seed) for seed in range(chosen.seeds)
        ],
        "the whole matrix": [
            run(plan, Released(form), predicted, targets, seed) for seed in range(chosen.seeds)
        ],
    }
    told = {name: report(each) for name, each in rows.items()}
    told["noise_multiplier"] = evaluation_plan(plan, released(form).form).noise_multiplier
    told["clock"] = clock.read()
    print(json.dumps(told, indent=2))
    return 0


def plan_of(epsilon: float, noise: str, honest: int) -> Plan:
    """One evaluation, after the last round."""
    shared = {"noise": "shared", "honest": honest, "epsilon_sum": epsilon, "epsilon": 50.0}
    how = shared if noise == "shared" else {"epsilon": epsilon}
    return Plan.model_validate(
        {
            "task": {"id": "image-classification", "options": {"variant": "linear"}},
            "training": {"steps": 1, "clip_norm": 0.3, "learning_rate": 1.0, "epsilon": 3.0},
            "rounds": {"count": 1, "goal": AGENTS, "minimum": AGENTS},
            "secagg": {"n_max": AGENTS, "c_min": 1},
            "evaluation": {"on": "devices", "every": "last", **how},
        }
    )


def answers() -> tuple[Any, Any]:
    """(classes a linear model gives to the 10,000 test images, their true ones)."""
    training, test = fashion_mnist("train"), fashion_mnist("test")
    inputs, shown = _inputs(training.pixels[:TRAINED]), _inputs(test.pixels)
    labels = np.asarray(training.labels[:TRAINED], np.int64)
    wanted = np.eye(CLASSES, dtype=np.float32)[labels]
    weights = np.zeros((inputs.shape[1], CLASSES), np.float32)
    for _ in range(STEPS):
        scores = inputs @ weights
        likely = np.exp(scores - scores.max(axis=1, keepdims=True))
        likely /= likely.sum(axis=1, keepdims=True)
        weights -= RATE * inputs.T @ (likely - wanted) / len(inputs)
    return (shown @ weights).argmax(axis=1), np.asarray(test.labels, np.int64)


def _inputs(pixels: Any) -> Any:
    """Centred and of length 1 each, bias 0.2, as variant `linear` takes them."""
    flat = np.asarray(pixels, np.float32).reshape(len(pixels), -1)
    flat -= flat.mean(axis=1, keepdims=True)
    flat /= np.linalg.norm(flat, axis=1, keepdims=True)
    return np.concatenate([flat, np.full((len(flat), 1), 0.2, np.float32)], axis=1)


def run(plan: Plan, what: Released, predicted: Any, targets: Any, seed: int) -> dict[str, float]:
    """One evaluation of ten devices: macro F1 with noise and without, and whether its interval holds the latter."""
    form = classification.form(CLASSES)
    chosen = np.random.default_rng(seed).permutation(len(targets))[: AGENTS * RECORDS]
    asked = evaluation_plan(plan, what.form)
    params = evaluation_params(plan, asked, what.form)
    check_counts(asked, params, what)
    total, exact = np.zeros(params.lanes, np.uint32), np.zeros(form.length, np.int64)
    for rows in np.split(chosen, AGENTS):
        tally = summed(classification.confused(predicted[rows], targets[rows], CLASSES), form)
        exact += tally
        blob = sealed(noisy_lanes(what.of(tally), asked, params))
        total += unsealed(blob).astype(np.uint32)
    counts = dequantise(total[1:].view(np.int32).astype(np.int64), params.segments[1])
    spread = AGENTS**0.5 * (1 << asked.noise_bits) * params.segments[1].step
    true = classification.scores(exact.reshape(CLASSES, CLASSES)).macro_f1
    if not what.classes:  # as it would be without the map: three counts a class of the noisy matrix
        return {"true": true, "error": _from_matrix(counts) - true, "held": np.nan, "width": np.nan}
    found = estimates(what, counts, spread, Task(lambda _: {}, LABELS))["macro_f1"]
    held = float(found.low <= true <= found.high)
    return {
        "true": true,
        "error": found.value - true,
        "held": held,
        "width": found.high - found.low,
    }


def _from_matrix(counts: Any) -> float:
    matrix = counts.reshape(CLASSES, CLASSES)
    right, sums = np.diagonal(matrix), matrix.sum(axis=0) + matrix.sum(axis=1)
    return float(np.clip(2 * right / np.maximum(sums, 1), 0, 1).mean())


def report(rows: list[dict[str, float]]) -> dict[str, float]:
    errors = np.array([row["error"] for row in rows])
    held = np.array([row["held"] for row in rows])
    return {
        "macro_f1_without_noise": round(float(np.mean([row["true"] for row in rows])), 4),
        "within_two_points": int((np.abs(errors) <= WITHIN).sum()),
        "of": len(rows),
        "largest_error": round(float(np.abs(errors).max()), 4),
        "standard_error": round(float(errors.std()), 4),
        **({} if np.isnan(held).any() else {
            "intervals_that_hold": int(held.sum()),
            "mean_width": round(float(np.mean([row["width"] for row in rows])), 4),
        }),
    }  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
