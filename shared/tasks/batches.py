"""Batches (edgeveil.shared.tasks.records) without knowing what is in them: tensors, lists, tuples of such."""

from typing import TypeAlias

import torch

from edgeveil.shared.tasks.records import Batch

Form: TypeAlias = "str | tuple[str, tuple[int, ...]] | tuple[Form, ...]"


def size(batch: Batch) -> int:
    """How many records it holds."""
    return size(batch[0]) if isinstance(batch, tuple) else len(batch)


def stacked(batch: Batch) -> bool:
    """Whether its records have one shape, so that a model can take many at once."""
    if isinstance(batch, tuple):
        return all(stacked(part) for part in batch)
    return isinstance(batch, torch.Tensor)


def one(batch: Batch, at: int) -> Batch:
    """A batch of that record alone."""
    if isinstance(batch, tuple):
        return tuple(one(part, at) for part in batch)
    return batch[at : at + 1]


def taken(batch: Batch, places: list[int]) -> Batch:
    """A batch of the records at these places."""
    if isinstance(batch, tuple):
        return tuple(taken(part, places) for part in batch)
    return batch[places] if isinstance(batch, torch.Tensor) else [batch[at] for at in places]


def joined(first: Batch, second: Batch) -> Batch:
    """The records of one batch, then those of another of the same form."""
    if isinstance(first, tuple):
        return tuple(joined(a, b) for a, b in zip(first, second, strict=True))
    return torch.cat([first, second]) if isinstance(first, torch.Tensor) else first + second


def replaced(batch: Batch, at: int, record: Batch) -> Batch:
    """The batch with `record`, a batch of one, in that place."""
    if isinstance(batch, tuple):
        return tuple(replaced(a, at, b) for a, b in zip(batch, record, strict=True))
    changed = batch.clone() if isinstance(batch, torch.Tensor) else list(batch)
    changed[at] = record[0]
    return changed


def values(batch: Batch) -> int:
    """Numbers in it; bounds memory."""
    if isinstance(batch, torch.Tensor):
        return batch.numel()
    return sum(values(part) for part in batch) if isinstance(batch, list | tuple) else 0


def form(batch: Batch) -> Form:
    """What all batches of one source have in common, however many records they hold."""
    if isinstance(batch, tuple):
        return tuple(form(part) for part in batch)
    if isinstance(batch, torch.Tensor):
        return str(batch.dtype), tuple(batch.shape[1:])
    return "list"
