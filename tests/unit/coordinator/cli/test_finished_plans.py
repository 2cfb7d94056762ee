"""A plan is carried out once, however often it is handed in."""

import json
from pathlib import Path

import pytest
from desk_bench import desk
from look_bench import fill, initialised, run

from edgeveil.coordinator.plan.config import load_config
from edgeveil.coordinator.plan.plan_file import load_plan
from edgeveil.coordinator.records.records import RunState
from edgeveil.coordinator.runs.runs import submit
from edgeveil.coordinator.serving.serve import Coordinator

BASIC = Path(__file__).parents[4] / "deploy/samples/plan-basic.toml"


@pytest.fixture
def home(tmp_path):
    return initialised(tmp_path)


def finished(store):
    """A run of the sample plan that has ended, with rounds of another one as its own."""
    made, _ = submit(store, load_plan(BASIC))
    other = fill(store, 5)
    with store._database.writing() as connection:
        for table in ("rounds", "charges"):
            connection.exec_driver_sql(
                f"update {table} set run_id = ? where run_id = ?", (made.run_id, other)
            )
        connection.exec_driver_sql("delete from runs where run_id = ?", (other,))
        connection.exec_driver_sql(
            "update rounds set record = json_set(record, '$.run', ?)", (made.run_id,)
        )
    store.set_run_state(made.run_id, RunState.FINISHED)
    return made.run_id


def test_a_finished_plan_is_not_run_again_and_run_says_what_came_of_it(home):
    with desk(home) as made:
        known = finished(made.store)
        said = run(home, "run", BASIC)
        assert f"was carried out before, as {known}" in said.stderr
        assert "round-0005.safetensors" in said.stderr
        assert "accuracy 0." in said.stderr
        assert "--again" in said.stderr
        assert "planned budget" in said.stdout
        assert json.loads(run(home, "run", BASIC, "--json").stdout)["run"] == known
        assert (
            json.loads(run(home, "run", BASIC, "--detach", "--json").stdout)["taken"] == "finished"
        )
        assert [each.state for each in made.store.runs()] == [RunState.FINISHED]
        assert made.execution.next_run() is None


def test_again_makes_one_new_run_that_is_continued_and_not_multiplied(home):
    with desk(home) as made:
        known = finished(made.store)
        for _ in range(2):
            said = json.loads(run(home, "run", BASIC, "--detach", "--json", "--again").stdout)
        assert said["taken"] == "continues"
        first, second = made.store.runs()
        assert (first.run_id, first.state) == (known, RunState.FINISHED)
        assert (second.run_id, second.state) == (said["run"], RunState.QUEUED)


def test_serve_with_a_finished_plan_says_so_and_serves_on_without_it_at_every_start(home, capsys):
    for start in range(3):
        coordinator = Coordinator(home, load_config(home), quiet=True)
        try:
            if start == 0:
                finished(coordinator.store)
            coordinator.take(load_plan(BASIC), again=False)
            assert coordinator._execution.next_run() is None
            assert "serving on without it" in capsys.readouterr().err
        finally:
            coordinator.gateway.start("127.0.0.1", 0, None)
            coordinator.stop()


def test_a_plan_that_wants_more_agents_than_have_joined_is_said_before_round_one(home):
    with desk(home):
        said = run(home, "run", BASIC, "--detach")
    assert "the plan wants 5 agents in a round (rounds.goal), 0 have joined" in said.stderr
    assert "coordinator invite" in said.stderr
