"""One local round: the received model in, a differentially private update out.

Unit of privacy: one record, neighbours by adding or removing it. Whatever this function returns,
its shape and its duration in steps, depends on records only through clipped, noised sums.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.messages import Tensor
from shared.plan import TrainingPlan
from shared.tasks.spec import Examples, Task


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """`update` is trained − start, float32 (d,), tensors in the order given to train."""

    update: NDArray[np.float32]
    steps: int
    gradient_mode: str
