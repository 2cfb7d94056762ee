"""The same encoding as shared.secagg.primitives.canonical, under the application's own labels.

Everything signed or hashed outside the aggregation protocol goes through `canon`; the prefix keeps
an application signature from ever being read as a protocol one.
"""

from edgeveil.shared.secagg.primitives.canonical import decode, encode, leading

PREFIX = "edgeveil/app-v1/"


def canon(label: str, *fields: bytes) -> bytes:
    return encode(PREFIX + label, *fields)


def parse(label: str, data: bytes, count: int) -> list[bytes]:
    return decode(PREFIX + label, data, count)


def first(label: str, data: bytes) -> bytes:
    """The first field of a message with any number of fields; the rest is not looked at."""
    return leading(PREFIX + label, data)
