"""Ports for servers of tests that are started, stopped and started again."""

import random
import socket
from pathlib import Path

RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


def free_port() -> int:
    """A port of 127.0.0.1 that nobody has, below those the kernel hands out by itself.

    One of its own could be given to somebody else before it is bound, or while its server is down,
    and to a client that knocks at it: then that client is connected with itself.
    """
    lowest = int(RANGE.read_text().split()[0])
    for _ in range(1000):
        port = random.SystemRandom().randrange(10_240, max(lowest, 20_480))
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise AssertionError("a thousand ports were taken")
