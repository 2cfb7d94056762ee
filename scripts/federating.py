"""A federation in one process whose sums are in the clear: what the benches of quality share.

The agent's trainer with its own noise, the coordinator's learner with strategy and average of the plan. Ledgers
and secure aggregation, which change no figure but by rounding, take no part. Devices count by their records.
"""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests/benches")]

try:
    import torch
    from fakes_federation import plan_for

    from edgeveil.agent.training import noiseless
    from edgeveil.agent.training.training import train
    from edgeveil.coordinator.plan.derived import training_plan
    from edgeveil.coordinator.plan.plan import Plan
    from edgeveil.coordinator.runs.evaluation import initial_model
    from edgeveil.coordinator.runs.learner import Learned, Learner
    from edgeveil.shared.tasks.modules import read_vector, write_vector
    from edgeveil.shared.tasks.records import ArrayRecords
    from edgeveil.shared.tasks.registry import load, newest
    from edgeveil.shared.tasks.spec import tallied
    from edgeveil.shared.vector.model_vector import Vector
except ModuleNotFoundError as error:
    sys.exit(f'{error.name} is missing; run: pip install -e ".[dev]"')

ROUNDS = 100


@dataclass
class Clock:
    """What was spent since it was made."""

    began: float = field(default_factory=time.monotonic)
    cpu: float = field(default_factory=time.process_time)

    def read(self) -> dict[str, float]:
        return {
            "seconds": round(time.monotonic() - self.began, 1),
            "cpu_seconds": round(time.process_time() - self.cpu, 1),
        }


def one_step(
    agents: int, task: str, options: dict[str, Any], epsilon: float, rate: float, **changes: Any
) -> Plan:
    """A plan of 100 rounds of one full step, with momentum on the server and the mean of the late models."""
    keys = {
        "training__steps": 1, "training__clip_norm": 0.1, "rounds__count": ROUNDS,
        "server__strategy": "fedavgm", "server__average": "tail", "training__epsilon": epsilon,
        "training__learning_rate": rate,
    } | changes  # fmt: skip
    return plan_for(
        agents,
        task__id=task,
        task__options=options,
        rounds__spare=0,
        rounds__minimum=agents,
        **keys,
    )


def federate(plan: Plan, devices: Sequence[Any], task: Any = None) -> tuple[Vector, float]:
    """The model that these records teach, and the noise multiplier; `task` in place of the plan's."""
    asked, task = training_plan(plan), task or load(newest(plan.task.id))
    options = task.parse_options(plan.task.options)
    model, tensors = initial_model(task, options)
    learner, now, sizes = Learner(plan), Learned(model), [len(each) for each in devices]
    for number in range(1, plan.rounds.count + 1):
        updates = [
            train(task, options, records, now.model, tensors, asked, size).update
            if asked.noised
            else noiseless.train(task, options, records, now.model, tensors, asked, number)
            for records, size in zip(devices, sizes, strict=True)
        ]
        mean = np.average(np.array(updates, np.float64), axis=0, weights=sizes)
        now = learner.next(now, [mean], number)
    return now.published, asked.noise_multiplier


def pooled(
    task: Any, options: Any, devices: Sequence[Any], *, steps: int, rate: float, seed: int = 1
) -> Vector:
    """All records in one place, Adam on batches of 256, nothing clipped and no noise."""
    records = together(devices)
    module, draw = task.build(options), np.random.default_rng(seed)
    optimiser = torch.optim.Adam(module.parameters(), lr=rate)
    for _ in range(steps):
        rows = draw.choice(len(records), min(256, len(records)), replace=False)
        inputs, targets = records.take(rows)
        optimiser.zero_grad()
        task.criterion("mean")(module(inputs), targets).backward()
        optimiser.step()
    return read_vector(module, task.tensors(options))


def together(devices: Sequence[Any]) -> ArrayRecords:
    return ArrayRecords(
        np.concatenate([each.inputs for each in devices]),
        np.concatenate([each.targets for each in devices]),
    )


def part(records: Any, rows: np.ndarray) -> ArrayRecords:
    return ArrayRecords(records.inputs[rows], records.targets[rows])


def scored(task: Any, options: Any, model: Vector, records: Any) -> dict[str, float]:
    """The task's figures of a model on records in memory."""
    module = task.build(options).eval()
    write_vector(module, model, task.tensors(options))
    tally = np.zeros((), np.int64)
    with torch.inference_mode():
        for at in range(0, len(records), 500):
            inputs, targets = records.take(np.arange(at, min(at + 500, len(records))))
            tally = tally + tallied(task, module(inputs), targets, options)
    return {name: float(value) for name, value in task.metrics(tally, options).items()}
