"""The tally of a model on some of the owner's records. Not private until noise is added (agent.rounds.evaluating)."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from edgeveil.shared.tasks.batches import stacked, values
from edgeveil.shared.tasks.modules import write_vector
from edgeveil.shared.tasks.records import Records, Rows
from edgeveil.shared.tasks.spec import Options, Task, tallied
from edgeveil.shared.wire.messages import Tensor

BATCH = 500  # records a forward pass; bounds memory, changes no result
BATCH_VALUES = 1 << 22  # of their inputs


def tally(
    task: Task,
    options: Options,
    records: Records,
    model: NDArray[np.float32],
    tensors: tuple[Tensor, ...],
) -> NDArray[np.int64]:
    """(S,): the sum over all records, each of which adds at most what the task's tally_form() declares.

    `model` float32 (d,). Of no records it is zero.
    """
    total = np.zeros(task.tally_form(options).length, np.int64)
    if not len(records):
        return total
    module = task.build(options).eval()
    write_vector(module, model, tensors)
    with torch.inference_mode():
        for rows in _batches(records):
            inputs, targets = records.take(rows)
            total += tallied(task, module(inputs), targets, options)
    return total


def _batches(records: Records) -> Iterator[Rows]:
    """Records of unequal size go through the model one at a time, as in training."""
    rows = np.arange(len(records))
    first = records.take(rows[:1])
    alike = all(stacked(part) for part in first)
    each = min(BATCH, max(1, BATCH_VALUES // max(1, values(first[0])))) if alike else 1
    for at in range(0, len(rows), each):
        yield rows[at : at + each]
