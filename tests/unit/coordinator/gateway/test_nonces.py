"""No request counts twice, for as long as its time is taken and a little longer."""

import secrets
from types import SimpleNamespace

from edgeveil.coordinator.gateway.nonces import BUCKET_S, Nonces
from edgeveil.shared.wire.request_signature import Session

KEPT_S = 365.0
FIRST, SECOND = Session(1, "a" * 16), Session(2, "b" * 16)


class Node:
    """What of a node counts here, and compared by identity as a node is."""

    def __init__(self, session=FIRST):
        self.session, self.forgotten = session, float("-inf")


class Bench:
    def __init__(self):
        self.now = 1000.0
        self.nonces = Nonces(KEPT_S, SimpleNamespace(monotonic=lambda: self.now))
        self.node = Node()

    def use(self, nonce=None, *, session=FIRST, signed=0.0, node=None):
        return self.nonces.use(nonce or secrets.token_bytes(16), node or self.node, session, signed)


def test_a_nonce_is_refused_again_until_its_time_is_over():
    """Wherever in its bucket it came, it is known for 365 s, and not much longer."""
    for offset in (0.0, 0.1, BUCKET_S - 0.01, BUCKET_S, BUCKET_S + 0.01):
        bench = Bench()
        assert bench.use()
        bench.now += offset
        nonce = secrets.token_bytes(16)
        assert bench.use(nonce)
        used = bench.now
        for later in (0.0, 1.0, 100.0, KEPT_S):
            bench.now = used + later
            assert not bench.use(nonce)
        bench.now = used + KEPT_S + BUCKET_S + 0.01
        assert bench.use(nonce)


def test_what_is_over_takes_no_memory():
    bench = Bench()
    for _ in range(2000):
        bench.use()
        bench.now += 1.0
    assert KEPT_S <= len(bench.nonces) <= KEPT_S + BUCKET_S + 1


def test_nothing_signed_before_a_given_up_nonce_is_taken_in_that_session():
    bench, other = Bench(), Node()
    for signed in (50.0, 70.0, 60.0):
        bench.use(signed=signed)
    bench.use(signed=90.0, node=other)
    bench.now += KEPT_S + BUCKET_S + 1
    bench.use(signed=500.0)
    assert bench.node.forgotten == 70.0
    assert other.forgotten == 90.0


def test_a_session_that_has_ended_says_nothing_of_the_next():
    bench = Bench()
    bench.use(signed=70.0)
    bench.use(signed=30.0, session=SECOND)
    bench.node.session = SECOND
    bench.now += KEPT_S + BUCKET_S + 1
    bench.use(session=SECOND, signed=500.0)
    assert bench.node.forgotten == 30.0
