"""The gateway's small HTTP client: what it takes from its neighbour, what it gives up on, what it keeps open."""

import asyncio

import pytest

from edgeveil.coordinator.gateway.http import loopback_http
from edgeveil.coordinator.gateway.http.loopback_http import LoopbackClient, NoAnswer

OK = b"HTTP/1.1 200 OK\r\ncontent-type: text/x\r\ncontent-length: 5\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 404 No\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"
LAST = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nno"


class Neighbour:
    """Gives one prepared answer after another; None closes the connection instead."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.connections = 0
        self.requests = []

    async def meet(self, reader, writer):
        self.connections += 1
        while self.answers:
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError:
                break
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            self.requests.append((head, await reader.readexactly(length)))
            answer = self.answers.pop(0)
            if answer is None:
                break
            writer.write(answer)
            await writer.drain()
        writer.close()


def ask(neighbour, times=1, *, before=None):
    """The answers to `times` requests in a row, or the NoAnswer each ended with."""

    async def run():
        server = await asyncio.start_server(neighbour.meet, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        client = LoopbackClient(f"http://127.0.0.1:{port}", None)
        found = []
        for _ in range(times):
            try:
                found.append(await client.post("/v1/x", b"body", {"x-own": "1"}))
            except NoAnswer as error:
                found.append(error)
            if before is not None:
                await before()
        await client.close()
        server.close()
        return found

    return asyncio.run(run())


def test_requests_go_over_one_kept_connection_with_the_callers_headers():
    neighbour = Neighbour(OK, CHUNKED, OK)
    assert ask(neighbour, 3) == [
        (200, "text/x", b"hello"), (404, "", b"hello"), (200, "text/x", b"hello"),
    ]  # fmt: skip
    assert neighbour.connections == 1
    assert all(body == b"body" for _, body in neighbour.requests)
    assert all(head.startswith(b"POST /v1/x HTTP/1.1\r\n") for head, _ in neighbour.requests)
    assert all(b"x-own: 1" in head for head, _ in neighbour.requests)


def test_a_connection_the_neighbour_ends_is_not_used_again():
    neighbour = Neighbour(LAST, OK)
    assert [status for status, *_ in ask(neighbour, 2)] == [200, 200]
    assert neighbour.connections == 2


def test_an_old_connection_is_not_used_again(monkeypatch):
    monkeypatch.setattr(loopback_http, "KEEP_ALIVE_S", 0.0)
    neighbour = Neighbour(OK, OK)
    assert len(ask(neighbour, 2)) == 2
    assert neighbour.connections == 2


@pytest.mark.parametrize(
    "answer",
    [
        None,
        b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nshort",
        b"this is not HTTP\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n" + bytes(9 << 20),
    ],
    ids=["closed", "torn", "no HTTP", "too long"],
)
def test_anything_but_a_whole_answer_is_none_and_the_next_request_goes_on(answer):
    neighbour = Neighbour(answer, OK)
    original, neighbour.answers = neighbour.answers, [answer]

    async def more():
        neighbour.answers = original[1:]

    first, second = ask(neighbour, 2, before=more)
    assert isinstance(first, NoAnswer)
    assert second == (200, "text/x", b"hello")
    assert neighbour.connections == 2


def test_silence_ends_in_time(monkeypatch):
    monkeypatch.setattr(loopback_http, "ANSWER_S", 0.2)
    (found,) = ask(Neighbour(b""))
    assert isinstance(found, NoAnswer)


def test_nobody_there_is_no_answer_either():
    async def run():
        client = LoopbackClient("http://127.0.0.1:1", None)
        with pytest.raises(NoAnswer):
            await client.post("/", b"", {})
        await client.close()
        with pytest.raises(NoAnswer):
            await client.post("/", b"", {})

    asyncio.run(run())
