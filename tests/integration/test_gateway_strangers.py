"""Connections of strangers never keep agents out: they are few, short-lived, and the oldest leave first."""

import select
import socket
import ssl
import time

import pytest
from load_bench import Stopwatch
from transport_bench import PATIENCE_S, federation

from edgeveil.coordinator.gateway.vocabulary import GatewaySettings
from edgeveil.shared.wire.messages import Stage

FEW = GatewaySettings(
    most_strangers=24, most_strangers_per_address=16, stranger_life_s=4.0, hold_s=2.0
)


@pytest.fixture(scope="module")
def bench():
    with federation(2, FEW) as made:
        yield made


def stranger(bench):
    """A connection that keeps its request's body open for ever."""
    context = ssl.create_default_context(cadata=bench.certificate.decode())
    raw = socket.create_connection(("127.0.0.1", bench.gateway.port), timeout=PATIENCE_S)
    connection = context.wrap_socket(raw, server_hostname="127.0.0.1")
    connection.sendall(b"POST /v1/join HTTP/1.1\r\nhost: x\r\ncontent-length: 15000\r\n\r\n")
    return connection


def is_open(connection):
    """Trickle a byte, then read what is there; a connection that was cut ends in it."""
    try:
        connection.sendall(b"x")
        while select.select([connection], [], [], 0.05)[0] or connection.pending():
            if connection.recv(4096) == b"":
                return False
    except OSError:
        return False
    return True


def test_agents_exchange_while_one_address_opens_more_connections_than_are_allowed(bench):
    flood = [stranger(bench) for _ in range(60)]
    with Stopwatch() as watch:
        assert len(bench.exchange(bench.requests(Stage.SHARE))) == 2
    assert watch.within(5), watch
    bench.runtime.forget()
    assert sum(is_open(connection) for connection in flood) <= 16
    assert not is_open(flood[0]), "the oldest had to leave"
    for connection in flood:
        connection.close()


def test_a_stranger_that_goes_on_trickling_is_cut_after_its_time(bench):
    with Stopwatch() as watch:
        connection = stranger(bench)
        until = time.monotonic() + PATIENCE_S
        while is_open(connection) and time.monotonic() < until:
            time.sleep(0.2)
    assert watch.seconds > 2
    assert watch.within(8), watch


def test_an_agent_stays_connected_beyond_a_strangers_life(bench):
    time.sleep(2 * FEW.stranger_life_s)
    assert all(found.connected for found in bench.runtime.presence().values())
    assert len(bench.exchange(bench.requests(Stage.SHARE))) == 2
    bench.runtime.forget()
