"""The way out of a lane: in order, again until it is taken, never for ever, and never in the way of others."""

import threading
import time

import pytest

from edgeveil.agent.forwarding import courier
from edgeveil.agent.forwarding.courier import Courier
from edgeveil.agent.forwarding.outbox import Bound, Entry, Outbox, standing
from edgeveil.agent.forwarding.trusted import Refused, Undelivered
from edgeveil.shared.base.errors import StorageFailed

LANE = "rule fall"


class Other:
    """Another side that fails as often as told, and refuses some."""

    def __init__(self, failures=0, refuses=()):
        self.failures, self.refuses, self.got, self.tries = failures, set(refuses), [], 0

    def __call__(self, entries):
        self.tries += 1
        if self.tries <= self.failures:
            raise Undelivered("nobody there")
        if self.refuses & {each.id for each in entries}:
            raise Refused("it answered 422")
        self.got += [each.id for each in entries]


@pytest.fixture
def outbox(tmp_path, monkeypatch):
    monkeypatch.setattr(courier, "FIRST_S", 0.02)
    made = Outbox(tmp_path, "serve", {LANE: Bound(1000, 1 << 20)})
    yield made
    made.close()


def put(outbox, *numbers, at=None):
    outbox.put([Entry(LANE, f"id-{n}", time.time() if at is None else at, b"{}") for n in numbers])


def delivered(outbox, other, said, *, seconds=20.0, **options):
    """Until nothing waits any more."""
    made = Courier(outbox, LANE, other, said.append, **options)
    made.start()
    end = time.monotonic() + seconds
    while outbox.waiting(LANE):
        assert time.monotonic() < end, said
        time.sleep(0.01)
    made.stop()
    made.join(5)


def test_what_waits_is_delivered_in_its_order(outbox):
    other, said = Other(), []
    put(outbox, *range(5))
    delivered(outbox, other, said, batch=2)
    assert (other.got, other.tries, said) == ([f"id-{n}" for n in range(5)], 3, [])


def test_a_failure_is_told_once_and_tried_again_until_it_is_taken(outbox):
    other, said = Other(failures=4), []
    put(outbox, 1)
    delivered(outbox, other, said)
    assert other.got == ["id-1"]
    assert said == ["rule fall: not delivered (nobody there); kept, and tried again", "rule fall: delivered again"]  # fmt: skip


def test_the_longer_nobody_takes_it_the_longer_the_pause(outbox, monkeypatch):
    other, pauses = Other(failures=12), []
    made = Courier(outbox, LANE, other, lambda _: None)
    monkeypatch.setattr(made._stopping, "wait", pauses.append)
    put(outbox, 1)
    made.start()
    end = time.monotonic() + 20
    while outbox.waiting(LANE):
        assert time.monotonic() < end
        time.sleep(0.01)
    made._stopping.set()
    made.wake()
    for number, pause in enumerate(pauses):
        whole = 0.02 * 2**number
        assert whole / 2 <= pause <= whole
    assert len(pauses) == 12
    assert len({pause / 0.02 / 2**number for number, pause in enumerate(pauses)}) > 6


def test_one_that_is_refused_takes_no_others_with_it(outbox, tmp_path):
    other, said = Other(refuses={"id-2"}), []
    put(outbox, *range(5))
    delivered(outbox, other, said, batch=10)
    assert other.got == ["id-0", "id-1", "id-3", "id-4"]
    assert standing(tmp_path)[LANE] == {"sent": 4, "refused": 1}


def test_an_alarm_that_has_become_old_is_given_up_and_told(outbox, tmp_path):
    other, said = Other(), []
    put(outbox, 1, at=time.time() - 700)
    put(outbox, 2)
    delivered(outbox, other, said, batch=5, expires_s=600.0)
    assert other.got == ["id-2"]
    assert standing(tmp_path)[LANE] == {"sent": 1, "expired": 1}
    assert "given up" in said[0]


def test_a_delivery_that_hangs_holds_up_neither_put_nor_stop(outbox):
    hanging = threading.Event()
    made = Courier(outbox, LANE, lambda _: hanging.wait(60), lambda _: None)
    put(outbox, 0)
    made.start()
    began = time.monotonic()
    for number in range(20):
        put(outbox, number + 1)
    made.stop()
    made.join(0.2)
    assert time.monotonic() - began < 10
    assert outbox.waiting(LANE) == 21, "what may not have arrived is delivered again"
    hanging.set()
    made._thread.join(5)


def test_what_the_disk_did_not_note_as_delivered_is_not_delivered_again_for_that(outbox, monkeypatch):  # fmt: skip
    other, said, failures = Other(), [], iter(range(3))
    done = outbox.done

    def full(entries, what):
        if next(failures, None) is not None:
            raise StorageFailed("serve.db: disk full; free some space")
        done(entries, what)

    monkeypatch.setattr(outbox, "done", full)
    put(outbox, 1, 2)
    delivered(outbox, other, said)
    assert other.got == ["id-1", "id-2"]
    assert "free some space" in said[0]
