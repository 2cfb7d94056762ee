"""Whatever bytes come, the framing has one opinion of them, the parser agrees, and they cost little."""

import asyncio
import random
import socket
import threading
import time

import h11
import pytest
from http_fuzz_bench import pieces, request

from edgeveil.coordinator.gateway.http.framing import BadFraming, Expects, Framing, body_length
from edgeveil.coordinator.gateway.http.listener import HttpServer
from edgeveil.coordinator.gateway.http.web import Body, send_json
from edgeveil.coordinator.gateway.vocabulary import GatewaySettings, Rejected

BASE_S, BYTE_S = 0.03, 1e-6  # a few milliseconds, and what 50 ns a byte need, times ten and more
SEEDS = range(300)
MANY = range(1000, 21_000)


def passed(parts):
    """What the parser would see of it, the refusal if there was one, and the state at the end."""
    framing, seen = Framing(), b""
    try:
        for part in parts:
            seen += framing.feed(part)
    except BadFraming as bad:
        return seen, bad.status, None
    return seen, None, framing.expects


def parsed(seen):
    """h11's events, None where it refuses, and what it left."""
    parser, found = h11.Connection(h11.SERVER, 1 << 20), []
    parser.receive_data(seen)
    try:
        while True:
            event = parser.next_event()
            if event is h11.NEED_DATA or event is h11.PAUSED:
                return found, parser.trailing_data[0]
            found.append(event)
    except h11.RemoteProtocolError:
        return None, b""


def check(seed):
    data = request(random.Random(seed))
    whole = passed([data])
    seen, refused, state = passed(pieces(random.Random(seed), data))
    assert (whole[1] is None) == (refused is None)
    assert whole[2] == state
    if refused is None:
        assert seen == whole[0]
    if not seen:
        return  # to the parser, nothing is the end of the connection
    found, rest = parsed(seen)
    if found is None:
        return
    assert [type(event) for event in found].count(h11.Request) == 1
    assert rest == b""
    (asked,) = (event for event in found if isinstance(event, h11.Request))
    names = [name for name, _ in asked.headers]
    assert asked.http_version == b"1.1"
    assert not {b"transfer-encoding", b"expect", b"upgrade"} & set(names)
    assert names.count(b"content-length") <= 1
    if refused is None:
        complete = any(isinstance(event, h11.EndOfMessage) for event in found)
        assert complete == (state is Expects.NOTHING)


def test_framing_and_parser_agree_on_where_a_request_ends_however_it_is_cut():
    for seed in SEEDS:
        check(seed)


@pytest.mark.long
def test_framing_and_parser_agree_on_twenty_thousand_inputs():
    for seed in MANY:
        check(seed)


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_an_honest_request_passes_unchanged_in_any_pieces(size):
    data = b"POST /v1/join HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\n\r\nhello world"
    parts = [data[at : at + size] for at in range(0, len(data), size)]
    framing = Framing()
    for _ in range(3):
        assert b"".join(framing.feed(part) for part in parts) == data
        assert framing.expects is Expects.NOTHING
        framing.answered()


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n", 411),
        (b"POST / HTTP/1.1\r\ntransfer-encoding: gzip\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\ncontent-length: 1\r\n\r\n", 400),
        (b"POST / HTTP/1.0\r\n\r\n", 400),
        (b"\r\nGET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nContent-Length: 1\r\n\r\n", 400),
    ],
)
def test_what_no_client_of_ours_sends_is_refused_on_its_head(head, status):
    with pytest.raises(BadFraming) as refused:
        body_length(head)
    assert refused.value.status == status


class Running:
    """The listener alone, without TLS, in a loop of its own."""

    def __init__(self):
        settings = GatewaySettings(header_deadline_s=0.2, handshake_deadline_s=0.5)
        self.server = HttpServer(self.serve, settings, lambda status: None)
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        self.call(self.server.start("127.0.0.1", 0, None))

    async def serve(self, scope, receive, send):
        body = Body(scope, receive)
        try:
            await body.read(1 << 14, 0.2)
        except Rejected as rejected:
            await send_json(send, rejected.status, {}, close=True)
            return
        await send_json(send, 200, {})

    def call(self, work):
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(60)

    async def _spent(self):
        return time.thread_time()

    def cost(self, data):
        """Processor seconds of the loop's thread for one connection that says this."""
        before = self.call(self._spent())
        with socket.create_connection(("127.0.0.1", self.server.port), timeout=10) as line:
            try:
                line.sendall(data)
                line.shutdown(socket.SHUT_WR)
                while line.recv(65536):
                    pass
            except OSError:
                pass
        return self.call(self._spent()) - before

    def stop(self):
        self.call(self.server.stop(1.0))
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)


@pytest.fixture(scope="module")
def running():
    made = Running()
    yield made
    made.stop()


def cheapest(running, data):
    """The least of up to three tries: a collection of garbage is not the input's."""
    for _ in range(3):
        spent = running.cost(data)
        if spent < BASE_S + BYTE_S * len(data):
            return True, spent
    return False, spent


@pytest.mark.parametrize("seeds", [range(60), pytest.param(MANY, marks=pytest.mark.long)], ids=["some", "many"])  # fmt: skip
def test_no_input_costs_the_loop_more_than_its_bytes_allow(running, seeds):
    for seed in seeds:
        data = request(random.Random(seed))
        cheap, spent = cheapest(running, data)
        assert cheap, f"seed {seed}: {spent * 1e3:.1f} ms for {len(data)} bytes"


def test_a_quarter_megabyte_of_one_byte_chunks_costs_no_more_than_its_head(running):
    data = b"POST /v1/join HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
    cheap, spent = cheapest(running, data + b"1\r\nx\r\n" * 43_000)
    assert cheap, f"{spent * 1e3:.1f} ms"
