"""Lanes: integers modulo 2^b, their packing, and the way back from a sum to centred integers.

16-bit lanes live in uint16; 24- and 32-bit lanes live in uint32, where 24 bits are cut only when
packing (docs/protocol.md, "The vector"). All raw bytes are little-endian.
"""

import numpy as np
from numpy.typing import NDArray

from edgeveil.shared.secagg.primitives.canonical import Malformed
from edgeveil.shared.secagg.primitives.errors import Code, Refused
from edgeveil.shared.secagg.primitives.parameters import LANE_BITS, SIGNED, Params, Segment

Ring = NDArray[np.uint16] | NDArray[np.uint32]
Lanes = NDArray[np.int64]
LINE = 64  # bytes of a cache line


def dtype(bits: int) -> np.dtype[np.uint16] | np.dtype[np.uint32]:
    """The little-endian type that computes a lane of `bits`; raises ValueError for other widths."""
    if bits not in LANE_BITS:
        raise ValueError(f"lanes have 16, 24 or 32 bits, not {bits}")
    return np.dtype("<u2") if bits == 16 else np.dtype("<u4")


def zeros(count: int, bits: int) -> Ring:
    """A vector that starts at a cache line, which the processor adds to without splitting loads."""
    kind = dtype(bits)
    room = np.zeros(count * kind.itemsize + LINE, np.uint8)
    start = -room.ctypes.data % LINE
    return room[start : start + count * kind.itemsize].view(kind)


def to_ring(values: Lanes, params: Params, *, bounded: bool = True) -> Ring:
    """A fresh ring vector of `values` (params.lanes,), each within its segment's bound if `bounded`.

    Raises:
        Refused: POLICY_VECTOR for another length or a lane outside its bound.
    """
    if values.dtype != np.int64 or values.shape != (params.lanes,):
        raise Refused(
            Code.POLICY_VECTOR,
            f"expected {params.lanes} lanes of int64, got {values.shape} of {values.dtype}",
        )
    for segment, part in segments(values, params):
        least = -segment.bound if segment.kind == SIGNED else 0
        if bounded and (part.min() < least or part.max() > segment.bound):
            raise Refused(
                Code.POLICY_VECTOR, f"segment {segment.name} holds a lane beyond {segment.bound}"
            )
    lanes = zeros(params.lanes, params.bits)
    lanes[:] = values  # modulo 2^16 or 2^32
    return lanes


def segments(values: Lanes, params: Params) -> list[tuple[Segment, Lanes]]:
    """Each segment with its view into `values`."""
    found, at = [], 0
    for segment in params.segments:
        found.append((segment, values[at : at + segment.count]))
        at += segment.count
    return found


def pack(lanes: Ring, bits: int) -> memoryview:
    """Little-endian bytes, bits/8 per lane; shares memory with `lanes` unless bits is 24."""
    if bits != 24:
        return np.ascontiguousarray(lanes, dtype(bits)).data.cast("B")
    whole = np.ascontiguousarray(lanes, "<u4").view(np.uint8).reshape(-1, 4)
    return np.ascontiguousarray(whole[:, :3]).data.cast("B")


def unpack(data: bytes | bytearray | memoryview, count: int, bits: int) -> Ring:
    """Read `count` lanes; raises Malformed for any other length."""
    if len(data) != count * bits // 8:
        raise Malformed(f"a vector of {len(data)} bytes where {count * bits // 8} are due")
    if bits != 24:
        return np.frombuffer(data, "<u2") if bits == 16 else np.frombuffer(data, "<u4")
    wide = np.zeros((count, 4), np.uint8)
    wide[:, :3] = np.frombuffer(data, np.uint8).reshape(-1, 3)
    return wide.reshape(-1).view("<u4")


def decode_sum(total: Ring, params: Params) -> Lanes:
    """The sum's integers: centred for SIGNED segments, plain for UNSIGNED ones.

    Shifted to the top of its word a lane takes on the word's sign, and keeps it on the way back.
    """
    spare = 8 * total.itemsize - params.bits  # 8 for 24-bit lanes, else 0
    plain: NDArray[np.integer] = total << spare
    centred = plain.view(f"<i{total.itemsize}")
    values = np.empty(len(total), np.int64)
    at = 0
    for segment in params.segments:
        part = slice(at, at + segment.count)
        values[part] = (centred if segment.kind == SIGNED else plain)[part] >> spare
        at += segment.count
    return values


def limb_base(segment: Segment) -> int:
    """Digits of a count are base 2^⌊log2(bound + 1)⌋, so each fits the bound."""
    return 1 << ((segment.bound + 1).bit_length() - 1)


def split_limbs(counts: Lanes, segment: Segment) -> Lanes:
    """Little-endian digits of each count, side by side; (values,) → (count,).

    Raises:
        ValueError: another shape, or a count outside 0..base^limbs − 1.
    """
    base = limb_base(segment)
    if counts.shape != (segment.values,):
        raise ValueError(f"segment {segment.name} takes {segment.values} counts")
    if counts.min() < 0 or int(counts.max()) >= base**segment.limbs:
        raise ValueError(f"segment {segment.name}: a count does not fit {segment.limbs} limbs")
    digits = np.empty((segment.values, segment.limbs), np.int64)
    rest = counts.astype(np.int64)
    for limb in range(segment.limbs):
        digits[:, limb] = rest % base
        rest //= base
    return digits.reshape(-1)


def join_limbs(lanes: Lanes, segment: Segment) -> Lanes:
    """Counts from (sums of) digits; exact because digit sums are integers. (count,) → (values,)."""
    if segment.limbs == 1:
        return lanes.copy()
    powers = np.array([limb_base(segment) ** limb for limb in range(segment.limbs)], np.int64)
    joined: Lanes = lanes.reshape(-1, segment.limbs) @ powers
    return joined
