"""One hostile peer, at line rate, for some seconds: python floods_bench.py KIND PORT SECONDS CONNECTIONS.

It ends by itself and reaches 127.0.0.1 only. Agents' kinds read the agent's keys from standard input
as JSON. Prints one JSON line: the bytes sent and the connections made.
"""

import asyncio
import json
import socket
import ssl
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from edgeveil.agent.joining.signed_post import signed_headers
from edgeveil.shared.wire.identity import Identity

GET = b"GET /healthz HTTP/1.1\r\nhost: x\r\n"
JOIN = b"POST /v1/join HTTP/1.1\r\nhost: x\r\n"
CHUNKED = b"transfer-encoding: chunked\r\n\r\n"
OBJECT, MESSAGES, BEAT = "push-object", "push-messages", "send-node-heartbeat"
MIB = 1 << 20
RECORDS = 512  # of one byte, sealed at once
Pieces = Iterator[bytes | list[bytes]]  # a list: one TLS record for each


class Line:
    """One TLS connection whose records are cut by hand."""

    def __init__(self, port: int) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out)
        self._port = port
        self.socket = socket.socket()
        self.socket.setblocking(False)
        self.sent = 0

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        await loop.sock_connect(self.socket, ("127.0.0.1", self._port))
        while True:
            try:
                self._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                await self._flush()
                data = await loop.sock_recv(self.socket, 1 << 16)
                if not data:
                    raise ConnectionResetError from None
                self._in.write(data)
        await self._flush()

    async def send(self, data: bytes | list[bytes]) -> None:
        for piece in data if isinstance(data, list) else [data]:
            self._tls.write(piece)
        await self._flush()

    async def answer(self) -> None:
        """Until something came."""
        data = await asyncio.get_running_loop().sock_recv(self.socket, 1 << 16)
        if not data:
            raise ConnectionResetError
        self._in.write(data)

    async def _flush(self) -> None:
        data = self._out.read()
        self.sent += len(data)
        await asyncio.get_running_loop().sock_sendall(self.socket, data)


class Keys:
    """An agent's, as the roster has them."""

    def __init__(self, text: str) -> None:
        told = json.loads(text)
        self._node = load_pem_private_key(told["node_key"].encode(), None)
        self._public = told["node_public"].encode()
        self._signer = Identity(Ed25519PrivateKey.from_private_bytes(bytes.fromhex(told["seed"])))
        self._session = told["session"]

    def head(self, operation: str, body: bytes, last: str) -> bytes:
        path = "/v1/fleet/" + operation
        fields = signed_headers(self._node, self._public, self._signer, self._session, path, body)
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        return f"POST {path} HTTP/1.1\r\nhost: x\r\n{lines}{last}\r\n".encode()

    def request(self, operation: str, body: bytes) -> bytes:
        return self.head(operation, body, f"content-length: {len(body)}\r\n") + body


def endless(first: bytes, then: bytes | list[bytes]) -> Pieces:
    yield first
    while True:
        yield then


def tree() -> bytes:
    """A push-messages request of a megabyte whose tree has as many nodes as fit."""
    children = b"\x12\x00" * (MIB // 2 - 100)
    size = bytearray()
    left = len(children)
    while left >= 0x80:
        size.append(left & 0x7F | 0x80)
        left >>= 7
    size.append(left)
    return b"\x12\x00\x1a" + bytes(size) + children


_CHUNKS = b"1\r\nx\r\n" * 4000
_HEAD = GET + b"".join(b"x-%02d: %b\r\n" % (n, b"y" * 190) for n in range(36)) + b"\r\n"
STRANGERS: dict[str, Callable[[], Pieces]] = {
    "chunks": lambda: endless(JOIN + CHUNKED, _CHUNKS),
    "bodies": lambda: endless(JOIN + b"content-length: 300000000\r\n\r\n", b"z" * (1 << 16)),
    "slow-bodies": lambda: endless(JOIN + b"content-length: 16000\r\n\r\n", [b"z"] * RECORDS),
    "records": lambda: endless(GET + b"x: ", [b"y"] * RECORDS),
    "heads": lambda: endless(_HEAD, _HEAD * 8),
    "garbage": lambda: endless(b"\x00", b"\r\n" * (1 << 15)),
    "pipelined": lambda: endless(GET + b"\r\n", (GET + b"\r\n") * 400),
}
ASKING: dict[str, bytes] = {  # one request after each answer
    "requests": GET + b"\r\n",
    "lost": b"GET /nothing HTTP/1.1\r\nhost: x\r\n\r\n",
    "joins": JOIN + b"content-length: 2\r\n\r\n{}",
}
SHORT = ("handshakes", "connects")
AGENTS = (
    "agent-chunks", "agent-records", "agent-bodies", "agent-requests", "agent-trees", "agent-health",
)  # fmt: skip
KINDS = (*STRANGERS, *ASKING, *SHORT, *AGENTS)


def agents_pieces(kind: str, keys: Keys) -> Pieces:
    """Of the kinds that do not wait for an answer."""
    if kind == "agent-chunks":
        return endless(keys.head(OBJECT, b"", CHUNKED[:-2].decode()), _CHUNKS)
    head = keys.head(OBJECT, b"", f"content-length: {6 * MIB}\r\n")
    return endless(head, [b"z"] * RECORDS)


def agents_request(kind: str, keys: Keys) -> bytes:
    if kind == "agent-bodies":
        return keys.request(OBJECT, b"\xff" * (6 * MIB - 1000))
    if kind == "agent-trees":
        return keys.request(MESSAGES, tree())
    return keys.request(BEAT, b"")


async def spoken(kind: str, keys: Keys | None) -> AsyncIterator[tuple[bytes | list[bytes], bool]]:
    """What to send on one connection, and whether to wait for an answer to it."""
    if kind in STRANGERS or kind in {"agent-chunks", "agent-records"}:
        for piece in STRANGERS[kind]() if kind in STRANGERS else agents_pieces(kind, keys):
            yield piece, False
    while kind in ASKING:
        yield ASKING[kind], True
    if kind == "agent-health":
        yield keys.request(BEAT, b""), True
        while True:
            yield GET + b"\r\n", True
    while kind in AGENTS:
        yield agents_request(kind, keys), True


async def attack(kind: str, port: int, until: float, keys: Keys | None, told: list[int]) -> None:
    while time.monotonic() < until:
        line = Line(port)
        try:
            if kind == "connects":
                loop = asyncio.get_running_loop()
                await loop.sock_connect(line.socket, ("127.0.0.1", port))
                continue
            await line.open()
            async for piece, waits in spoken(kind, keys):
                await line.send(piece)
                if waits:
                    await line.answer()
                if time.monotonic() > until:
                    break
        except (OSError, ssl.SSLError):
            await asyncio.sleep(0)
        finally:
            line.socket.close()
            told[0] += line.sent
            told[1] += 1


async def main(kind: str, port: int, seconds: float, connections: int, keys: Keys | None) -> None:
    told = [0, 0]
    until = time.monotonic() + seconds
    tasks = [attack(kind, port, until, keys, told) for _ in range(connections)]
    try:
        async with asyncio.timeout(seconds + 1):
            await asyncio.gather(*tasks)
    except TimeoutError:
        pass
    sys.stdout.write(json.dumps({"bytes": told[0], "connections": told[1]}) + "\n")


if __name__ == "__main__":
    kind, port, seconds, connections = sys.argv[1:]
    keys = Keys(sys.stdin.read()) if kind in AGENTS else None
    asyncio.run(main(kind, int(port), float(seconds), int(connections), keys))
