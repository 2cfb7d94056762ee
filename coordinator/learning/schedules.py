"""The average of the server's models over the rounds (pure)."""

from typing import Literal

import numpy as np

from edgeveil.coordinator.learning.strategies import Model

Average = Literal["none", "ema", "tail"]


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
