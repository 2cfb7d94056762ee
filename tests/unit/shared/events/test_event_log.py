import json
import os
import re
import stat
import threading

import pytest
from enrollment_bench import NOW, TurnableClock
from events_bench import read_events

from edgeveil.shared.base.errors import StateDamaged
from edgeveil.shared.events.log import Event, EventLine, EventLog, rotated
from edgeveil.shared.events.search import newest, of_round


@pytest.fixture
def path(tmp_path):
    return tmp_path / "events.jsonl"


def test_a_line_carries_the_fields_that_apply_and_no_others(path):
    with EventLog(path, clock=TurnableClock()) as log:
        log.emit(Event.ROUND_COMMIT, run="run-1", round=2, attempt=1, dur_ms=0)
    assert json.loads(path.read_text()) == {
        "ts": NOW,
        "level": "info",
        "event": "round.commit",
        "run": "run-1",
        "round": 2,
        "attempt": 1,
        "dur_ms": 0,
    }


def test_what_was_written_is_read_back_in_order(path):
    with EventLog(path, clock=TurnableClock()) as log:
        log.emit(Event.RUN_START, run="run-1", sync=True)
        log.emit(Event.AGENT_DROP, level="warning", agent="cam-07", reason="refused:POLICY_SIGMA")
    assert list(read_events(path)) == [
        EventLine(NOW, "info", "run.start", run="run-1"),
        EventLine(NOW, "warning", "agent.drop", agent="cam-07", reason="refused:POLICY_SIGMA"),
    ]


def test_only_the_owner_can_read_it(path):
    old = os.umask(0)
    try:
        EventLog(path).close()
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_symlink_is_not_followed(path, tmp_path):
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic"):
        EventLog(path)


@pytest.mark.parametrize(
    "payload", ["loss was 0.31, sad", "a b", "\x1b[31mred", "x\ny", "é", "10.0.0.1 said", "y" * 81]
)
def test_a_sentence_from_a_peer_never_reaches_the_log(path, payload):
    with EventLog(path) as log:
        log.emit(Event.AGENT_DROP, agent=payload, stage=payload, run=payload, reason=payload)
    (line,) = read_events(path)
    assert (line.run, line.stage, line.agent, line.reason) == ("unlisted",) * 4


def test_every_event_is_a_noun_and_a_verb():
    assert all(re.fullmatch(r"[a-z]+\.[a-z]+", event) for event in Event)


def test_a_torn_last_line_is_skipped_and_cut_off_when_writing_goes_on(path):
    with EventLog(path) as log:
        log.emit(Event.RUN_START)
    with path.open("ab") as file:
        file.write(b'{"ts":1.0,"level":"in')
    assert [line.event for line in read_events(path)] == ["run.start"]
    with EventLog(path) as log:
        log.emit(Event.RUN_FINISH)
    assert [line.event for line in read_events(path)] == ["run.start", "run.finish"]


@pytest.mark.parametrize(
    "line",
    [b"nonsense", b"[]", b"{}", b'{"ts":1,"level":"info","event":"party.start"}', b"[" * 3000],
)
def test_a_damaged_line_is_named_by_its_file(path, line):
    with EventLog(path) as log:
        log.emit(Event.RUN_START)
    with path.open("ab") as file:
        file.write(line + b"\n")
    with pytest.raises(StateDamaged, match=r"events.jsonl: not an event"):
        list(read_events(path))


def test_an_absent_log_has_no_events(path):
    assert list(read_events(path)) == []


def test_threads_do_not_mix_their_lines(path):
    with EventLog(path) as log:

        def write(name: str) -> None:
            for number in range(200):
                log.emit(Event.AGENT_REPLY, agent=name, round=number + 1)

        threads = [threading.Thread(target=write, args=(f"a{n}",)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    lines = list(read_events(path))
    assert len(lines) == 800
    assert [line.round for line in lines if line.agent == "a2"] == list(range(1, 201))


def test_a_line_that_does_not_fit_on_the_disk_leaves_no_half_behind(path):
    resource = pytest.importorskip("resource")
    signal = pytest.importorskip("signal")
    log = EventLog(path)
    log.emit(Event.RUN_START)
    size = path.stat().st_size
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, before[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            log.emit(Event.RUN_FINISH)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert path.stat().st_size == size
    log.emit(Event.RUN_STOP)
    log.close()
    assert [line.event for line in read_events(path)] == ["run.start", "run.stop"]


def test_a_closed_log_ignores_late_events(path):
    log = EventLog(path)
    log.close()
    log.emit(Event.RUN_FINISH)
    log.sync()
    log.close()
    assert path.read_bytes() == b""


def test_syncing_keeps_what_was_written(path):
    log = EventLog(path)
    log.emit(Event.RUN_START)
    log.sync()
    assert [line.event for line in read_events(path)] == ["run.start"]
    log.close()


def test_a_line_beyond_any_honest_length_is_damage(path):
    path.write_bytes(b'{"ts":1,"level":"info","event":"run.start","run":"' + b"a" * 5000 + b'"}\n')
    with pytest.raises(StateDamaged, match=r": .*longer than 4096"):
        list(read_events(path))


def test_the_newest_lines_and_those_of_one_round_are_found_across_rotations(tmp_path):
    path = tmp_path / "events.jsonl"
    assert newest(path, 3) == list(of_round(path, 3)) == []
    with EventLog(path, rotate_bytes=400) as log:
        for number in range(1, 41):
            log.emit(Event.ROUND_START, run="run-1", round=number, attempt=1)
            log.emit(Event.ROUND_COMMIT, run="run-1", round=number, attempt=1, dur_ms=number)
    kept = list(read_events(path))
    assert rotated(path, 2).exists()
    assert len(kept) > 20
    for count in (0, 1, 7, len(kept), 1000):
        assert newest(path, count) == kept[len(kept) - min(count, len(kept)) :]
    for number in (3, 4, 39, 40):  # 3 and 4 are not 39 and 40
        assert list(of_round(path, number)) == [line for line in kept if line.round == number]
    with path.open("ab") as file:
        file.write(b'{"ts":1,"level":"info","event":"round.st')
    assert newest(path, 1) == kept[-1:]


def test_a_damaged_line_is_named_where_it_is_asked_for(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"ts":1,"level":"info","event":"no.such","round":7}\n')
    for look in (lambda: newest(path, 1), lambda: list(of_round(path, 7))):
        with pytest.raises(StateDamaged, match=r"events.jsonl: not an event line"):
            look()
    assert list(of_round(path, 8)) == []
