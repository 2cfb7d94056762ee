"""A heartbeat is sent regularly, sooner after one that failed, and at once when the clock was set."""

import pytest

from edgeveil.agent.flower_link.heartbeat import AGAIN_S, HEARTBEAT_S, LOOK_S, wait_for_beat


class Halt:
    """An event whose waits pass by hand; `jumps` maps a moment to what is added to the wall clock."""

    def __init__(self, *, set_at=None, jumps=()):
        self.now, self.offset, self.set_at, self.jumps = 1000.0, 0.0, set_at, dict(jumps)
        self.looks = 0

    def wait(self, seconds):
        self.looks += 1
        self.now += seconds
        for moment in [moment for moment in self.jumps if self.now >= 1000 + moment]:
            self.offset += self.jumps.pop(moment)
        return self.is_set()

    def is_set(self):
        return self.set_at is not None and self.now >= 1000 + self.set_at

    def passed(self, *, failed=False):
        sent = wait_for_beat(
            self,
            failed=failed,
            wall=lambda: 1.7e9 + self.now + self.offset,
            monotonic=lambda: self.now,
        )
        return sent, self.now - 1000


def test_it_is_regular_and_not_the_same_for_all():
    times = [Halt().passed() for _ in range(50)]
    assert all(sent and 0.9 * HEARTBEAT_S <= at <= 1.1 * HEARTBEAT_S for sent, at in times)
    assert len({at for _, at in times}) > 10


def test_it_comes_sooner_after_one_that_failed():
    sent, at = Halt().passed(failed=True)
    assert (sent, at) == (True, pytest.approx(AGAIN_S))


@pytest.mark.parametrize("jump", [3600.0, -3600.0, 6.0])
def test_it_comes_at_once_when_the_clock_was_set(jump):
    sent, at = Halt(jumps={5.0: jump}).passed()
    assert sent
    assert 5.0 <= at <= 5.0 + LOOK_S


def test_a_clock_that_drifts_a_little_changes_nothing():
    _, at = Halt(jumps={3.0: 0.4, 9.0: -0.3}).passed()
    assert at >= 0.9 * HEARTBEAT_S


def test_it_ends_when_the_link_does():
    sent, at = Halt(set_at=7.0).passed()
    assert not sent
    assert at <= 7.0 + LOOK_S
