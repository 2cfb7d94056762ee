"""Byte strings that may be HTTP, nearly HTTP, or nothing, from a seed; and how they are cut into pieces."""

import random
from collections.abc import Iterator

METHODS = (b"GET", b"POST", b"PUT", b"HEAD", b"get", b"G T", b"", b"CONNECT", b"PRI")
TARGETS = (b"/healthz", b"/v1/join", b"/v1/fleet/push-object", b"*", b"http://x/healthz", b"/" + b"a" * 5000, b"")  # fmt: skip
VERSIONS = (b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b"http/1.1", b"")
ENDS = (b"\r\n", b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r", b"\r\n ", b"\r\r\n")
FIELDS = (
    b"host: x", b"host: y", b"content-length: 5", b"content-length: 0", b"content-length: -1",
    b"content-length: 5, 5", b"content-length : 5", b"Content-Length:\t5 ", b"content-length: 99999999999999",
    b"transfer-encoding: chunked", b"Transfer-Encoding: Chunked", b"transfer-encoding: gzip, chunked",
    b"transfer-encoding:\x0bchunked", b"expect: 100-continue", b"upgrade: websocket", b"connection: close",
    b"connection: upgrade", b"x-\x00: y", b"x: \xff", b": empty", b"no colon", b" folded: x", b"te: trailers",
    b"content-lengthy: 5", b"x: " + b"y" * 3000,
)  # fmt: skip
BODIES = (
    b"", b"hello", b"hellohello", b"0\r\n\r\n", b"5\r\nhello\r\n0\r\n\r\n", b"1\r\nx\r\n" * 40_000,
    b"1;" + b"e" * 5000 + b"\r\nx\r\n", b"\r\n" * 20_000, b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n" * 300,
)  # fmt: skip


def request(draw: random.Random) -> bytes:
    """One input; half of them close to what is allowed."""
    if draw.random() < 0.5:
        head = [b" ".join((draw.choice(METHODS), draw.choice(TARGETS), draw.choice(VERSIONS)))]
        head += draw.choices(FIELDS, k=draw.choice((0, 1, 2, 3, 8, 60)))
    else:
        head = [b"POST /v1/join HTTP/1.1", b"host: x", *draw.sample(FIELDS, draw.randrange(3))]
    usual = draw.random() < 0.7
    lines = b"".join(line + (b"\r\n" if usual else draw.choice(ENDS)) for line in head)
    made = bytearray(lines + (b"\r\n" if usual else draw.choice(ENDS)) + draw.choice(BODIES))
    for _ in range(draw.choice((0, 0, 0, 1, 3))):
        if made:
            made[draw.randrange(min(len(made), 300))] = draw.randrange(256)
    return bytes(made)


def pieces(draw: random.Random, data: bytes) -> Iterator[bytes]:
    size = draw.choice((1, 7, 100, 4096, 1 << 20))
    if size < 100 and len(data) > 2000:
        size = 500
    for at in range(0, len(data), size):
        yield data[at : at + size]
