"""Arrays as a model takes them, whoever made them: shapes that fit, values in range."""

import numpy as np
from numpy.typing import NDArray

from edgeveil.shared.base.errors import DataError
from edgeveil.shared.models.taken import (
    ArrayInput,
    ColumnsInput,
    ImageInput,
    MomentInput,
    SoundInput,
    Taken,
)

Records = NDArray[np.float32]
Usable = NDArray[np.bool_]


def as_records(raw: NDArray[np.generic], taken: Taken) -> tuple[Records, Usable]:
    """(n, *shape) and, per record, whether all its values can be used.

    Raises:
        DataError: another shape or type.
    """
    shaped = _shaped(np.asarray(raw), taken)
    if isinstance(taken, ImageInput) and shaped.dtype == np.uint8:
        return shaped.astype(np.float32) / np.float32(255), np.ones(len(shaped), np.bool_)
    kinds = "f" if isinstance(taken, ImageInput | SoundInput) else "fiu"
    if shaped.dtype.kind not in kinds:
        wanted = (
            "uint8 (0..255) or floats (0..1)"
            if isinstance(taken, ImageInput)
            else "floats (-1..1)"
            if kinds == "f"
            else "numbers"
        )
        raise DataError(f"an array of {shaped.dtype}; the model takes {wanted}")
    with np.errstate(over="ignore"):  # beyond float32 is not finite, and told so
        values = shaped.astype(np.float32)
    fine = _in_range(values, taken)
    usable = np.asarray(fine.all(axis=tuple(range(1, values.ndim))), np.bool_)
    if not isinstance(taken, ColumnsInput | MomentInput):
        return values, usable
    from edgeveil.agent.inference import columns, moments  # noqa: PLC0415 - pictures need none of it

    kept = np.where(fine, values, np.float32(0))
    if isinstance(taken, MomentInput):
        return moments.prepared(kept, taken), usable
    return columns.prepared(kept, taken), usable


def _in_range(values: Records, taken: Taken) -> Usable:
    """Of each value, whether it is finite and one that such a record can have."""
    fine = np.isfinite(values)
    if isinstance(taken, ImageInput):
        fine &= (values >= 0) & (values <= 1)
    if isinstance(taken, SoundInput):
        fine &= np.abs(values) <= 1
    if isinstance(taken, MomentInput):
        from edgeveil.agent.inference import moments  # noqa: PLC0415 - pictures need none of it

        each = (_in_range(part, kind) for _, part, kind in moments.split(values, taken))
        fine = np.concatenate([part.reshape(len(values), -1) for part in each], axis=1)
    return np.asarray(fine, np.bool_)


def span(taken: Taken) -> str:
    """The range of its values, as a person reads it."""
    if isinstance(taken, MomentInput):
        return "the range of its sense"
    return "-1..1" if isinstance(taken, SoundInput) else "0..1"


def asked(taken: Taken) -> str:
    """The array of an .npz file, as a sentence names it."""
    shape = record_shape(taken)
    sides = ", ".join(str(side) for side in shape)
    order = (
        "; docs/models.md says in which order"
        if isinstance(taken, ArrayInput | MomentInput)
        else ""
    )
    return f"X of shape (n, {sides}){order}"


def record_shape(taken: Taken) -> tuple[int, ...]:
    """As it lies in a file."""
    return taken.record_shape if isinstance(taken, ColumnsInput | MomentInput) else taken.shape


def _shaped(raw: NDArray[np.generic], taken: Taken) -> NDArray[np.generic]:
    """One record or many, channels before or behind the sides, as (n, *shape)."""
    shape = record_shape(taken)
    for each in (raw, raw[np.newaxis]):
        if each.shape[1:] == shape:
            return each
        if isinstance(taken, ImageInput):
            height, width, channels = taken.height, taken.width, taken.channels
            if each.shape[1:] == (channels, height, width):
                return each[:, 0] if channels == 1 else np.moveaxis(each, 1, 3)
            if each.shape[1:] == (height, width, channels):
                return each[..., 0]
    asked = ", ".join(str(side) for side in shape)
    raise DataError(f"an array of shape {raw.shape}; the model takes (n, {asked})")
