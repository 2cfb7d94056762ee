"""What detection learns on composed scenes: pooled and federated without noise, and with DP on a public body.

Four cameras with 150 scenes of 128 px each, three classes of clothes pasted on textured grounds; tested on scenes of the
same and of two unseen cameras (scripts/make_scenes.py; the truth is exact, and they are easier than a street). Settings
were chosen on the validation scenes of seed 0 alone; another seed has other cameras, scenes, batches and noise.
"federated" is the real trainer without noise and the sums that secure aggregation would reveal, of quantised
updates, in one process; "private" is the real private trainer of every camera with
noise for ε over all rounds, on a body trained here on scenes of other clothes and other cameras.

python scripts/bench_detection.py pooled|federated|body|private|scratch|step [--epsilon 8] [--seed 0] [--body FILE] [--json]
python scripts/bench_detection.py pooled --save eyes.evm    # packed, for scripts/bench_counting.py --model
"""

import argparse
import copy
import json
import math
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests/benches")]

try:
    from models_bench import VECTORS, resigned
    from scenes_bench import CLASSES, OTHER_CLASSES, SEED, Scene, as_records, dealt

    from edgeveil.agent.rounds.upload import vector_lanes
    from edgeveil.agent.training import engine_choice, noiseless
    from edgeveil.agent.training.training import train
    from edgeveil.agent.training.validate import Probe
    from edgeveil.coordinator.learning.strategies import apply
    from edgeveil.coordinator.plan.derived import secagg_params, training_plan
    from edgeveil.coordinator.plan.plan import Plan
    from edgeveil.shared.data.boxes.fitting import padded
    from edgeveil.shared.models.package import read_package
    from edgeveil.shared.privacy.filter import noise_multiplier_for
    from edgeveil.shared.tasks import registry
    from edgeveil.shared.tasks.detection.augmentation import DRAWS, augmented
    from edgeveil.shared.tasks.detection.options import DetectionOptions
    from edgeveil.shared.tasks.detection.targets import Squares, grid
    from edgeveil.shared.tasks.modules import read_vector, trainable, write_vector
    from edgeveil.shared.tasks.records import ArrayRecords
    from edgeveil.shared.tasks.spec import tallied
    from edgeveil.shared.vector.quantization import dequantise
    from edgeveil.shared.wire.plan import TrainingPlan
except ModuleNotFoundError as error:
    sys.exit(f'{error.name} is missing; run: pip install -e ".[dev]"')

TASK = registry.load(registry.newest("detection"))
BATCH, RATE, DECAY, WARM_UP, END, LONGEST = 16, 2e-3, 1e-4, 50, 0.02, 10.0
EMA = 0.99
STEPS = {"pooled": 2000, "body": 1000}
ROUNDS, TOLD = 24, 8  # federated: rounds, and after how many it says where it is
WITHOUT_NOISE: dict[str, Any] = {
    "privacy": "none", "steps": 18, "batch_size": BATCH, "optimizer": "adamw", "learning_rate": RATE,
    "weight_decay": DECAY, "schedule": "cosine", "warmup": 3, "final_rate": END, "clip_norm": 20.0,
}  # fmt: skip
PRIVATE_ROUNDS, CLIP, PRIVATE_RATE, MOMENTUM, LEFT = 20, 3.0, 0.4, 0.9, 0.1
DELTA = 1e-5
APART = 10  # between the scenes of two seeds
BODY_SEED = 11  # of scenes and cameras that no other part sees


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("part", choices=("pooled", "federated", "body", "private", "scratch", "step"))  # fmt: skip
    parser.add_argument("--epsilon", type=float, action="append", help="default: 8")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, help="of pooled and body")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of federated")
    parser.add_argument("--save", type=Path, help="the model of pooled or federated, as a package")
    parser.add_argument("--body", type=Path, default=Path("body.npz"), help="written by body")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    return tell(PARTS, chosen)


def tell(parts: Any, chosen: argparse.Namespace) -> int:
    """Run the part that was chosen, and print each of its rows with what was spent until then."""
    torch.manual_seed(chosen.seed)
    began, cpu = time.monotonic(), time.process_time()
    for row in parts[chosen.part](chosen):
        spent = {"seconds": round(time.monotonic() - began), "cpu_seconds": round(time.process_time() - cpu)}  # fmt: skip
        told = {"part": chosen.part, "seed": chosen.seed, **row, **spent}
        print(json.dumps(told) if chosen.json else told, flush=True)
    return 0


def options_of(classes: Sequence[str] = CLASSES, **changes: Any) -> DetectionOptions:
    raw = {"labels": ",".join(classes), "size": 128, "boxes_max": 8, **changes}
    return TASK.parse_options(raw)


def squares(scenes: list[Scene], options: DetectionOptions) -> Squares:
    pixels, boxes = as_records(scenes)
    rows = np.stack([padded(each, options.boxes_max) for each in boxes])
    return Squares(pixels, rows, grid(options.scales, options.loss))


def cameras(options: DetectionOptions, seed: int) -> tuple[list[Squares], Squares, Squares]:
    made = dealt(seed=SEED + APART * seed)
    own = [squares(made[name], options) for name in made if name.startswith("camera")]
    return own, squares(made["validation"], options), squares(made["test"], options)


def judged(module: nn.Module, options: Any, task: Any = TASK, **sets: Any) -> dict[str, float]:
    """Every metric of each set by its name."""
    module.eval()
    told: dict[str, float] = {}
    for name, records in sets.items():
        tally = np.zeros((), np.int64)
        with torch.inference_mode():
            for at in range(0, len(records), 60):
                inputs, targets = records.take(np.arange(at, min(at + 60, len(records))))
                tally = tally + tallied(task, module(inputs), targets, options)
        told |= {f"{name}_{metric}": round(value, 4) for metric, value in task.metrics(tally, options).items()}  # fmt: skip
    module.train()
    return told


def batches(count: int, random: np.random.Generator, size: int = BATCH) -> Iterator[np.ndarray]:
    while True:
        order = random.permutation(count)
        yield from (order[at : at + size] for at in range(0, count - size + 1, size))


class Plain:
    """AdamW without noise on augmented batches of one set."""

    def __init__(self, module: nn.Module, records: Squares, seed: int) -> None:
        self._module, self._records = module, records
        self._criterion = TASK.criterion("mean")
        self._rows = batches(len(records), np.random.default_rng(seed))
        self._random = torch.Generator().manual_seed(seed)

    def optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self._module.parameters(), lr=RATE, weight_decay=DECAY)

    def step(self, optimizer: torch.optim.Optimizer, rate: float) -> None:
        for group in optimizer.param_groups:
            group["lr"] = rate
        inputs, targets = self._records.take(next(self._rows))
        draws = torch.rand((len(inputs), DRAWS), generator=self._random)
        inputs, targets = augmented(inputs, targets, draws)
        optimizer.zero_grad()
        self._criterion(self._module(inputs), targets).backward()
        nn.utils.clip_grad_norm_(self._module.parameters(), LONGEST)
        optimizer.step()


def falling(done: float, end: float = END) -> float:
    return end + (1 - end) * (1 + math.cos(math.pi * done)) / 2


def learned(options: DetectionOptions, records: Squares, steps: int, seed: int) -> nn.Module:
    """Trained in one place; the mean of its late weights."""
    module = TASK.build(options).train()
    plain = Plain(module, records, seed)
    optimizer = plain.optimizer()
    tensors = trainable(module)
    mean = read_vector(module, tensors)
    for step in range(steps):
        plain.step(optimizer, RATE * min(1, (step + 1) / WARM_UP) * falling(step / steps))
        mean = EMA * mean + (1 - EMA) * read_vector(module, tensors)
    write_vector(module, mean.astype(np.float32), tensors)
    return module


def pooled(chosen: argparse.Namespace) -> Iterator[dict[str, Any]]:
    options = options_of()
    own, validation, test = cameras(options, chosen.seed)
    whole = Squares(*(np.concatenate([getattr(each, name) for each in own]) for name in ("images", "boxes")), own[0].grid)  # fmt: skip
    steps = chosen.steps or STEPS["pooled"]
    module = learned(options, whole, steps, chosen.seed)
    save(chosen.save, module, options)
    yield {"steps": steps, **judged(module, options, validation=validation, test=test)}


def save(path: Path | None, module: nn.Module, options: DetectionOptions) -> None:
    """As a package signed by the key of the tests: for measuring alone."""
    if path is None:
        return
    from edgeveil.coordinator.models import contents, graph  # noqa: PLC0415 - needs onnx

    data, form = graph.graph_of(TASK, options, read_vector(module, trainable(module)))
    output = {"kind": "boxes", "name": contents.ROWS, "labels": form.labels, "rows": form.rows}
    made = resigned(
        read_package(VECTORS / "cnn.evm"),
        model=data,
        input=contents.input_of(form).model_dump(),
        output=output,
        preprocessing=form.preprocessing,
        self_test=graph.answers(data, form),
    )
    path.write_bytes(made)


def federated(chosen: argparse.Namespace) -> Iterator[dict[str, Any]]:
    options = options_of()
    module = TASK.build(options)
    yield from averaged(TASK, options, module, cameras(options, chosen.seed), asked=WITHOUT_NOISE, rounds=chosen.rounds)  # fmt: skip
    save(chosen.save, module, options)


def averaged(
    task: Any, options: Any, module: nn.Module, sets: Any, *, asked: dict[str, Any], rounds: int
) -> Iterator[dict[str, Any]]:
    """Rounds without noise, from this module and into it; nothing is told of the test scenes before the last round."""
    own, validation, test = sets
    named = {"id": task.spec.id, "options": options.model_dump(exclude_defaults=True)}
    agents = {"count": rounds, "goal": len(own), "minimum": len(own)}
    plan = Plan.model_validate({"task": named, "training": asked, "rounds": agents, "secagg": {"c_min": 0}})  # fmt: skip
    training = training_plan(plan)
    tensors = trainable(module)
    model = read_vector(module, tensors)
    params = secagg_params(plan, training, len(model))
    for number in range(1, rounds + 1):
        updates = [noiseless.train(task, options, records, model, tensors, training, number) for records in own]  # fmt: skip
        lanes = np.sum([vector_lanes(update, params, 1) for update in updates], axis=0)
        model = apply("fedavg", model, dequantise(lanes[1:], params.segments[1]) / lanes[0]).model
        last = number == rounds
        if number % TOLD == 0 or last:
            write_vector(module, model, tensors)
            longest = max(float(np.linalg.norm(update)) for update in updates)
            told = {"validation": validation, **({"test": test} if last else {})}
            yield {"round": number, "longest": round(longest, 2), **judged(module, options, task, **told)}  # fmt: skip


def body(chosen: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """A public body: other clothes, other cameras, other grounds."""
    options = options_of(OTHER_CLASSES)
    made = dealt(OTHER_CLASSES, seed=BODY_SEED)
    scenes = [scene for name in made if name.startswith("camera") for scene in made[name]]
    steps = chosen.steps or STEPS["body"]
    module = learned(options, squares(scenes, options), steps, chosen.seed)
    tensors = tuple(each for each in trainable(module) if ".classes." not in each.name)
    arrays = dict(module.named_parameters())
    np.savez(chosen.body, **{each.name: arrays[each.name].detach().numpy() for each in tensors})
    yield {"steps": steps, **judged(module, options, validation=squares(made["validation"], options))}  # fmt: skip


class OnFeatures:
    """The task with what a frozen body makes of each picture as its input: computed once, equal to the whole network."""

    def __init__(self, path: Path, options: DetectionOptions) -> None:
        self._whole = TASK.build(options).eval()
        parameters = dict(self._whole.named_parameters())
        with np.load(path) as archive, torch.no_grad():
            for name in archive.files:
                parameters[name].copy_(torch.from_numpy(archive[name]))
        with torch.inference_mode():
            maps = self._whole.trunk(torch.zeros(1, 3, options.size, options.size))
        self._shapes = [tuple(each.shape[1:]) for each in maps]

    def __getattr__(self, name: str) -> Any:
        return getattr(TASK, name)

    def build(self, _options: DetectionOptions) -> nn.Module:
        return Heads(copy.deepcopy(self._whole.heads), self._shapes)

    def probe(self, count: int, random: torch.Generator, options: DetectionOptions) -> tuple[Any, Any]:  # fmt: skip
        inputs, targets = TASK.probe(count, random, options)
        return self._features(inputs), targets

    def of(self, records: Squares) -> ArrayRecords:
        parts = []
        for at in range(0, len(records), 60):
            inputs, targets = records.take(np.arange(at, min(at + 60, len(records))))
            parts.append((self._features(inputs).numpy(), targets.numpy()))
        return ArrayRecords(*(np.concatenate(each) for each in zip(*parts, strict=True)))

    def _features(self, inputs: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return torch.cat([each.flatten(1) for each in self._whole.trunk(inputs)], dim=1)


class Heads(nn.Module):
    def __init__(self, heads: nn.ModuleList, shapes: list[tuple[int, ...]]) -> None:
        super().__init__()
        self.heads, self._shapes = heads, shapes

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        parts = features.split([math.prod(shape) for shape in self._shapes], dim=1)
        maps = [part.unflatten(1, shape) for part, shape in zip(parts, self._shapes, strict=True)]
        return torch.cat([head(each) for head, each in zip(self.heads, maps, strict=True)], dim=1)


def private(chosen: argparse.Namespace) -> Iterator[dict[str, Any]]:
    options = options_of(train="classes")
    task = OnFeatures(chosen.body, options)
    own, validation, test = cameras(options, chosen.seed)
    sets = ([task.of(records) for records in own], task.of(validation), task.of(test))
    yield from private_rounds(task, options, chosen.epsilon or [8.0], sets)


def scratch(chosen: argparse.Namespace) -> Iterator[dict[str, Any]]:
    yield from private_rounds(
        TASK, options_of(), chosen.epsilon or [8.0], cameras(options_of(), chosen.seed)
    )


def private_rounds(task: Any, options: Any, epsilons: list[float], sets: Any) -> Iterator[dict[str, Any]]:  # fmt: skip
    own, validation, test = sets
    module = task.build(options)
    tensors = trainable(module)
    for epsilon in epsilons:
        sigma = noise_multiplier_for(epsilon, DELTA, PRIVATE_ROUNDS, 1.0)
        plan = TrainingPlan(
            steps=1, clip_norm=CLIP, learning_rate=1.0, noise_multiplier=sigma, delta=DELTA,
            rounds=PRIVATE_ROUNDS,
        )  # fmt: skip
        model, speed, late = read_vector(task.build(options), tensors), 0.0, []
        for number in range(PRIVATE_ROUNDS):
            updates = [train(task, options, records, model, tensors, plan, len(records)).update for records in own]  # fmt: skip
            speed = MOMENTUM * speed + np.mean(updates, axis=0)
            model = model + np.float32(PRIVATE_RATE * falling(number / PRIVATE_ROUNDS, LEFT)) * speed  # fmt: skip
            late += [model] if number >= PRIVATE_ROUNDS // 2 else []
        write_vector(module, np.mean(late, axis=0).astype(np.float32), tensors)
        yield {"epsilon": epsilon, "noise_multiplier": round(sigma, 3), **judged(module, options, task, validation=validation, test=test)}  # fmt: skip


def step(_chosen: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """CPU of one record's gradient, by each way to compute it, and which one is chosen."""
    for changes in ({}, {"variant": "tiny"}, {"variant": "tiny", "width": "1/2", "size": 256}):
        options = options_of(**changes)
        probe = Probe(
            lambda options=options: TASK.build(options),
            TASK.criterion("none"),
            lambda count, random, options=options: TASK.probe(count, random, options),
        )
        best = engine_choice.choose(probe, ("hooks", "ghost", "single"))
        yield {**changes, "chosen": best.mode, "records": best.chunk, "reason": best.reason}


PARTS = {
    "pooled": pooled, "federated": federated, "body": body, "private": private, "scratch": scratch,
    "step": step,
}  # fmt: skip

if __name__ == "__main__":
    sys.exit(main())
