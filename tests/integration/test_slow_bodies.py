"""A body that comes a byte at a time is given up at its deadline, be it a stranger's or an agent's."""

import socket
import ssl
import time
from contextlib import suppress

import pytest
from fleet_raw_bench import FLEET, connected_pair
from load_bench import Stopwatch
from transport_bench import PATIENCE_S, federation

from edgeveil.coordinator.gateway.vocabulary import GatewaySettings

SIZE = 5000


@pytest.fixture(scope="module")
def bench():
    with federation(2, GatewaySettings(body_deadline_s=1.0), links=False) as running:
        yield running


def head(path, headers):
    lines = [f"POST {path} HTTP/1.1", "host: x", f"content-length: {SIZE}"]
    return "\r\n".join([*lines, *(f"{k}: {v}" for k, v in headers.items()), "", ""]).encode()


def dripped(bench, request):
    """What comes back while a byte follows the head every tenth of a second."""
    raw = socket.create_connection(("127.0.0.1", bench.gateway.port), timeout=PATIENCE_S)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=bench.certificate.decode())
    with context.wrap_socket(raw, server_hostname="127.0.0.1") as sock:
        sock.sendall(request)
        sock.settimeout(0.1)
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            with suppress(TimeoutError):
                return sock.recv(4096)
            sock.sendall(b"x")
    return b"it still listens"


@pytest.mark.parametrize("who", ["stranger", "agent"])
def test_bytes_that_drip_in_do_not_put_the_deadline_of_a_body_off(bench, who):
    with connected_pair(bench) as (honest, _):
        path = "/v1/join" if who == "stranger" else f"{FLEET}push-object"
        signed = {} if who == "stranger" else honest.headers(path, b"x" * SIZE)
        with Stopwatch() as watch:
            answer = dripped(bench, head(path, signed))
        assert b" 408 " in answer.splitlines()[0]
        assert watch.within(3), watch
