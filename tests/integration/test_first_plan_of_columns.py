"""First plans for columns and recordings: devices with such folders take them as they are."""

import json

import pytest
from conforming_bench import moments, pairs, rows, sounds, windows
from fakes_federation import Federation
from first_plan_bench import new

from edgeveil.agent.home.policy import Policy
from edgeveil.agent.home.records.record_policy import record_policy
from edgeveil.coordinator.plan.plan_file import load_plan
from edgeveil.shared.base.errors import ConfigError
from edgeveil.shared.data.kinds import infer as infer_any


@pytest.mark.parametrize(
    ("write", "task", "shape"),
    [
        (windows, "sensor-sequence", [32, 6]),
        (rows, "tabular", [3]),
        (sounds, "audio-command", [8000]),
        (pairs, "multimodal", [28 * 28 + 8000]),
        (moments, "multimodal", [28 * 28 + 8000 + 20 * 2]),
    ],
)
def test_devices_with_columns_or_recordings_accept_the_plan_that_was_written_from_such_a_folder(
    write, task, shape, tmp_path
):
    pieces = [write(tmp_path / f"piece-{number}", 60) for number in range(5)]
    policy = Policy(data=record_policy(infer_any(pieces[0])))
    federation = Federation(tmp_path, 4, policy=policy, pieces=pieces)
    target, found = new(
        tmp_path, "--data", pieces[4], "--agents", 4, "--records", 60, "--test", pieces[4], "--json"
    )
    told = json.loads(found.stdout)
    assert (told["task"].split()[0], told["shape"]) == (task, shape)
    driver, first_round = federation.driver(load_plan(target))
    assert driver.attempt(first_round) is None, federation.store.rounds()[-1].dropped_reasons
    assert federation.store.rounds()[0].metrics["examples"] == 60
    federation.close()


@pytest.mark.parametrize(
    ("arguments", "task", "metric"),
    [
        (["--task", "tabular-regression"], "tabular-regression", "mae"),
        (["--task", "anomaly", "--normal", "a,b"], "anomaly", "roc_auc"),
        (["--task", "rare-classes"], "rare-classes", "macro_f1"),
    ],
)
def test_another_task_than_the_schema_suggests_is_planned_and_taken(
    arguments, task, metric, tmp_path
):
    pieces = [rows(tmp_path / f"piece-{number}", 60) for number in range(5)]
    policy = Policy(data=record_policy(infer_any(pieces[0])))
    federation = Federation(tmp_path, 4, policy=policy, pieces=pieces)
    target, _ = new(
        tmp_path,
        "--data",
        pieces[4],
        "--agents",
        4,
        "--records",
        60,
        "--test",
        pieces[4],
        *arguments,
    )
    plan = load_plan(target)
    assert plan.task.id == task
    driver, first_round = federation.driver(plan)
    assert driver.attempt(first_round) is None, federation.store.rounds()[-1].dropped_reasons
    assert metric in federation.store.rounds()[0].metrics
    federation.close()


def test_what_comes_next_is_planned_for_the_column_that_is_named(tmp_path):
    folder = windows(tmp_path / "piece", 9)
    target, _ = new(tmp_path, "--data", folder, "--agents", 4, "--task", "forecasting", "--target", "ay [g]")  # fmt: skip
    assert load_plan(target).task.options["target"] == "ay [g]"
    with pytest.raises(ConfigError, match="none of the columns"):
        new(tmp_path, "--data", folder, "--agents", 4, "--task", "forecasting", "--target", "ay", "--force")  # fmt: skip


def test_devices_forecast_by_the_plan_that_was_written_from_such_a_folder(tmp_path):
    pieces = [windows(tmp_path / f"piece-{number}", 60) for number in range(5)]
    policy = Policy(data=record_policy(infer_any(pieces[0])))
    federation = Federation(tmp_path, 4, policy=policy, pieces=pieces)
    target, _ = new(tmp_path, "--data", pieces[4], "--agents", 4, "--records", 60, "--test", pieces[4], "--task", "forecasting", "--target", "ay [g]")  # fmt: skip
    plan = load_plan(target)
    assert (plan.task.options["variant"], plan.server.strategy) == ("changes", "fedavgm")
    driver, first_round = federation.driver(plan)
    assert driver.attempt(first_round) is None, federation.store.rounds()[-1].dropped_reasons
    assert "rmse" in federation.store.rounds()[0].metrics
    federation.close()


def test_a_target_or_nothing_to_predict_decides_where_no_task_is_named(tmp_path):
    schema = tmp_path / "schema.toml"
    schema.write_text('[[columns]]\nname = "a"\nrange = [0, 1]\n')
    target, found = new(tmp_path, "--data", tmp_path, "--agents", 4)
    assert load_plan(target).task.id == "anomaly"
    assert "classes" not in found.stdout.splitlines()[0]
    with schema.open("a") as file:
        file.write('[[columns]]\nname = "b"\nunit = "W"\nrole = "target"\nrange = [0, 9]\n')
    target, _ = new(tmp_path, "--data", tmp_path, "--agents", 4, "--force")
    assert load_plan(target).task.options["target"] == "b [W] 0..9"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--task", "anomaly"], "--normal b"),
        (["--task", "anomaly", "--normal", "b,z"], "z: no class of schema.toml"),
        (["--task", "sensor-sequence"], "takes windows, and schema.toml describes rows"),
        (["--task", "feature-head"], "choose one of sensor-sequence"),
        (["--normal", "a"], "--normal is for anomaly"),
        (["--target", "temp [°C]"], "belong together"),
        (["--task", "forecasting", "--target", "temp [°C]"], "takes windows"),
    ],
)
def test_a_task_that_does_not_suit_the_columns_is_told_what_is_missing(arguments, said, tmp_path):
    folder = rows(tmp_path / "piece", 9)
    with pytest.raises(ConfigError, match=said):
        new(tmp_path, "--data", folder, "--agents", 4, *arguments)


def test_tables_under_the_option_of_pictures_are_told_which_option_is_theirs(tmp_path):
    folder = rows(tmp_path / "piece", 9)
    with pytest.raises(ConfigError, match="use --data"):
        new(tmp_path, "--labels-from", folder, "--agents", 4)
    (folder / "schema.toml").unlink()
    with pytest.raises(ConfigError, match="use --data"):
        new(tmp_path, "--labels-from", folder, "--agents", 4)
