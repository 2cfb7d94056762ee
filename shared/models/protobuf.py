"""Protocol buffers as bytes: fields of a message that nobody vouches for, without a schema.

Written to refuse: what is not well-formed, repeated where it may stand once, or unknown is an error, so that
no other parser can see something else in the same bytes. https://protobuf.dev/programming-guides/encoding
"""

from collections.abc import Iterator, Mapping

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
MOST_FIELDS = 1024  # of one message, unless its reader says otherwise
MOST_NUMBERS = 1024  # of one repeated integer
Value = int | memoryview


class Malformed(ValueError):
    """The bytes are no such message."""


def fields(data: memoryview, most: int = MOST_FIELDS) -> Iterator[tuple[int, int, Value]]:
    """(number, wire type, value) of each field, at most so many; fixed ones as their bytes."""
    at, end, left = 0, len(data), most
    while at < end:
        left -= 1
        if left < 0:
            raise Malformed(f"a message of more than {most} fields")
        tag, at = _varint(data, at)
        number, kind = tag >> 3, tag & 7
        if kind == VARINT:
            value, at = _varint(data, at)
            yield number, kind, value
            continue
        if kind == BYTES:
            size, at = _varint(data, at)
        elif kind in {FIXED32, FIXED64}:
            size = 4 if kind == FIXED32 else 8
        else:
            raise Malformed("a field of an unknown wire type")
        if size > end - at:
            raise Malformed("a length points beyond the end")
        yield number, kind, data[at : at + size]
        at += size


def message(
    data: memoryview,
    known: Mapping[int, int],
    repeated: frozenset[int] = frozenset(),
    most: int = MOST_FIELDS,
) -> dict[int, list[Value]]:
    """The values by field number; `known`: number → wire type, all else is refused.

    A repeated number may also stand packed; its bytes are then one value.
    """
    found: dict[int, list[Value]] = {}
    for number, kind, value in fields(data, most):
        packed = kind == BYTES and number in repeated
        if number not in known or (kind != known[number] and not packed):
            raise Malformed(f"a field {number} that is not allowed")
        if number in found and number not in repeated:
            raise Malformed(f"the field {number} stands twice")
        found.setdefault(number, []).append(value)
    return found


def text(value: Value) -> str:
    """Raise Malformed unless it is UTF-8."""
    if isinstance(value, int):
        raise Malformed("a number where text belongs")
    try:
        return str(value, "utf-8")
    except UnicodeDecodeError as error:
        raise Malformed("a text that is no UTF-8") from error


def part(value: Value) -> memoryview:
    if isinstance(value, int):
        raise Malformed("a number where a message belongs")
    return value


def number(value: Value) -> int:
    if not isinstance(value, int):
        raise Malformed("bytes where a number belongs")
    return value


def numbers(values: list[Value]) -> list[int]:
    """A repeated integer, packed or not."""
    found: list[int] = []
    for value in values:
        if isinstance(value, int):
            found.append(value)
            continue
        at = 0
        while at < len(value) and len(found) <= MOST_NUMBERS:
            one, at = _varint(value, at)
            found.append(one)
    if len(found) > MOST_NUMBERS:
        raise Malformed(f"more than {MOST_NUMBERS} integers in a list")
    return found


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 64:
        if at >= len(data):
            raise Malformed("it ends within a number")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value >> 64:
                break
            return value, at
        shift += 7
    raise Malformed("a number of more than 64 bits")
