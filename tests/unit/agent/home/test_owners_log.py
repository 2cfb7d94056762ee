"""agent.log stays small and readable whatever a coordinator has this device refuse."""

import logging
import stat

import pytest
from owners_log_bench import logged_to

from edgeveil.agent.home import log
from edgeveil.agent.home.log import log_to


class Clock:
    now = 0.0

    def monotonic(self):
        return self.now

    def wall(self):
        return 1_700_000_000.0 + self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def handler(tmp_path, clock):
    with logged_to(tmp_path / log.FILE, clock) as handler:
        yield handler


@pytest.fixture
def path(handler, tmp_path):
    return tmp_path / log.FILE


ours = logging.getLogger("edgeveil.agent")


def test_a_kind_that_floods_leaves_the_others_and_says_how_often_it_came(path, clock):
    ours.warning("the only %s", "alarm", extra={"kind": "rare"})
    for number in range(1000):
        ours.warning("refused %d", number, extra={"kind": "flood"})
    lines = path.read_text().splitlines()
    assert len(lines) == 1 + log.AT_ONCE
    assert lines[0].endswith("the only alarm")
    clock.now += log.EVERY_S
    ours.warning("refused %s", "100 %s", extra={"kind": "flood"})
    ours.warning("refused again", extra={"kind": "flood"})
    last = path.read_text().splitlines()[1 + log.AT_ONCE :]
    assert [line.partition("WARNING ")[2] for line in last] == [
        "refused 100 %s (and 990 of this kind before it, not written here)"
    ]


def test_faults_of_one_place_are_one_kind(path):
    for number in range(100):
        try:
            raise ValueError(number)
        except ValueError:
            ours.exception("a request could not be answered")
    assert path.read_text().count("Traceback") == log.AT_ONCE


def test_the_files_together_stay_below_their_bound(handler, path, tmp_path, monkeypatch):
    monkeypatch.setattr(handler, "maxBytes", 20_000)
    monkeypatch.setattr(handler, "backupCount", 2)
    for number in range(500):
        try:
            raise ValueError(f"{number} " + "é\n" * 300)
        except ValueError:
            ours.exception("x" * 5000, extra={"kind": str(number)})
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == [log.FILE, f"{log.FILE}.1", f"{log.FILE}.2"]
    assert all(file.stat().st_size < 2 * 20_000 for file in files)
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert "    é\n" in path.read_text()


def test_a_link_in_its_place_is_not_followed(tmp_path):
    (tmp_path / "log").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic"):
        log_to(tmp_path / "log", Clock())
    assert not (tmp_path / "elsewhere").exists()
