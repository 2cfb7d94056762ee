"""Try hyper-parameters before spending a device's budget: one federation in one process.

The catalogue's own tasks, exact per-record gradients, clipping, Gaussian noise and plain averaging,
on public demo data. No transport, no masks, and an ordinary random generator for noise and
sampling, so this says what a plan would learn; it protects nothing and no private data belong here.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

try:
    import torch
    from demo_data import split, write
    from torch.func import functional_call, grad, vmap

    from edgeveil.coordinator.learning import strategies
    from edgeveil.coordinator.runs.evaluation import Evaluator, initial_model
    from edgeveil.shared.base.errors import EdgeveilError
    from edgeveil.shared.privacy.filter import noise_multiplier_for
    from edgeveil.shared.tasks.records import ArrayRecords
    from edgeveil.shared.tasks.registry import catalogue, load
    from edgeveil.shared.tasks.spec import Options, Task
    from edgeveil.shared.vector.model_vector import Vector, unflatten
except ModuleNotFoundError as error:
    sys.exit(f'{error.name} is missing; run: pip install -e ".[dev]"')

CHUNK = 250  # per-record gradients held in memory at once


@dataclass(frozen=True, slots=True)
class Setting:
    rounds: int
    steps: int
    sample_rate: float
    clip_norm: float
    learning_rate: float
    noise_multiplier: float


class Trainer:
    """Local DP-SGD as the agent does it: sum of clipped gradients, noise, divide by q·n_ref."""

    def __init__(self, task: Task, options: Options) -> None:
        self._module = task.build(options)
        self._tensors = task.tensors(options)
        self._criterion = task.criterion("mean")
        self._gradients = vmap(grad(self._loss), in_dims=(None, 0, 0))

    def _loss(
        self, parameters: dict[str, torch.Tensor], record: torch.Tensor, target: torch.Tensor
    ) -> torch.Tensor:
        output = functional_call(self._module, parameters, (record.unsqueeze(0),))
        value: torch.Tensor = self._criterion(output, target.unsqueeze(0))
        return value

    def update(
        self,
        start: Vector,
        examples: ArrayRecords,
        setting: Setting,
        random: torch.Generator,
        n_ref: int = 0,
    ) -> Vector:
        """`n_ref` 0: as many as there are."""
        current = torch.from_numpy(start.copy())
        inputs, targets = torch.from_numpy(examples.inputs), torch.from_numpy(examples.targets)
        scale = setting.learning_rate / (setting.sample_rate * (n_ref or len(targets)))
        for _ in range(setting.steps):
            noise = torch.randn(current.shape, generator=random)
            total = setting.noise_multiplier * setting.clip_norm * noise
            drawn = torch.rand(len(targets), generator=random) < setting.sample_rate
            for rows in drawn.nonzero()[:, 0].split(CHUNK):
                total += self._clipped(current, inputs[rows], targets[rows], setting.clip_norm)
            current -= scale * total
        return np.asarray(current.numpy() - start, dtype=np.float32)

    def _clipped(
        self, current: torch.Tensor, inputs: torch.Tensor, targets: torch.Tensor, norm: float
    ) -> torch.Tensor:
        arrays = unflatten(current.numpy(), self._tensors)
        parameters = {name: torch.from_numpy(array) for name, array in arrays.items()}
        gradients = self._gradients(parameters, inputs, targets)
        rows = torch.cat([gradients[t.name].flatten(1) for t in self._tensors], dim=1)  # (B, d)
        factors = (norm / (rows.norm(dim=1) + 1e-6)).clamp(max=1.0)
        return factors @ rows


def federate(
    task: Task, options: Options, folder: Path, setting: Setting, seed: int
) -> tuple[list[float], float]:
    """Accuracy on the held-out set after each round, and the largest value in any update."""
    # Small steps on a busy machine: threads that wait for one another cost up to 25 times as much.
    torch.set_num_threads(1)
    model, _ = initial_model(task, options)
    evaluator = Evaluator(task, options, folder / "test.npz")
    agents = [task.load(path, options) for path in sorted(folder.glob("agent-*"))]
    trainer = Trainer(task, options)
    random = torch.Generator().manual_seed(seed)
    accuracies, largest = [], 0.0
    for _ in range(setting.rounds):
        updates = np.stack([trainer.update(model, own, setting, random) for own in agents])
        largest = max(largest, float(np.abs(updates).max()))
        mean = updates.astype(np.float64).mean(axis=0)
        model = strategies.apply("fedavg", model, mean).model
        accuracies.append(evaluator.evaluate(model)["accuracy"])
    return accuracies, largest


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--task", choices=[spec.id for spec in catalogue()], default="feature-head")
    parser.add_argument("--variant", help="default: the task's own default")
    parser.add_argument("--dataset", choices=("mnist", "fashion"), default="mnist")
    parser.add_argument("--agents", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=8, help="steps of one agent in one round")
    parser.add_argument("--sample-rate", type=float, default=1.0)
    parser.add_argument("--clip-norm", type=float, default=0.3)
    parser.add_argument("--learning-rate", type=float, default=100.0)
    parser.add_argument("--epsilon", type=float, default=8.0)
    parser.add_argument("--delta", type=float, default=1e-5)
    parser.add_argument("--spare-rounds", type=int, default=1, help="budget kept for retries")
    parser.add_argument("--seeds", type=int, default=3, help="each with its own split and noise")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    chosen = parse(arguments)
    task = load(next(spec for spec in catalogue() if spec.id == chosen.task))
    steps = (chosen.rounds + chosen.spare_rounds) * chosen.steps
    finals = []
    try:
        options = task.parse_options({"variant": chosen.variant} if chosen.variant else {})
        sigma = noise_multiplier_for(chosen.epsilon, chosen.delta, steps, chosen.sample_rate)
        setting = Setting(
            chosen.rounds,
            chosen.steps,
            chosen.sample_rate,
            chosen.clip_norm,
            chosen.learning_rate,
            sigma,
        )
        print(f"noise_multiplier {sigma:.4f} for {steps} steps at epsilon {chosen.epsilon:g}")
        for seed in range(1, chosen.seeds + 1):
            began = time.monotonic()
            with tempfile.TemporaryDirectory() as folder:
                write(Path(folder), *split(chosen.dataset, chosen.agents, seed))
                accuracies, largest = federate(task, options, Path(folder), setting, seed)
            curve = " ".join(f"{value:.3f}" for value in accuracies)
            seconds = time.monotonic() - began
            print(f"seed {seed}: {curve}  largest update {largest:.2f}  {seconds:.1f} s")
            finals.append(accuracies[-1])
    except EdgeveilError as error:
        print(f"error: {error.message}", file=sys.stderr)
        return int(error.exit_code)
    print(f"accuracy {np.mean(finals):.4f} ± {np.std(finals):.4f} (mean and spread of seeds)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
