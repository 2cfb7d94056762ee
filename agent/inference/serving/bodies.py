"""What a client sends after its head, read by a bound: all of it at once, or line by line as it comes."""

from collections.abc import Iterator
from email.message import Message
from http import HTTPStatus
from io import BufferedIOBase

from edgeveil.agent.inference.serving import limits

_BLOCK = 1 << 16
_MOST_SIZE_LINE = 256  # of a chunk, with whatever extensions it names
_MOST_TRAILERS = 64


class BadBody(Exception):
    """`status` and a sentence for whoever sent it; nothing after it can be read."""

    def __init__(self, status: HTTPStatus, why: str) -> None:
        super().__init__(why)
        self.status, self.why = status, why


def length(headers: Message) -> int:
    """Of a body that says it once, in plain decimals. Raises BadBody."""
    told, *more = headers.get_all("Content-Length", [""])
    if more or not told.isascii() or not told.isdecimal() or headers.get("Transfer-Encoding"):
        raise BadBody(HTTPStatus.LENGTH_REQUIRED, "give Content-Length")
    if len(told) > 12 or int(told) > limits.MOST_BODY:
        raise BadBody(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"at most {limits.MOST_BODY} bytes")
    return int(told)


def whole(expected: int, source: BufferedIOBase) -> bytes:
    """Raises BadBody."""
    body = source.read(expected)
    if len(body) < expected:
        raise _early()
    return body


def lines(headers: Message, source: BufferedIOBase) -> Iterator[bytes]:
    """Each as soon as its end has come, without that end; the last needs none. Empty ones are skipped.

    The body is in chunks, or has a length; together its lines may be of any length. Raises BadBody.
    """
    if headers.get("Transfer-Encoding") is None:
        return _lines(_counted(length(headers), source))
    if headers["Transfer-Encoding"].strip().lower() != "chunked" or "Content-Length" in headers:
        raise BadBody(HTTPStatus.LENGTH_REQUIRED, "give Content-Length, or chunks and no length")
    return _lines(_chunks(source))


def _lines(blocks: Iterator[bytes]) -> Iterator[bytes]:
    begun: list[bytes] = []
    size = 0
    for block in blocks:
        *ended, rest = block.split(b"\n")
        for end in ended:
            line = b"".join([*begun, end]).strip()
            begun, size = [], 0
            if len(line) > limits.MOST_LINE:
                raise _long()
            if line:
                yield line
        begun.append(rest)
        size += len(rest)
        if size > limits.MOST_LINE:
            raise _long()
    last = b"".join(begun).strip()
    if last:
        yield last


def _counted(left: int, source: BufferedIOBase) -> Iterator[bytes]:
    while left:
        block = _some(source, left)
        left -= len(block)
        yield block


def _chunks(source: BufferedIOBase) -> Iterator[bytes]:
    while left := _chunk_size(source):
        yield from _counted(left, source)
        if source.readline(3) not in {b"\r\n", b"\n"}:
            raise BadBody(HTTPStatus.BAD_REQUEST, "a chunk is longer than it says")
    for _ in range(_MOST_TRAILERS):
        if source.readline(_MOST_SIZE_LINE) in {b"\r\n", b"\n"}:
            return
    raise BadBody(HTTPStatus.BAD_REQUEST, "the body's chunks do not end")


def _chunk_size(source: BufferedIOBase) -> int:
    line = source.readline(_MOST_SIZE_LINE)
    text = line.partition(b";")[0].strip()
    if not line:
        raise _early()
    if not line.endswith(b"\n") or not 0 < len(text) <= 8 or text.strip(b"0123456789abcdefABCDEF"):
        raise BadBody(HTTPStatus.BAD_REQUEST, "a chunk does not say its size")
    return int(text, 16)


def _some(source: BufferedIOBase, most: int) -> bytes:
    """What has come by now, at least a byte."""
    block: bytes = source.read1(min(most, _BLOCK))
    if not block:
        raise _early()
    return block


def _early() -> BadBody:
    return BadBody(HTTPStatus.BAD_REQUEST, "the body ends early")


def _long() -> BadBody:
    return BadBody(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a line has at most {limits.MOST_LINE} bytes"
    )
