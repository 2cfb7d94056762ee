"""What a read of an agent's connection may cost, seen by the size of the next one; and an answer's records."""

import asyncio
import socket
import ssl
import threading
import time

import pytest

from edgeveil.coordinator.flower_runtime.superlink import self_signed
from edgeveil.coordinator.gateway.http import meter as meters
from edgeveil.coordinator.gateway.http.listener import HttpServer
from edgeveil.coordinator.gateway.http.meter import LEAST_READ, MOST_READ, SMALL_READ, Meter
from edgeveil.coordinator.gateway.http.share import DEPTH_S, Share
from edgeveil.coordinator.gateway.http.web import send_json
from edgeveil.coordinator.gateway.vocabulary import GatewaySettings


class Work(asyncio.Protocol):
    """The layers above: each read costs `busy_s` of the processor and `idle_s` besides."""

    busy_s = idle_s = 0.0

    def data_received(self, _data):
        end = time.thread_time() + self.busy_s
        while time.thread_time() < end:
            pass
        time.sleep(self.idle_s)


class Wire(asyncio.Transport):
    def __init__(self):
        super().__init__()
        self.reading = True

    def write(self, data):
        raise NotImplementedError

    def pause_reading(self):
        self.reading = False

    def resume_reading(self):
        self.reading = True

    def is_closing(self):
        return False

    def abort(self):
        self.reading = False


class Line:
    """One connection, its socket played."""

    def __init__(self, loop):
        self.work = Work()
        self.share = Share(loop)
        self.meter = Meter(
            loop, self.share, "a", lambda _: self.work,
            silence_s=60, inside=None, lost=lambda _: None,
        )  # fmt: skip
        self.wire = Wire()
        self.meter.connection_made(self.wire)

    def size(self):
        return len(self.meter.get_buffer(-1))

    def read(self, part=1.0, *, busy_s=0.0, idle_s=0.0):
        """The socket fills that part of the buffer."""
        self.work.busy_s, self.work.idle_s = busy_s, idle_s
        self.meter.buffer_updated(int(part * self.size()))


@pytest.fixture
def line():
    loop = asyncio.new_event_loop()
    made = Line(loop)
    made.meter.claim()
    yield made
    loop.close()


def test_a_strangers_reads_are_small_and_an_agents_grow_while_they_are_cheap(line):
    line.meter.disown()
    assert line.size() == LEAST_READ
    line.meter.claim()
    for _ in range(20):  # one may be slow because of the machine
        line.read()
    assert line.size() == MOST_READ


def test_reads_shrink_to_a_few_milliseconds_and_grow_again_from_the_smallest(line):
    for _ in range(2):
        line.read(busy_s=0.1)
    assert SMALL_READ <= line.size() < 16 << 10
    for _ in range(2):
        line.read(busy_s=0.1)
    assert line.size() == SMALL_READ
    for _ in range(50):
        line.read()
    assert line.size() == MOST_READ


def test_time_that_the_processor_had_no_part_in_makes_no_read_smaller(line):
    before = line.size()
    for _ in range(4):
        line.read(idle_s=0.01)
    assert line.size() >= before


def test_neither_cheap_little_reads_nor_a_strangers_request_make_costly_reads_large_again(line):
    for _ in range(3):
        line.read(busy_s=0.1)
        line.read(0.5)
        line.meter.disown()
        line.meter.claim()
    assert line.size() < 16 << 10


def test_what_a_stranger_sent_while_its_share_was_used_up_is_kept_and_nothing_more_is_read(line):
    line.meter.disown()
    line.share.charge("a", 1.0)
    seen = []
    line.work.data_received = seen.append
    line.meter.get_buffer(-1)[:5] = b"hello"
    line.meter.buffer_updated(5)
    assert not seen
    assert not line.wire.reading
    line.meter.go()
    assert seen == [b"hello"]
    assert line.wire.reading


def test_a_request_that_turns_out_a_strangers_is_paid_by_strangers(line):
    assert line.share.enough()
    line.share.charge("b", DEPTH_S - line.share.request_s / 2)
    assert line.share.enough()
    line.meter.disown()
    assert not line.share.enough()


@pytest.fixture
def port(tmp_path):
    """A listener with TLS that answers everything."""

    async def app(_scope, _receive, send):
        await send_json(send, 200, {"answer": 42})

    files = tmp_path / "crt", tmp_path / "key"
    for path, content in zip(files, self_signed(), strict=True):
        path.write_bytes(content)
    server = HttpServer(app, GatewaySettings(), lambda _: None)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def call(work):
        return asyncio.run_coroutine_threadsafe(work, loop).result(30)

    call(server.start("127.0.0.1", 0, files))
    yield server.port
    call(server.stop(1.0))
    loop.call_soon_threadsafe(loop.stop)
    thread.join(30)


def test_head_and_body_of_an_answer_are_one_record(port):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with context.wrap_socket(socket.create_connection(("127.0.0.1", port))) as line:
        for _ in range(2):
            line.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
            answer = line.recv(1 << 16)  # one record at most
            assert answer.startswith(b"HTTP/1.1 200")
            assert answer.endswith(b'\r\n\r\n{"answer":42}')


def test_a_strangers_connection_keeps_little_memory_for_what_it_may_send():
    made = meters.Tls(None, None, ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), None, server_side=True)
    assert len(made.get_buffer(LEAST_READ)) == len(made._ssl_buffer) == LEAST_READ
    assert len(made.get_buffer(MOST_READ)) == MOST_READ
    assert len(made.get_buffer(LEAST_READ)) == LEAST_READ
