"""The container of a model package: a zip archive with one spelling, so that any tool can unpack it.

Members are stored, in one order, dated 1980-01-01, without comments, extra fields or anything before,
between or after them. What is read is held against the headers that would be written, byte by byte: there
is nothing left to inflate, no second directory to disagree and no path to follow. PKWARE's APPNOTE.TXT,
4.3.7 to 4.3.16.
"""

import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence

LOCAL, CENTRAL, END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
VERSION, STORED, DATE, UNIX = 20, 0, 0x21, 3 << 8  # 1980-01-01; rights below are of a Unix
RIGHTS = 0o100644 << 16
_LOCAL, _CENTRAL, _END = "<4s5H3I2H", "<4s6H3I5H2I", "<4s4H2IH"
MOST_NAME = 40  # characters


class Unreadable(ValueError):
    """The bytes are not the one spelling of these members."""


def encode(members: Mapping[str, bytes]) -> bytes:
    """The archive, in the order of `members`; names are ASCII."""
    parts: list[bytes] = []
    for name, data in members.items():
        parts += (_local(name, data), data)
    return b"".join([*parts, _directory(members)])


def decode(data: bytes, names: Sequence[str], limits: Mapping[str, int]) -> dict[str, bytes]:
    """The members, of which only those of `names` are known, each at most so many bytes.

    Raises:
        Unreadable: anything that encode() would have written otherwise.
    """
    members: dict[str, bytes] = {}
    for name, start, size in _walk(data):
        if name not in names or name in members:
            raise Unreadable(f"a part {name!r} that does not belong there")
        if size > limits[name]:
            raise Unreadable(f"the part {name} has {size} bytes, at most {limits[name]}")
        members[name] = data[start : start + size]
        head = _local(name, members[name])
        if data[start - len(head) : start] != head:
            raise Unreadable(f"the part {name} is damaged")
    if list(members) != [name for name in names if name in members]:
        raise Unreadable("its parts are in another order")
    tail = _directory(members)
    if data[len(data) - len(tail) :] != tail or len(data) != _length(members) + len(tail):
        raise Unreadable("its directory does not fit its parts")
    return members


def _walk(data: bytes) -> Iterator[tuple[str, int, int]]:
    """(name, start, size) of each member, by the local headers alone."""
    at, fixed = 0, struct.calcsize(_LOCAL)
    while data[at : at + 4] == LOCAL:
        if at + fixed > len(data):
            raise Unreadable("it is cut short")
        values = struct.unpack_from(_LOCAL, data, at)
        size, long = values[7], values[9]
        if not 1 <= long <= MOST_NAME:
            raise Unreadable(f"a part with a name of {long} characters")
        start = at + fixed + long
        if start + size > len(data):
            raise Unreadable("it is cut short")
        yield data[at + fixed : start].decode("ascii", "backslashreplace"), start, size
        at = start + size
    if data[at : at + 4] != CENTRAL:
        raise Unreadable("it is no package, or cut short" if at else "it is no package")


def _local(name: str, data: bytes) -> bytes:
    text = name.encode("ascii")
    size = len(data)
    values = (VERSION, 0, STORED, 0, DATE, zlib.crc32(data), size, size, len(text), 0)
    return struct.pack(_LOCAL, LOCAL, *values) + text


def _directory(members: Mapping[str, bytes]) -> bytes:
    entries, at = [], 0
    for name, data in members.items():
        text, size = name.encode("ascii"), len(data)
        head = (UNIX | VERSION, VERSION, 0, STORED, 0, DATE, zlib.crc32(data), size, size)
        tail = (len(text), 0, 0, 0, 0, RIGHTS, at)
        entries.append(struct.pack(_CENTRAL, CENTRAL, *head, *tail) + text)
        at += len(_local(name, b"")) + size
    listed = b"".join(entries)
    count = len(entries)
    return listed + struct.pack(_END, END, 0, 0, count, count, len(listed), at, 0)


def _length(members: Mapping[str, bytes]) -> int:
    fixed = struct.calcsize(_LOCAL)
    return sum(fixed + len(name) + len(data) for name, data in members.items())
