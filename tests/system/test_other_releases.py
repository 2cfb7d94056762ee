"""A release and the one before it, as processes of their own over TLS: they work, or one sentence says why not.

Only the versions a side says it speaks differ (tests/system/other_release.py): there is one release so far.
"""

import re
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from events_bench import read_events
from processes_bench import wait_until
from scale_bench import Members, plan_of

SCRIPT = Path(__file__).with_name("other_release.py")
AGENTS, SIZE = 4, 16
SENTENCE = (
    r"TransportError: 127\.0\.0\.1:\d+ speaks another protocol version; update the older of the two"
)


class Releases:
    def __init__(self, folder):
        self.members = Members(folder, AGENTS, SIZE, plan_of(AGENTS, 1))
        self.processes = {}

    def start(self, role, oldest, newest):
        log = self.members.folder / f"{role}.log"
        with log.open("wb") as out:
            self.processes[role] = subprocess.Popen(
                [sys.executable, str(SCRIPT), role, str(self.members.folder), str(oldest), str(newest),
                 str(SIZE)],
                stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
            )  # fmt: skip
        return log

    def committed(self):
        path = self.members.events
        return path.exists() and any(line.event == "round.commit" for line in read_events(path))


@contextmanager
def releases(folder):
    made = Releases(folder)
    try:
        yield made
    finally:
        for process in made.processes.values():
            process.terminate()
        for process in made.processes.values():
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(5)


def test_a_new_coordinator_works_with_agents_of_the_release_before(tmp_path):
    with releases(tmp_path) as made:
        logs = [
            made.start("coordinator", 2, 3),
            made.start("0,1", 2, 2),
            made.start("2,3", 2, 3),
        ]
        wait_until(made.committed, 240, lambda: "\n".join(log.read_text()[-1500:] for log in logs))
        (record,) = made.members.records()
    assert len(record.survived) == AGENTS


@pytest.mark.parametrize(
    ("coordinator", "agents"),
    [((3, 3), (2, 2)), ((2, 2), (2, 3))],
    ids=["agents too old", "agents too new"],
)
def test_releases_that_share_no_version_say_so_in_one_sentence(tmp_path, coordinator, agents):
    with releases(tmp_path) as made:
        made.start("coordinator", *coordinator)
        log = made.start("0,1,2,3", *agents)
        wait_until(
            lambda: len(re.findall(SENTENCE, log.read_text())) >= AGENTS,
            240,
            lambda: log.read_text()[-1500:],
        )
        assert not made.committed()
