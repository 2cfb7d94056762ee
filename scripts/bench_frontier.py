"""Ten devices, three budgets, four ways to add the noise: what a linear head on public features learns of each.

Fashion-MNIST (10 devices with 300, 1,000 or 6,000 pictures each, the 10,000 official test images), the 8×8 digits of
scikit-learn (10 × 143, 367 held out), and a watch (eight wearers at their own sizes, two unseen; five such pairs).
Ways: "local" as `coordinator plan new` writes it; "shared" the same with noise in shares, 6 honest agents counted on
(the watch: 4), in 100 rounds of one step; "central" one party that holds all records and adds the noise once; "none" the
plan of "shared" at ε 8 without noise. Every rate follows from devices, records and noise by the rule of `plan new`
(coordinator/plan/first_rules.py); no setting was chosen on data that are tested on.
The mechanism is that of the trainer, on features that are computed once: clipped gradients of every record, Gaussian
noise of the plan's multiplier, steps and rate of the plan. Rounding to integers is left out.

python scripts/bench_frontier.py OUT.json [--only fashion-300] [--watch watch_dataset.npy] [--seeds 5]
python scripts/bench_frontier.py OUT.json --write        # docs/results/frontier.{json,md,svg} of what OUT.json holds
"""

import argparse
import json
import math
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests/benches")]

try:
    from bench_wearables import COLUMNS, PAIRS, watch, wearers_records
    from frontier_page import write
    from public_data_bench import fashion_mnist, stratified_order
    from sklearn.datasets import load_digits

    from edgeveil.agent.training.engines.optimizer import MARGIN
    from edgeveil.coordinator.plan.derived import training_plan
    from edgeveil.coordinator.plan.first import DELTA, SPARE, FirstPlan, Wanted, first_plan
    from edgeveil.coordinator.plan.first_rules import PIXELS, REACH
    from edgeveil.coordinator.plan.plan import Plan
    from edgeveil.coordinator.plan.sections import PrivacySection, ServerSection
    from edgeveil.shared.privacy import rdp
    from edgeveil.shared.privacy.filter import choose_order, noise_multiplier_for
    from edgeveil.shared.privacy.shared_noise import share_for
    from edgeveil.shared.tasks.features import flat_pixels
    from edgeveil.shared.tasks.registry import load, newest
except ModuleNotFoundError as error:
    sys.exit(f'{error.name} is missing; run: pip install -e ".[dev]"')

EPSILONS, SEEDS, AGENTS, ROUNDS = (1.0, 3.0, 8.0), 5, 10, 100
DIGITS = tuple("0123456789")
FASHION = ("fashion-300", "fashion-1000", "fashion-6000")
NAMES = ("digits", "watch", *FASHION)

Pairs = tuple[np.ndarray, np.ndarray]  # features (n, d) and classes (n,)


@dataclass(frozen=True)
class Dealt:
    """`wanted`: what `plan new` is told of them, but for ε and the noise."""

    devices: list[Pairs]
    test: Pairs
    wanted: dict[str, Any]
    honest: int


@dataclass(frozen=True)
class Setting:
    """Of all devices: rounds of `steps` steps, noise of `noise` clipping norms in each device's sum of a step.

    With `momentum` on the server the models of the later half are averaged, as `plan new` has it for many records.
    """

    rounds: int
    steps: int
    rate: float
    clip: float
    noise: float
    momentum: float = 0.0

    @classmethod
    def of(cls, made: FirstPlan) -> "Setting":
        training = made.plan.training
        how = (made.plan.rounds.count, training.steps, training.learning_rate, training.clip_norm)
        server = made.plan.server
        momentum = server.momentum if server.strategy == "fedavgm" else 0.0
        return cls(*how, made.noise_multiplier, momentum)


def settings(dealt: Dealt, epsilon: float) -> dict[str, Setting]:
    made = first_plan(Wanted(**dealt.wanted, epsilon=epsilon))
    shared = in_shares(dealt, made)
    sigma = multiplier(epsilon, ROUNDS)
    # One party adds σ once, which is what all devices with σ/√N each do; its rate follows by the same rule.
    alike = sigma / math.sqrt(len(dealt.devices))
    rate = min(shared.rate * shared.noise / alike, made.wanted.rule.most_rate)
    central = Setting(ROUNDS, 1, rate, shared.clip, alike)
    return {"local": Setting.of(made), "shared": shared, "central": central}


def in_shares(dealt: Dealt, made: FirstPlan) -> Setting:
    """The same plan with noise in shares: rounds of one step, and the rate that the rule gives for a share's noise."""
    wanted, rule, rounds = made.wanted, made.wanted.rule, made.plan.rounds
    training = made.plan.training.model_copy(
        update={"steps": 1, "epsilon": alone(wanted.epsilon, dealt.honest)}
    )
    changed = {
        "training": training,
        "privacy": PrivacySection(noise="shared", honest=dealt.honest, epsilon_sum=wanted.epsilon),
        "server": ServerSection(),
        "rounds": rounds.model_copy(update={"count": ROUNDS, "minimum": dealt.honest + SPARE + 1}),
    }
    plan = Plan.model_validate(made.plan.model_copy(update=changed).model_dump())
    noise = training_plan(plan).noise_multiplier
    reach = rule.reach if wanted.columns else REACH[wanted.features]
    exact = reach * wanted.records * math.sqrt(wanted.agents) / (rule.clip * noise * math.sqrt(ROUNDS))  # fmt: skip
    rate = float(f"{min(exact, rule.most_rate):.2g}")
    return Setting(ROUNDS, 1, rate, rule.clip, noise)


def alone(epsilon: float, honest: int) -> float:
    """What an update alone shows of so much noise, up to two digits: the second limit of such a plan."""
    sigma = share_for(multiplier(epsilon, ROUNDS + SPARE), honest)
    found = 1.1 * rdp.epsilon([rdp.Segment(sigma, 1.0, ROUNDS + SPARE)], DELTA)[0]
    digits = 10 ** (math.floor(math.log10(found)) - 1)
    return min(50.0, math.ceil(found / digits) * digits)


def multiplier(epsilon: float, rounds: int) -> float:
    order = choose_order(epsilon, DELTA)
    return noise_multiplier_for(epsilon, DELTA, rounds, 1.0, [], order=order)


def learn(dealt: Dealt, setting: Setting, classes: int, draw: np.random.Generator) -> float:
    """Share of the test records that the mean model has right."""
    sizes = [declared(len(y)) for _, y in dealt.devices]
    one_step = setting.steps == 1
    parts = [joined(dealt.devices)] if one_step else dealt.devices
    weights = [sum(sizes)] if one_step else sizes
    noise = setting.noise * setting.clip * (np.sqrt(len(sizes)) if one_step else 1.0)
    held = [(x, np.eye(classes, dtype=np.float32)[y], np.linalg.norm(x, axis=1)) for x, y in parts]
    model = np.zeros((dealt.test[0].shape[1], classes), np.float32)
    speed, late = np.zeros(model.shape), []
    for number in range(setting.rounds):
        moved = np.zeros(model.shape)
        for (x, y, norms), weight in zip(held, weights, strict=True):
            here = model.copy()
            for _ in range(setting.steps):
                total = clipped_sum(here, x, y, norms, setting.clip)
                total += noise * draw.standard_normal(model.shape)
                here -= (setting.rate / weight * total).astype(np.float32)
            moved += weight * (here.astype(np.float64) - model)
        speed = setting.momentum * speed + moved / sum(weights)
        model = (model + speed).astype(np.float32)
        late += [model] if setting.momentum and number >= setting.rounds // 2 else []
    if late:
        model = np.mean(late, axis=0)
    x, y = dealt.test
    return float(((x @ model).argmax(axis=1) == y).mean())


def clipped_sum(
    model: np.ndarray, x: np.ndarray, y: np.ndarray, norms: np.ndarray, clip: float
) -> np.ndarray:
    """Σ of the gradients of the cross-entropy, one a record, each of a norm of at most `clip`; (d, classes)."""
    errors = x @ model
    errors -= errors.max(axis=1, keepdims=True)
    np.exp(errors, out=errors)
    errors /= errors.sum(axis=1, keepdims=True)
    errors -= y
    lengths = np.linalg.norm(errors, axis=1) * norms
    errors *= np.minimum(1.0, clip * MARGIN / np.maximum(lengths, 1e-12))[:, np.newaxis]
    return (x.T @ errors).astype(np.float64)


def declared(records: int) -> int:
    """The size a device tells: two digits of it."""
    digits = 10 ** max(0, len(str(records)) - 2)
    return round(records / digits) * digits


def joined(devices: list[Pairs]) -> Pairs:
    return np.concatenate([x for x, _ in devices]), np.concatenate([y for _, y in devices])


def pictures(pixels: np.ndarray, labels: np.ndarray, **options: Any) -> Pairs:
    task = load(newest("feature-head"))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.npz"
        np.savez(path, X=pixels, y=labels)
        found = task.load(path, task.parse_options(options))
    return found.inputs, found.targets.astype(int)


def fashion(records: int, seed: int, known: dict[str, Pairs]) -> Dealt:
    if not known:
        for name in ("train", "test"):
            images = fashion_mnist(name)
            known[name] = pictures(images.pixels, images.labels)
    x, y = known["train"]
    rows = stratified_order(y, seed)[: AGENTS * records]
    devices = [(x[part], y[part]) for part in np.array_split(rows, AGENTS)]
    wanted = {"labels": DIGITS, "shape": (28, 28, 1), "agents": AGENTS, "records": records}
    return Dealt(devices, known["test"], wanted, 6)


def digits(seed: int, known: dict[str, Pairs]) -> Dealt:
    if not known:
        data, labels = load_digits(return_X_y=True)
        shaped = (data / 16).astype(np.float32).reshape(-1, 8, 8)
        known["all"] = flat_pixels(shaped), labels.astype(np.int64)
    x, y = known["all"]
    rows = stratified_order(y, seed)
    devices = [(x[part], y[part]) for part in np.array_split(rows[:1430], AGENTS)]
    wanted = {"labels": DIGITS, "shape": (8, 8, 1), "agents": AGENTS, "records": declared(143), "features": PIXELS}  # fmt: skip
    return Dealt(devices, (x[rows[1430:]], y[rows[1430:]]), wanted, 6)


def wearers(seed: int, recordings: dict[str, Any]) -> Dealt:
    task = load(newest("sensor-sequence"))
    labels = tuple(recordings["y_labels"])
    raw = {"columns": COLUMNS, "labels": ",".join(labels), "variant": "statistics"}
    found, test = wearers_records(task, task.parse_options(raw), recordings, PAIRS[seed - 1])
    devices = [(each.inputs, each.targets.astype(int)) for each in found]
    mean = declared(round(np.mean([len(y) for _, y in devices])))
    wanted = {
        "labels": labels, "shape": (100, 6), "agents": len(devices), "records": mean, "columns": COLUMNS,
    }  # fmt: skip
    return Dealt(devices, (test.inputs, test.targets.astype(int)), wanted, 4)


def deal(name: str, seed: int, known: dict[str, Any], recordings: dict[str, Any] | None) -> Dealt:
    if name == "digits":
        return digits(seed, known.setdefault("digits", {}))
    if name == "watch":
        return wearers(seed, recordings or {})
    return fashion(int(name.split("-")[1]), seed, known.setdefault("fashion", {}))


def run(
    name: str, seeds: int, known: dict[str, Any], recordings: Any, done: dict[str, Any]
) -> None:
    """Fills `done` by "data set, ε, way" with the accuracies of the seeds."""
    for seed in range(1, seeds + 1):
        dealt = deal(name, seed, known, recordings)
        classes = len(dealt.wanted["labels"])
        for epsilon in EPSILONS:
            asked = settings(dealt, epsilon)
            if epsilon == EPSILONS[-1]:
                shared = asked["shared"]
                quiet = Setting(shared.rounds, 1, shared.rate, shared.clip, 0.0)
                note(done, f"{name}, 0, none", quiet, learn(dealt, quiet, classes, drawn(seed)))
            for way, setting in asked.items():
                accuracy = learn(dealt, setting, classes, drawn(seed))
                note(done, f"{name}, {epsilon:g}, {way}", setting, accuracy)


def drawn(seed: int) -> np.random.Generator:
    return np.random.default_rng(1000 + seed)


def note(done: dict[str, Any], key: str, setting: Setting, accuracy: float) -> None:
    cell = done.setdefault(key, {"setting": vars(setting), "accuracy": []})
    cell["accuracy"].append(round(accuracy, 4))
    print(key, f"rate {setting.rate:g}", f"{accuracy:.4f}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", choices=NAMES, action="append")
    parser.add_argument("--watch", type=Path, help="watch_dataset.npy of seglearn 1.2.5")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--write", action="store_true")
    chosen = parser.parse_args()
    done = json.loads(chosen.out.read_text()) if chosen.out.exists() else {}
    if chosen.write:
        write(done, ROOT / "docs/results")
        return 0
    recordings = watch(chosen.watch) if chosen.watch else None
    known: dict[str, Any] = {}
    for name in chosen.only or NAMES:
        if name == "watch" and recordings is None:
            continue
        found: dict[str, Any] = {}
        run(name, chosen.seeds, known, recordings, found)
        done |= found
        chosen.out.write_text(json.dumps(done, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
