import json
import stat

import jsonschema
import pytest
from enrollment_bench import TurnableClock
from events_bench import read_events

from edgeveil.shared.events.log import KEPT, Event, EventLog, rotated
from edgeveil.shared.events.schema import published, schema


def test_the_published_schema_is_the_one_in_the_code():
    """After a change: .venv/bin/python -m edgeveil.shared.events.schema > shared/events/events-1.schema.json"""
    assert json.loads(published()) == schema()


@pytest.fixture
def validator():
    jsonschema.Draft202012Validator.check_schema(schema())
    return jsonschema.Draft202012Validator(json.loads(published()))


def test_every_line_the_log_can_write_satisfies_the_schema(tmp_path, validator):
    path = tmp_path / "events.jsonl"
    with EventLog(path) as log:
        for event in Event:
            log.emit(event)
            log.emit(
                event, level="alarm", run="run-1", round=1, attempt=2, stage="share", agent="cam-1",
                dur_ms=0, reason="refused:POLICY_SIGMA", size=12, sync=True,
            )  # fmt: skip
        log.emit(Event.AGENT_DROP, agent="not a name\n", reason="loss was 0.3")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(lines) == 2 * len(Event) + 1
    for line in lines:
        validator.validate(line)


@pytest.mark.parametrize(
    "change",
    [{"loss": 0.3}, {"event": "agent.cheat"}, {"reason": "two words"}, {"ts": "now"}, {"level": "x"}],
)  # fmt: skip
def test_the_schema_refuses_what_must_not_be_logged(validator, change):
    line = {"ts": 1.5, "level": "info", "event": "round.start"}
    validator.validate(line)
    with pytest.raises(jsonschema.ValidationError):
        validator.validate(line | change)


def test_a_full_log_is_put_aside_and_read_back_in_order(tmp_path):
    path = tmp_path / "events.jsonl"
    with EventLog(path, clock=TurnableClock(), rotate_bytes=400) as log:
        for number in range(1, 31):
            log.emit(Event.ROUND_START, run="run-1", round=number)
    files = sorted(tmp_path.iterdir())
    assert 3 < len(files) <= KEPT + 1
    assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in files)
    assert all(file.stat().st_size < 500 for file in files)
    assert [line.round for line in read_events(path)] == list(range(1, 31))


def test_only_the_oldest_lines_of_an_overfull_log_are_gone(tmp_path):
    path = tmp_path / "events.jsonl"
    with EventLog(path, rotate_bytes=1) as log:
        for number in range(1, 31):
            log.emit(Event.ROUND_START, round=number)
    assert not rotated(path, KEPT + 1).exists()
    kept = [line.round for line in read_events(path)]
    assert kept == list(range(31 - KEPT, 31))


def test_a_watcher_sees_every_line_as_it_is_written(tmp_path):
    seen = []
    with EventLog(tmp_path / "events.jsonl", watch=seen.append) as log:
        log.emit(Event.ROUND_START, run="run-1", round=1)
    assert seen == list(read_events(tmp_path / "events.jsonl"))
