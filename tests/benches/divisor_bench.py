"""opacus#819: a divisor that follows the number of records tells it, however strong the noise; ours is public.

The attack: the noise of an update of many weights that no record touches has a standard deviation of
σC / divisor, and it can be measured to 1/√(2d).
"""

import dp_bench as bench
import numpy as np
import torch
from opacus import PrivacyEngine
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from edgeveil.agent.training.training import train
from edgeveil.shared.tasks import registry
from edgeveil.shared.tasks.records import ArrayRecords

WIDTH, CLASSES = 1000, 10
N_REF = 10
SIGMA = 50.0
TASK = registry.load(registry.newest("image-classification"))
OPTIONS = TASK.parse_options({"variant": "linear", "height": 28, "width": 28})


def stock(count, seed):
    """The noise in one step of stock Opacus on `count` records that are all zero, batches of two."""
    torch.manual_seed(seed)
    model = nn.Linear(WIDTH, CLASSES, bias=False)
    before = model.weight.detach().clone()
    source = TensorDataset(torch.zeros(count, WIDTH), torch.zeros(count, dtype=torch.long))
    engine = PrivacyEngine()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    model, optimizer, loader = engine.make_private(
        module=model,
        optimizer=optimizer,
        data_loader=DataLoader(source, batch_size=2),
        noise_multiplier=SIGMA,
        max_grad_norm=1.0,
    )
    for inputs, targets in loader:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs), targets).backward()
        optimizer.step()
        break
    return float((next(iter(model.parameters())).detach() - before).std())


def ours(count, _seed):
    inputs = np.zeros((count, TASK.tensors(OPTIONS)[0].shape[1]), np.float32)
    records = ArrayRecords(inputs, np.zeros(count, np.int64))
    tensors = TASK.tensors(OPTIONS)
    start = np.zeros(sum(int(np.prod(t.shape)) for t in tensors), np.float32)
    plan = bench.plan(steps=1, clip_norm=1.0, learning_rate=1.0, noise_multiplier=SIGMA)
    return float(train(TASK, OPTIONS, records, start, tensors, plan, N_REF).update.std())


def told_apart(update):
    """The share of 40 right guesses which of two neighbours it was, by the nearer of two known spreads."""
    known = [np.mean([update(count, 1000 + seed) for seed in range(5)]) for count in (6, 5)]
    right = 0
    for seed in range(20):
        for which, count in enumerate((6, 5)):
            found = update(count, seed)
            right += abs(found - known[which]) < abs(found - known[1 - which])
    return right / 40
