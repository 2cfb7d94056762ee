"""A run's models on disk: one per round, what the server optimiser remembers, the best and the last.

`round-NNNN.safetensors` is the whole model, trained and frozen parts, that agents were given next; `round-NNNN.server.safetensors` the state of
strategy and average, only where there is one. Both are written before the round's record; the record
holds their hashes. `best` and `last` are hard links made after it and mended at the next start.
"""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from edgeveil.coordinator.learning.judgement import Scored
from edgeveil.coordinator.learning.strategies import NOTHING
from edgeveil.coordinator.records.records import RoundRecord
from edgeveil.coordinator.runs import checkpoint, learner
from edgeveil.shared.base.errors import StateDamaged
from edgeveil.shared.base.files import fsync_directory
from edgeveil.shared.vector.model_vector import Frozen, Vector, part
from edgeveil.shared.wire.messages import Tensor

STATE_HASH = "server_sha256"  # in a round record's extra


def model_path(folder: Path, number: int) -> Path:
    return folder / f"round-{number:04d}.safetensors"


def state_path(folder: Path, number: int) -> Path:
    return folder / f"round-{number:04d}.server.safetensors"


def average_path(folder: Path, number: int) -> Path:
    return folder / f"round-{number:04d}.average.safetensors"


def save(
    folder: Path,
    number: int,
    learned: learner.Learned,
    tensors: tuple[Tensor, ...],
    metadata: Mapping[str, str],
    *,
    frozen: Frozen | None = None,
) -> tuple[str, dict[str, str]]:
    """The model's SHA-256, and what the record's extra must hold; all is on disk when it returns."""
    extra: dict[str, str] = {}
    if learned.state:
        names = sorted(learned.state)
        shapes = tuple(Tensor(name, learned.state[name].shape) for name in names)
        vector = np.concatenate([learned.state[name] for name in names])
        extra[STATE_HASH] = checkpoint.save(state_path(folder, number), vector, shapes, metadata)
    if learner.AVERAGE in learned.state:
        path = average_path(folder, number)
        checkpoint.save(path, *_whole(learned.published, tensors, frozen), metadata)
    whole = _whole(learned.model, tensors, frozen)
    return checkpoint.save(model_path(folder, number), *whole, metadata), extra


def _whole(
    vector: Vector, tensors: tuple[Tensor, ...], frozen: Frozen | None
) -> tuple[Vector, tuple[Tensor, ...]]:
    return (vector, tensors) if frozen is None else frozen.whole(vector, tensors)


def load(
    folder: Path, record: RoundRecord, tensors: tuple[Tensor, ...], frozen: Frozen | None = None
) -> learner.Learned:
    """What was committed with that record; raises StateDamaged."""
    saved = checkpoint.load(model_path(folder, record.round), sha256=record.model_sha256)
    every = {*tensors} if frozen is None else {*tensors, *frozen.tensors}
    if set(saved.tensors) != every:
        raise StateDamaged(
            f"{folder}: the checkpoint of round {record.round} belongs to another model"
        )
    model = part(saved.vector, saved.tensors, tensors)
    wanted = record.extra.get(STATE_HASH)
    if wanted is None:
        return learner.Learned(model, NOTHING)
    state = checkpoint.load(state_path(folder, record.round), sha256=wanted)
    parts: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]] = {}
    at = 0
    for tensor in state.tensors:
        parts[tensor.name] = state.vector[at : at + tensor.shape[0]]
        at += tensor.shape[0]
    return learner.Learned(model, parts)


def link(folder: Path, last: int, best: Scored | None) -> None:
    """Let last.safetensors and best.safetensors be the models of these rounds."""
    _link(folder, "last", last)
    if best is not None:
        _link(folder, "best", best.number)
    fsync_directory(folder)


def drop_old_states(folder: Path, number: int) -> None:
    """Only the newest two states are of use; the models of all rounds stay."""
    state_path(folder, number - 2).unlink(missing_ok=True)


def _link(folder: Path, name: str, number: int) -> None:
    average = average_path(folder, number)
    source = average if average.exists() else model_path(folder, number)
    target = folder / f"{name}.safetensors"
    if not source.exists() or (target.exists() and target.samefile(source)):
        return
    temporary = target.with_name(target.name + ".tmp")
    temporary.unlink(missing_ok=True)
    os.link(source, temporary)
    temporary.replace(target)
