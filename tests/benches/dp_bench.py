"""Small models, records and a canary task for the tests of private training."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from edgeveil.agent.training.engines.gradients import ENGINES
from edgeveil.agent.training.engines.mechanism import Mechanism
from edgeveil.agent.training.validate import Probe
from edgeveil.shared.tasks.modules import trainable
from edgeveil.shared.tasks.records import ArrayRecords
from edgeveil.shared.tasks.spec import TaskSpec
from edgeveil.shared.wire.messages import Tensor
from edgeveil.shared.wire.plan import TrainingPlan

CLASSES = 3
SHAPE = (1, 8, 8)


def seeded(build):
    """`build` with the same weights every time."""

    def fresh():
        torch.manual_seed(3)
        return build()

    return fresh


def linear():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, CLASSES))


def convolutional():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.GroupNorm(2, 4),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64, CLASSES),
    )


MODELS = {"linear": seeded(linear), "convolutional": seeded(convolutional)}


def probe(build, criterion=None, shape=SHAPE):
    return Probe(seeded(build), criterion or nn.CrossEntropyLoss(reduction="none"), drawing(shape))


def drawing(shape, classes=CLASSES):
    def draw(count, random):
        inputs = torch.randn((count, *shape), generator=random)
        return inputs, torch.randint(classes, (count,), generator=random)

    return draw


def records(count, salt=0):
    random = torch.Generator().manual_seed(100 + salt)
    inputs = torch.randn((count, *SHAPE), generator=random)
    return inputs, torch.randint(CLASSES, (count,), generator=random)


def clipped_sum(model, mode, chunks, clip_norm=0.5):
    """The noise-free clipped sum over all chunks, as one flat vector."""
    module = MODELS[model]().train()
    optimizer = torch.optim.SGD(module.parameters(), lr=1.0)
    engine = ENGINES[mode](module, nn.CrossEntropyLoss(reduction="none"))
    with engine.attach(optimizer, Mechanism(clip_norm, noise_multiplier=1.0)):
        for inputs, targets in chunks:
            engine.accumulate(inputs, targets)
        return torch.cat([part.flatten() for part in engine.clipped_sum()])


class CanaryModel(nn.Module):
    """One weight per canary; record i's gradient is a huge multiple of unit vector i."""

    def __init__(self, count):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(count))

    def forward(self, inputs):
        return inputs * self.weight


class CanaryLoss(nn.Module):
    reduction = "none"

    def forward(self, outputs, _targets):
        return -1000.0 * outputs.sum(dim=1)


@dataclass(frozen=True)
class CanaryOptions:
    count: int

    def model_dump_json(self):
        return str(self.count)


class CanaryTask:
    """Orthogonal canaries of norm clip_norm; the only task whose update is known in advance."""

    spec = TaskSpec("canary", "1.0.0", "dp_bench", ())

    def build(self, options):
        return CanaryModel(options.count)

    def criterion(self, _reduction):
        return CanaryLoss()

    def tensors(self, options) -> tuple[Tensor, ...]:
        return trainable(self.build(options))

    def probe(self, count, random, options):
        return drawing((options.count,), 1)(count, random)


def canary_examples(included):
    inputs = np.eye(len(included), dtype=np.float32)[included]
    return ArrayRecords(inputs, np.zeros(len(inputs), dtype=np.int64))


def plan(**changes):
    fields = {
        "steps": 4,
        "sample_rate": 1.0,
        "clip_norm": 0.5,
        "learning_rate": 2.0,
        "noise_multiplier": 1.5,
        "delta": 1e-5,
        "rounds": 1,
    }
    return TrainingPlan(**{**fields, **changes})
