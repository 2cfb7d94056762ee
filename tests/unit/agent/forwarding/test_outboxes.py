"""What waits on the disk: in order, bounded, there after a crash, one process at a time."""

import os
import signal
import subprocess
import sys

import pytest

from edgeveil.agent.forwarding.outbox import MOST_PROCESSES, Bound, Entry, Outbox, standing
from edgeveil.shared.base.errors import Busy, StateDamaged, StorageFailed

BOUNDS = {"forward": Bound(3, 1000), "rule fall": Bound(100, 1 << 20)}


def entry(number, lane="forward", body=b"x"):
    return Entry(lane, f"id-{number}", float(number), body)


def ids(outbox, lane="forward"):
    return [each.id for each in outbox.take(lane, 1000)]


@pytest.fixture
def outbox(tmp_path):
    made = Outbox(tmp_path, "serve", BOUNDS)
    yield made
    made.close()


def test_entries_wait_in_their_order_and_lane_until_they_are_done(outbox, tmp_path):
    outbox.put([entry(1), entry(2, "rule fall"), entry(3)])
    assert ids(outbox) == ["id-1", "id-3"]
    outbox.done(outbox.take("forward", 1), "sent")
    assert ids(outbox) == ["id-3"]
    assert standing(tmp_path) == {"forward": {"waiting": 1, "sent": 1}, "rule fall": {"waiting": 1}}


def test_a_full_lane_gives_up_its_oldest_and_counts_them(outbox, tmp_path):
    for number in range(5):
        outbox.put([entry(number)])
    assert ids(outbox) == ["id-2", "id-3", "id-4"]
    outbox.put([entry(9, body=b"y" * 999)])
    assert ids(outbox) == ["id-4", "id-9"]
    assert standing(tmp_path)["forward"] == {"waiting": 2, "dropped": 4}
    assert outbox.waiting("forward") == 2


def test_what_was_put_is_there_for_the_next_process(tmp_path):
    first = Outbox(tmp_path, "serve", BOUNDS)
    first.put([entry(1)])
    first.close()
    second = Outbox(tmp_path, "serve", BOUNDS)
    assert ids(second) == ["id-1"]
    assert second.waiting("forward") == 1
    second.close()


def test_what_was_put_is_there_after_kill_9(tmp_path):
    code = (
        "import pathlib, sys\n"
        "from edgeveil.agent.forwarding.outbox import Bound, Entry, Outbox\n"
        f"box = Outbox(pathlib.Path({str(tmp_path)!r}), 'serve', {{'forward': Bound(10**6, 10**8)}})\n"
        "for n in range(10**6):\n"
        "    box.put([Entry('forward', f'id-{n}', 0.0, b'x')])\n"
        "    print(n, flush=True)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    for _ in range(20):
        last = int(process.stdout.readline())
    process.send_signal(signal.SIGKILL)
    last = int(([str(last), *process.stdout.read().split("\n")[:-1]])[-1])
    process.wait()
    box = Outbox(tmp_path, "serve", {"forward": Bound(10**6, 10**8)})
    found = [each.id for each in box.take("forward", 10**6)]
    assert found[: last + 1] == [f"id-{n}" for n in range(last + 1)]
    assert len(found) <= last + 2
    box.close()


def test_two_processes_of_one_home_have_a_file_each(tmp_path):
    boxes = [Outbox(tmp_path, "serve", BOUNDS) for _ in range(MOST_PROCESSES)]
    assert len({box.path for box in boxes}) == MOST_PROCESSES
    with pytest.raises(Busy):
        Outbox(tmp_path, "serve", BOUNDS)
    boxes[2].close()
    again = Outbox(tmp_path, "serve", BOUNDS)
    assert again.path == boxes[2].path
    for box in [*boxes[:2], *boxes[3:], again]:
        box.close()


def test_a_file_that_is_none_is_told_with_its_name(tmp_path):
    Outbox(tmp_path, "serve", BOUNDS).close()
    (tmp_path / "outbox/serve.db").write_bytes(b"no database at all" * 300)
    for look in (lambda: Outbox(tmp_path, "serve", BOUNDS), lambda: standing(tmp_path)):
        with pytest.raises(StateDamaged, match=r"serve\.db: damaged"):
            look()


def test_nothing_of_a_put_is_kept_when_the_disk_takes_not_all_of_it(tmp_path):
    box = Outbox(tmp_path, "serve", {"forward": Bound(10**6, 1 << 30)})
    box.put([entry(1)])
    (pages,) = box._base.execute("PRAGMA page_count").fetchone()
    box._base.execute(f"PRAGMA max_page_count = {pages + 3}")
    with pytest.raises(StorageFailed, match="free some space"):
        box.put([entry(2), entry(3, body=b"z" * 100_000)])
    assert ids(box) == ["id-1"]
    assert box.waiting("forward") == 1
    box.put([entry(4)])
    assert ids(box) == ["id-1", "id-4"]
    box.close()


def test_the_folder_is_the_owners_alone(outbox):
    assert outbox.path.parent.stat().st_mode & 0o777 == 0o700


def test_what_waits_in_a_lane_that_is_gone_is_found(tmp_path):
    first = Outbox(tmp_path, "serve", BOUNDS)
    first.put([entry(1, "rule fall"), entry(2)])
    first.close()
    second = Outbox(tmp_path, "serve", {"forward": BOUNDS["forward"]})
    assert [each.id for each in second.strangers()] == ["id-1"]
    second.done(second.strangers(), "given up")
    assert second.strangers() == []
    assert ids(second) == ["id-2"]
    second.close()


def test_nobody_else_reads_what_waits(outbox):
    os.umask(0o022)
    outbox.put([entry(1)])
    assert outbox.path.parent.stat().st_uid == os.geteuid()
