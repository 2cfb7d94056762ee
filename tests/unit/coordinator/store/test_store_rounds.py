"""Runs, attempts, round records and what is counted over them in the database."""

import subprocess
import sys
import threading
from dataclasses import replace

import pytest

from edgeveil.coordinator.records.records import Outcome, RoundRecord, RunState, Totals
from edgeveil.coordinator.store.migrations.versions.v0003_totals import CHARGED
from edgeveil.coordinator.store.store import Store
from edgeveil.shared.base.errors import ConfigError, StateDamaged


def record(run_id, round_number=1, attempt=1, outcome=Outcome.COMMITTED, **more):
    return RoundRecord(run_id, round_number, attempt, outcome, **more)


def test_runs_are_listed_in_the_order_of_their_creation(store):
    runs = [store.create_run(f"plan {n}", "hash") for n in range(3)]
    assert store.runs() == runs
    assert store.last_run() == runs[-1]
    store.set_run_state(runs[0].run_id, RunState.FAILED, "budget")
    assert store.run(runs[0].run_id) == replace(runs[0], state=RunState.FAILED, reason="budget")
    with pytest.raises(ConfigError, match="no run 'x'"):
        store.run("x")


def test_an_attempt_number_is_never_given_twice(tmp_path, store):
    run = store.create_run("plan", "hash").run_id
    assert store.last_attempt(run, 1) == 0
    assert store.open_attempt(run, 1) == 1
    with Store.open(tmp_path) as after_a_crash:
        assert after_a_crash.last_attempt(run, 1) == 1
        assert after_a_crash.open_attempt(run, 1) == 2
        assert after_a_crash.open_attempt(run, 2) == 1
    with pytest.raises(ConfigError, match="no run"):
        store.open_attempt("run-x", 1)


def test_threads_never_share_an_attempt(store):
    run = store.create_run("plan", "hash").run_id
    found = []

    def take():
        found.extend(store.open_attempt(run, 1) for _ in range(10))

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == list(range(1, 41))


def test_a_round_comes_back_as_it_was_recorded(store):
    run = store.create_run("plan", "hash").run_id
    store.open_attempt(run, 1)
    full = record(
        run,
        reason="",
        selected=("a", "b", "c"),
        survived=("a", "b"),
        dropped=("c",),
        dropped_reasons={"c": "deadline"},
        stage_seconds={"ROUND": 1.5},
        metrics={"accuracy": 0.9},
        seconds=2.5,
        bytes_up=10,
        bytes_down=20,
        model_sha256="ab",
        result_hash="cd",
        finished=5.0,
        extra={"epsilon": 1.25, "note": ["x"]},
    )
    assert store.record_round(full) == full
    assert store.rounds() == [full]
    assert store.last_committed(run) == full


def test_the_json_of_a_round_starts_with_the_promised_fields(store):
    values = record("run-1", selected=("a",), dropped_reasons={"b": "lost"}).as_json()
    promised = {"run", "round", "attempt", "outcome", "reason", "selected", "survived", "dropped"}
    promised |= {"metrics", "seconds", "bytes_up", "bytes_down", "model_sha256"}
    assert promised <= values.keys()
    assert values["outcome"] == "committed"
    assert values["selected"] == ["a"]
    assert RoundRecord.from_json(values | {"from": "a newer version"}) == record(
        "run-1", selected=("a",), dropped_reasons={"b": "lost"}
    )


def test_only_an_open_attempt_can_be_recorded_and_only_once(store):
    run = store.create_run("plan", "hash").run_id
    with pytest.raises(ValueError, match="not open"):
        store.record_round(record(run))
    store.open_attempt(run, 1)
    store.record_round(record(run))
    with pytest.raises(ValueError, match="not open"):
        store.record_round(record(run))


def test_a_round_cannot_be_committed_twice(store):
    run = store.create_run("plan", "hash").run_id
    for _ in range(2):
        store.open_attempt(run, 1)
    store.record_round(record(run, attempt=1))
    with pytest.raises(ValueError, match="committed already"):
        store.record_round(record(run, attempt=2))
    store.record_round(record(run, attempt=2, outcome=Outcome.ABORTED))


def test_a_number_that_is_not_finite_is_not_recorded(store):
    run = store.create_run("plan", "hash").run_id
    store.open_attempt(run, 1)
    with pytest.raises(ValueError, match="JSON"):
        store.record_round(record(run, metrics={"loss": float("nan")}))
    assert store.rounds() == []


def test_what_a_crash_left_open_is_recorded_as_aborted(store):
    run = store.create_run("plan", "hash").run_id
    other = store.create_run("plan", "hash").run_id
    store.open_attempt(run, 1)
    store.record_round(record(run))
    store.open_attempt(run, 2)
    store.open_attempt(other, 1)
    abandoned = store.abandon_open_attempts(run, "restart")
    assert [(one.round, one.outcome, one.reason) for one in abandoned] == [
        (2, Outcome.ABORTED, "restart")
    ]
    assert store.abandon_open_attempts(run, "restart") == []
    assert [one.round for one in store.rounds(run)] == [1, 2]
    assert store.last_committed(run).round == 1
    assert store.last_committed(other) is None


def test_an_unreadable_record_is_named(store):
    run = store.create_run("plan", "hash").run_id
    store.open_attempt(run, 1)
    store.record_round(record(run))
    with store._database.writing() as connection:
        connection.exec_driver_sql("UPDATE rounds SET record = '{\"run\": 1}'")
    with pytest.raises(StateDamaged, match=f"{run} round 1 attempt 1"):
        store.rounds()


def test_a_killed_writer_leaves_every_acknowledged_round(tmp_path):
    code = (
        "import os, pathlib, signal, sys\n"
        "from edgeveil.coordinator.records.records import Outcome, RoundRecord\n"
        "from edgeveil.coordinator.store.store import Store\n"
        "store = Store.open(pathlib.Path(sys.argv[1]), create=True)\n"
        "run = store.create_run('plan', 'hash').run_id\n"
        "for number in range(1, 6):\n"
        "    attempt = store.open_attempt(run, number)\n"
        "    store.record_round(RoundRecord(run, number, attempt, Outcome.COMMITTED))\n"
        "    print(number, flush=True)\n"
        "store.open_attempt(run, 6)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True
    )
    assert done.returncode == -9
    with Store.open(tmp_path) as store:
        run = store.last_run().run_id
        assert [one.round for one in store.rounds(run)] == [int(n) for n in done.stdout.split()]
        assert store.last_attempt(run, 6) == 1
        assert store.open_attempt(run, 6) == 2


def test_totals_are_those_of_the_records_and_come_from_the_index_alone(store):
    run_id = store.create_run("{}", "ab").run_id
    assert store.totals(run_id) == Totals()
    outcomes = [Outcome.COMMITTED, Outcome.ABORTED, Outcome.COMMITTED]
    for number, outcome in enumerate(outcomes, start=1):
        store.open_attempt(run_id, number)
        names = tuple(f"agent-{place}" for place in range(6 - number))
        made = record(run_id, number, outcome=outcome, seconds=1.5 * number, bytes_up=number, bytes_down=7, survived=names)  # fmt: skip
        store.record_round(made)
    store.open_attempt(run_id, 4)  # is not finished and does not count
    assert store.totals(run_id) == Totals.of(store.rounds(run_id)) == Totals(2, 1, 9.0, 6, 21, 3)
    query = "EXPLAIN QUERY PLAN SELECT outcome, count(*), sum(seconds), sum(bytes_up), sum(bytes_down), min(survivors) FROM rounds WHERE run_id = 'x' GROUP BY outcome"
    if store.name.startswith("PostgreSQL"):
        return
    with store._database.reading() as connection:
        (plan,) = connection.exec_driver_sql(query).all()
    assert "INDEX rounds_totals" in plan[-1]


def test_the_newest_sum_tells_when_an_agent_was_last_heard(store):
    run_id = store.create_run("{}", "ab").run_id
    for number, names in enumerate([("a", "b"), ("b",)], start=1):
        store.open_attempt(run_id, number)
        store.record_round(record(run_id, number, survived=names, finished=100.0 * number))
    assert store.last_answers() == {"a": 100.0, "b": 200.0}


def test_charges_count_whoever_was_asked_and_did_not_refuse_the_offer(store):
    run_id = store.create_run("{}", "ab").run_id
    reasons = {"b": "refused:BUDGET_WOULD_EXCEED", "c": "refused:CONTEXT_MISMATCH", "d": "deadline"}
    stages = {"dropped_stages": {"b": "round", "c": "masked", "d": "round"}}
    for number in (1, 2):
        store.open_attempt(run_id, number)
        asked = ("a", "b", "c", "d") if number == 1 else ("a",)
        gone = reasons if number == 1 else {}
        store.record_round(record(run_id, number, selected=asked, survived=("a",), dropped_reasons=gone, extra=stages))  # fmt: skip
    assert store.charges(run_id) == {"a": 2, "c": 1, "d": 1}
    if store.name.startswith("PostgreSQL"):
        return
    with store._database.writing() as connection:  # as a database of before has them
        connection.exec_driver_sql("DELETE FROM charges")
        connection.exec_driver_sql(CHARGED)
    assert store.charges(run_id) == {"a": 2, "c": 1, "d": 1}
