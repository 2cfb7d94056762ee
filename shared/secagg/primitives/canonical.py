"""Length-prefixed, labelled byte strings: one spelling per value (docs/protocol.md, "Encodings").

canon(label, f1..fm) = u8(len L) ‖ L ‖ u8(m) ‖ u32(len f) ‖ f for each field,
L = "edgeveil/secagg-v1/" + label. Integers are unsigned big-endian, floats IEEE-754 binary64
big-endian. Parsers never allocate by a length they have not compared with the bytes at hand,
and reject trailing bytes.
"""

import hashlib
import struct
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

PREFIX = "edgeveil/secagg-v1/"


class Malformed(ValueError):
    """The bytes are not the canonical spelling of what was expected."""


def u8(value: int) -> bytes:
    return value.to_bytes(1, "big")


def u16(value: int) -> bytes:
    return value.to_bytes(2, "big")


def u32(value: int) -> bytes:
    return value.to_bytes(4, "big")


def u64(value: int) -> bytes:
    return value.to_bytes(8, "big")


def f64(value: float) -> bytes:
    return struct.pack(">d", value)


def uint(data: bytes, size: int) -> int:
    """Read an unsigned integer of exactly `size` bytes."""
    if len(data) != size:
        raise Malformed(f"expected an integer of {size} bytes, got {len(data)}")
    return int.from_bytes(data, "big")


def encode(full_label: str, *fields: bytes) -> bytes:
    """The encoding itself, for a label that already carries its protocol prefix."""
    parts = [_head(full_label, len(fields))]
    for field in fields:
        parts.append(len(field).to_bytes(4, "big"))
        parts.append(field)
    return b"".join(parts)


@lru_cache(maxsize=256)
def _head(full_label: str, count: int) -> bytes:
    """What precedes the fields; a protocol has few labels and an attempt thousands of messages."""
    label = full_label.encode("ascii")
    return u8(len(label)) + label + u8(count)


def canon(label: str, *fields: bytes) -> bytes:
    return encode(PREFIX + label, *fields)


def digest(label: str, *fields: bytes) -> bytes:
    """H(label, …) = SHA-256 of the canonical bytes; 32 bytes."""
    return hashlib.sha256(canon(label, *fields)).digest()


def decode(full_label: str, data: bytes, count: int) -> list[bytes]:
    """Split `data` into exactly `count` fields of that label.

    Raises:
        Malformed: another label, another number of fields, a length beyond the data, trailing bytes.
    """
    head = _head(full_label, count)
    if data[: len(head)] != head:
        raise Malformed(f"not a {full_label} message of {count} fields")
    fields, at = _take(data, len(head), count)
    if at != len(data):
        raise Malformed(f"{len(data) - at} bytes after the end of {full_label}")
    return fields


def leading(full_label: str, data: bytes) -> bytes:
    """The first field of a message of that label, whatever follows it.

    Raises:
        Malformed: another label, no field, or a length beyond the data.
    """
    head = encode(full_label)[:-1]
    if data[: len(head)] != head or data[len(head) : len(head) + 1] in {b"", b"\x00"}:
        raise Malformed(f"not a {full_label} message")
    fields, _ = _take(data, len(head) + 1, 1)
    return fields[0]


def parse(label: str, data: bytes, count: int) -> list[bytes]:
    return decode(PREFIX + label, data, count)


def list_bytes(items: Iterable[bytes]) -> bytes:
    """list(x1..xr) = u32(r) ‖ u32(len x) ‖ x for each; used as one field."""
    entries = list(items)
    sizes = set(map(len, entries))
    if len(sizes) == 1:  # mostly ids or hashes of a whole cohort: one join instead of a loop
        prefix = u32(sizes.pop())
        return u32(len(entries)) + prefix + prefix.join(entries)
    parts = [u32(len(entries))]
    for item in entries:
        parts.append(len(item).to_bytes(4, "big"))
        parts.append(item)
    return b"".join(parts)


def parse_rows(data: bytes, form: str, *, most: int) -> list[tuple[Any, ...]]:
    """A list whose items are the columns of `form` side by side (struct's letters, big-endian).

    Raises:
        Malformed: more than `most` items, an item of another length, trailing bytes.
    """
    size = struct.calcsize(">" + form)
    count = uint(data[:4], 4)
    if count > most:
        raise Malformed(f"a list of {count} items where {most} are allowed")
    entries = memoryview(data)[4:]
    fits = len(entries) == count * (4 + size)
    if not fits or not set(struct.iter_unpack(f">I{size}x", entries)) <= {(size,)}:
        raise Malformed(f"not a list of {count} items of {size} bytes each")
    return list(struct.iter_unpack(f">4x{form}", entries))


def parse_list(data: bytes, *, most: int, size: int | None = None) -> list[bytes]:
    """Items of a list of at most `most` entries, each of exactly `size` bytes where given."""
    count = uint(data[:4], 4)
    if count > most:
        raise Malformed(f"a list of {count} items where {most} are allowed")
    items, at = _take(data, 4, count)
    if at != len(data):
        raise Malformed(f"{len(data) - at} bytes after the end of a list")
    if size is not None and not set(map(len, items)) <= {size}:
        raise Malformed(f"a list item is not {size} bytes long")
    return items


def _take(data: bytes, at: int, count: int) -> tuple[list[bytes], int]:
    fields = []
    size = len(data)
    for _ in range(count):
        start = at + 4
        end = start + int.from_bytes(data[at:start], "big")
        if start > size or end > size:
            raise Malformed("a length points beyond the end of the message")
        fields.append(data[start:end])
        at = end
    return fields, at
