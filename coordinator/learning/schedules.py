"""The server's learning rate and the average of its models over the rounds (pure)."""

import math
from typing import Literal

import numpy as np

from edgeveil.coordinator.learning.strategies import Model

Schedule = Literal["constant", "linear", "cosine", "step"]
Average = Literal["none", "ema", "tail"]
HALVINGS = 4  # of `step`: parts the run is cut into, each at half the rate of the one before


def factor(
    schedule: Schedule, number: int, count: int, *, warmup: int = 0, end: float = 0.1
) -> float:
    """What the learning rate of round `number` (1 … count) is multiplied with; it ends at `end`.

    During `warmup` rounds it rises linearly to 1, whatever the schedule.
    """
    if number <= warmup:
        return number / (warmup + 1)
    done = 0.0 if count <= warmup + 1 else (number - warmup - 1) / (count - warmup - 1)
    done = min(done, 1.0)
    match schedule:
        case "constant":
            return 1.0
        case "linear":
            return 1 + done * (end - 1)
        case "cosine":
            return end + (1 - end) * (1 + math.cos(math.pi * done)) / 2
        case "step":
            return max(0.5 ** min(int(done * HALVINGS), HALVINGS - 1), end)


def averaged(
    kind: Average, before: Model | None, model: Model, number: int, *, decay: float, start: int
) -> Model | None:
    """The running average after round `number`, float32 (d,), or None where there is none.

    `ema`: decay · before + (1 − decay) · model, beginning with the first model. `tail`: the plain
    mean of the models from round `start` on (Polyak and Juditsky 1992).
    """
    if kind == "none" or (kind == "tail" and number < start):
        return None
    if before is None:
        return model.copy()
    weight = decay if kind == "ema" else 1 - 1 / (number - start + 1)
    mixed = weight * before.astype(np.float64) + (1 - weight) * model.astype(np.float64)
    return mixed.astype(np.float32)
