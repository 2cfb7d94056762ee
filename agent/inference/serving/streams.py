"""Lines that come in over one connection, whatever pieces they come in, within limits (docs/models.md, "Many inputs over one connection")."""

import re
from collections.abc import Iterator
from typing import IO, Any

from edgeveil.agent.inference.serving import limits

PART = 1 << 16  # bytes that are asked for at once
_SIZE = re.compile(rb"([0-9a-fA-F]{1,8})\r\n")


class Ended(Exception):
    """The stream is over before its end; says why."""


def lines(source: Any, length: int | None) -> Iterator[bytes]:
    """Each line that is not blank, without its end. `source`: a buffered reader; `length` of the body, None for chunks.

    Raises:
        Ended: a line or all of them are too long, or the body is cut.
    """
    kept, seen, total = bytearray(), 0, 0
    for part in _whole(source, length) if length is not None else _chunks(source):
        total += len(part)
        if total > limits.MOST_STREAMED:
            raise Ended(f"more than {limits.MOST_STREAMED} bytes")
        kept += part
        begin = 0
        while (end := kept.find(b"\n", max(begin, seen))) >= 0:
            if kept[begin:end].strip():
                yield bytes(_bounded(kept[begin:end]))
            begin = end + 1
        del kept[:begin]
        seen = len(_bounded(kept))
    if kept.strip():
        yield bytes(kept)


def _bounded(line: bytearray) -> bytearray:
    if len(line) > limits.MOST_LINE:
        raise Ended(f"a line of more than {limits.MOST_LINE} bytes")
    return line


def _whole(source: IO[bytes], left: int) -> Iterator[bytes]:
    while left:
        part = _read(source, left)
        left -= len(part)
        yield part


def _chunks(source: IO[bytes]) -> Iterator[bytes]:
    """Neither extensions nor trailers are read: the connection ends behind the last chunk."""
    while True:
        size = _SIZE.fullmatch(source.readline(11))
        if size is None:
            raise Ended("a chunk without its length")
        if not (left := int(size[1], 16)):
            return
        while left:
            part = _read(source, left)
            left -= len(part)
            yield part
        if source.read(2) != b"\r\n":
            raise Ended("a chunk that is longer than it says")


def _read(source: Any, most: int) -> bytes:
    part: bytes = source.read1(min(most, PART))
    if not part:
        raise Ended("the body ends early")
    return part
