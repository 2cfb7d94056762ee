"""The records that a step takes, varied as the task's options say; what the model sees of them is chance of that step."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edgeveil.shared.tasks.augmentation.draws import Draws, dropouts
from edgeveil.shared.tasks.records import Batch, Records
from edgeveil.shared.tasks.spec import Augmenting


class Varied:
    """The records as the options let them be varied, each by chance of its own, anew in every step."""

    def __init__(
        self, records: Records, task: object, options: Any, module: torch.nn.Module
    ) -> None:
        self._records, self._options = records, options
        self._task = task if isinstance(task, Augmenting) else None
        self._dropouts = dropouts(module)

    def __len__(self) -> int:
        return len(self._records)

    def take(self, rows: NDArray[np.int64], seed: int) -> tuple[Batch, Batch]:
        """Inputs and targets; `seed`, 64 bits, is that of the step."""
        inputs, targets = self._records.take(rows)
        draws = Draws(seed, rows)
        for layer in self._dropouts:
            layer.use(draws)
        if self._task is None:
            return inputs, targets
        return self._task.augment(inputs, targets, draws, self._options)
