"""The model as one float32 vector: tensors in ascending order of name, each row-major.

Mask, norm, sum and hash all work on this vector; nothing here knows torch. Sizes that come from the
network are compared with the bytes at hand before anything is allocated.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edgeveil.shared.base.errors import ProtocolError, RefusalCode
from edgeveil.shared.secagg.agreement import context
from edgeveil.shared.wire.messages import MAX_TENSORS, Tensor

MAX_PARAMETERS = 1 << 26  # 256 MiB of float32, far above any task of the catalogue
DTYPE = "float32"
VARIATE = "variate"
FROZEN = "frozen"

Vector = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Frozen:
    """The part of a model that training leaves as it is: its tensors, ascending by name, and (d,) values."""

    tensors: tuple[Tensor, ...]
    vector: Vector = field(repr=False)

    def whole(
        self, vector: Vector, tensors: tuple[Tensor, ...]
    ) -> tuple[Vector, tuple[Tensor, ...]]:
        """The whole model of this part and the trained one."""
        every = tuple(sorted((*self.tensors, *tensors), key=lambda each: each.name))
        arrays = unflatten(self.vector, self.tensors) | unflatten(vector, tensors)
        return flatten(arrays, every), every

    def to_bytes(self) -> bytes:
        """As an offer holds it: little-endian float32."""
        return self.vector.astype("<f4", copy=False).tobytes()


def count(tensors: Sequence[Tensor]) -> int:
    """The number d of values in the vector."""
    return sum(math.prod(tensor.shape) for tensor in tensors)


def check_tensors(tensors: Sequence[Tensor]) -> None:
    """Raise ProtocolError(MODEL_INVALID) unless the list is a bounded, canonical description."""
    names = [tensor.name for tensor in tensors]
    if not 1 <= len(names) <= MAX_TENSORS:
        raise _invalid(f"{len(names)} tensors, allowed are 1 to {MAX_TENSORS}")
    if any(first >= second for first, second in itertools.pairwise(names)):
        raise _invalid("tensor names must be unique and ascending")
    if any(size < 1 for tensor in tensors for size in tensor.shape):
        raise _invalid("a tensor has an empty dimension")
    if count(tensors) > MAX_PARAMETERS:
        raise _invalid(f"{count(tensors)} parameters, at most {MAX_PARAMETERS}")


def check_vector(raw: bytes | bytearray | memoryview, tensors: Sequence[Tensor]) -> Vector:
    """The received model as an owned float32 (d,) array.

    Raises:
        ProtocolError: MODEL_INVALID for a wrong length, a value that is not finite, or a tensor
            list that check_tensors rejects.
    """
    check_tensors(tensors)
    expected = 4 * count(tensors)
    size = memoryview(raw).nbytes
    if size != expected:
        raise _invalid(f"{size} bytes where the tensors need {expected}")
    vector = np.frombuffer(raw, dtype="<f4").astype(np.float32)
    if not np.isfinite(vector).all():
        raise _invalid("it holds a value that is not finite")
    return vector


def flatten(arrays: Mapping[str, NDArray[np.float32]], tensors: Sequence[Tensor]) -> Vector:
    """One owned float32 (d,) vector; names and shapes must be exactly those of `tensors`."""
    if set(arrays) != {tensor.name for tensor in tensors}:
        different = sorted(set(arrays) ^ {tensor.name for tensor in tensors})
        raise _invalid(f"the tensor names differ in {', '.join(different)}")
    vector = np.empty(count(tensors), dtype=np.float32)
    at = 0
    for tensor in tensors:
        array = arrays[tensor.name]
        if array.shape != tensor.shape:
            raise _invalid(f"{tensor.name} has shape {array.shape}, expected {tensor.shape}")
        vector[at : at + array.size] = array.ravel()
        at += array.size
    return vector


def unflatten(vector: Vector, tensors: Sequence[Tensor]) -> dict[str, Vector]:
    """Views into `vector`, one per tensor; writing to one writes to the vector."""
    if vector.shape != (count(tensors),):
        raise _invalid(f"a vector of shape {vector.shape} where {count(tensors)} values belong")
    arrays: dict[str, Vector] = {}
    at = 0
    for tensor in tensors:
        size = math.prod(tensor.shape)
        arrays[tensor.name] = vector[at : at + size].reshape(tensor.shape)
        at += size
    return arrays


def part(vector: Vector, tensors: Sequence[Tensor], wanted: Sequence[Tensor]) -> Vector:
    """Of a whole model the values of `wanted`, which must be among `tensors`; owned."""
    arrays = unflatten(vector, tensors)
    return flatten({each.name: arrays[each.name] for each in wanted}, wanted)


def model_hash(
    vector: Vector,
    tensors: Sequence[Tensor],
    variate: Vector | None = None,
    frozen: Frozen | None = None,
) -> bytes:
    """H("model", …) over name, dtype, shape and raw bytes of each tensor; 32 bytes.

    A global control variate counts as further tensors, named "variate/…", a frozen part as "frozen/…".
    """
    arrays = unflatten(vector, tensors)
    if variate is not None:
        found = unflatten(variate, tensors).items()
        arrays |= {f"{VARIATE}/{name}": array for name, array in found}
    if frozen is not None:
        found = unflatten(frozen.vector, frozen.tensors).items()
        arrays |= {f"{FROZEN}/{name}": array for name, array in found}
    return context.model_hash(
        (name, DTYPE, array.shape, np.ascontiguousarray(array, dtype="<f4").tobytes())
        for name, array in arrays.items()
    )


def _invalid(what: str) -> ProtocolError:
    return ProtocolError(RefusalCode.MODEL_INVALID, f"the model is not acceptable: {what}")
