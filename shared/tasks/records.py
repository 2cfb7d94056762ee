"""Records as a task prepares them: so many, and any of them as inputs and targets for the model.

A batch is a tensor whose first axis is the records, a list with one entry per record, or a tuple of such
that belong together. Records of one shape come as tensors; those of unequal size as lists, and go through
the model one at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Batch = Any  # a tensor, a list, or a tuple of batches
Rows = NDArray[np.int64]


class Records(Protocol):
    """`skipped` names what could not be read, one sentence each; it stays on the device."""

    @property
    def skipped(self) -> tuple[str, ...]: ...

    def __len__(self) -> int: ...

    def take(self, rows: Rows) -> tuple[Batch, Batch]:
        """Inputs and targets of these records, in this order.

        Without any rows they are of the same kind and shape, and empty.
        """


@dataclass(frozen=True, slots=True, eq=False)
class ArrayRecords:
    """Records of one shape: first axis of both arrays."""

    inputs: NDArray[np.float32]  # (N, …)
    targets: NDArray[Any]  # (N, …)
    skipped: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.targets)

    def take(self, rows: Rows) -> tuple[Batch, Batch]:
        import torch  # noqa: PLC0415  the catalogue and agents that only wait need none

        return torch.from_numpy(self.inputs[rows]), torch.from_numpy(self.targets[rows])
