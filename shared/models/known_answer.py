"""The self-test of a package: records that everybody makes alike, and what the graph gave where it was made.

A runtime that computes something else on a device is found before a model is used. No stored inputs: value i
of a record follows from i alone (Weyl's sequence of the golden ratio), in 0..1 for pictures, within the ranges of
columns, in −1..1 else.
"""

import numpy as np
from numpy.typing import NDArray

from edgeveil.shared.models.manifest import Manifest
from edgeveil.shared.models.taken import ColumnsInput, ImageInput, Taken

COUNT = 2
MOST_TOLD = 4096  # values of one record, the first ones
TOLERANCE = 1e-3  # relative L2: processors round arctan2 and sums differently, wrong graphs are off by far more
_STEP = 2654435769  # 2^32 / golden ratio


def records(taken: Taken) -> NDArray[np.float32]:
    """(COUNT, *shape) as the graph takes them."""
    shape = taken.shape
    size = COUNT * int(np.prod(shape))
    steps = np.arange(1, size + 1, dtype=np.uint64) * np.uint64(_STEP) % np.uint64(1 << 32)
    unit = (steps >> np.uint64(8)).astype(np.float32) / np.float32(1 << 24)
    shares = unit.reshape(COUNT, *shape)
    if isinstance(taken, ImageInput):
        return shares
    if isinstance(taken, ColumnsInput) and not taken.features:
        low = np.array([each.low for each in taken.ranges])
        high = np.array([each.high for each in taken.ranges])
        return np.asarray(low + shares * (high - low), np.float32)
    return 2 * shares - 1


def told(outputs: NDArray[np.float32]) -> tuple[tuple[float, ...], ...]:
    """As the manifest holds them: six digits."""
    return tuple(
        tuple(float(f"{value:.6g}") for value in row.ravel()[:MOST_TOLD]) for row in outputs
    )


def check(manifest: Manifest, outputs: NDArray[np.generic]) -> None:
    """Raise ValueError unless `outputs` of records() are those that the manifest tells, or finite if it tells none."""
    found = np.asarray(outputs, np.float64).reshape(len(outputs), -1)[:, :MOST_TOLD]
    if not np.isfinite(found).all():
        raise ValueError("its self-test fails: the model gives values that are not finite")
    if manifest.self_test is None:
        return
    wanted = np.array(manifest.self_test, np.float64)
    if found.shape != wanted.shape:
        raise ValueError("its self-test fails: the model gives another number of values")
    away = float(np.linalg.norm(found - wanted)) / max(float(np.linalg.norm(wanted)), 1e-6)
    if not away <= TOLERANCE:
        raise ValueError(
            f"its self-test fails: on this device the model is off by {away:.2g} of what it should give"
        )
