"""Tasks on columns through policies, ledgers, the round machine and secure aggregation, in one process."""

import contextlib

import numpy as np
import pytest
from conforming_bench import COLUMNS, RANGES, rows, windows
from fakes_federation import POLICY, Federation, plan_for

from edgeveil.agent.home.data import DataShelf
from edgeveil.agent.home.home import AgentHome
from edgeveil.agent.home.policy import Policy
from edgeveil.agent.home.records.record_policy import record_policy
from edgeveil.agent.rounds.start import declare_data
from edgeveil.coordinator.rounds.driver import RunFailed
from edgeveil.shared.base.errors import DataError
from edgeveil.shared.data.kinds import infer
from edgeveil.shared.wire.messages import Stage

WINDOWS = {"columns": RANGES, "labels": "0,1,2", "window": 32}
ROWS = {"columns": COLUMNS, "labels": "a,b,c"}


def federation(folder, write, count=60):
    pieces = [write(folder / f"piece-{at}", count) for at in range(5)]
    policy = POLICY.model_copy(update={"data": record_policy(infer(pieces[0]))})
    return Federation(folder, pieces=pieces, policy=policy)


def plan(made, task, options, **changes):
    return plan_for(
        4, task__id=task, task__options=options, evaluation__data=str(made.test),
        **{"rounds__count": 3, "training__learning_rate": 1.0, **changes},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("task", "options", "write", "figure"),
    [
        ("sensor-sequence", WINDOWS, windows, "accuracy"),
        ("sensor-sequence", {**WINDOWS, "variant": "gru", "hidden": 8}, windows, "accuracy"),
        ("forecasting", {"columns": RANGES, "target": "ay [g]", "window": 32}, windows, "mae"),
        ("rare-classes", {**ROWS, "knots": 3}, rows, "macro_f1"),
        ("tabular", ROWS, rows, "accuracy"),
        ("tabular-regression", {"columns": COLUMNS, "target": "power [W] 0..500"}, rows, "mae"),
        ("anomaly", {"columns": COLUMNS, "normal": "a"}, rows, "roc_auc"),
    ],
)
def test_it_is_trained_and_measured_in_every_round(task, options, write, figure, tmp_path):
    made = federation(tmp_path, write)
    made.train(plan(made, task, options))
    found = made.store.rounds()
    assert [row.outcome.value for row in found] == ["committed"] * 3
    assert all(row.metrics["examples"] == 60 for row in found)
    assert all(np.isfinite(row.metrics[figure]) for row in found)
    losses = [row.metrics["loss"] for row in found]
    assert len(set(losses)) == 3, "the model does not change"
    made.close()


@pytest.mark.parametrize(
    "options",
    [
        {**ROWS, "columns": "temp [°F] -40..185"},
        {**ROWS, "columns": "pressure [bar] 0..1"},
        {**ROWS, "labels": "a,b"},
    ],
)
def test_a_plan_for_other_columns_or_classes_is_refused_before_data_are_touched(options, tmp_path):
    made = federation(tmp_path, rows)
    asked = plan_for(4, task__id="tabular", task__options=options, rounds__attempts=1)
    with contextlib.suppress(RunFailed):
        made.train(asked, ask=False)
    answers = [reply.refusal for _, _, reply in made.wire.captured if reply.stage is Stage.ROUND]
    assert answers == ["POLICY_TASK"] * 4
    for home, session in zip(made.homes, made.sessions.values(), strict=True):
        assert session._device.shelf._records is None
        ledger = home.ledger_folder / "data" / "ledger.jsonl"
        assert b'"kind":"reserve"' not in ledger.read_bytes()
    made.close()


def test_a_plan_for_some_of_the_columns_in_another_order_is_taken(tmp_path):
    made = federation(tmp_path, rows)
    made.train(plan(made, "tabular", {**ROWS, "columns": "load [%] 0..100, temp [°C] -40..85"}))
    assert [row.outcome.value for row in made.store.rounds()] == ["committed"] * 3
    made.close()


def test_a_device_fixes_its_columns_at_the_first_start_and_reads_nothing_else_later(tmp_path):
    home, folder = AgentHome(tmp_path / "home"), rows(tmp_path / "d", 20)
    told = []
    policy, shelf = declare_data(home, Policy(), folder, told.append)
    assert policy.data.kind == "table"
    assert policy.data.columns == ("temp [°C]", "flow", "load [%]")
    assert (policy.data.target, policy.data.labels) == ("power [W]", ("b", "a", "c"))
    assert Policy.load(home.policy_path) == policy
    assert "20 usable rows, 3 classes (" in told[0]
    assert "data is fixed as" in told[-1]
    assert shelf.count() == 20
    schema = folder / "schema.toml"
    schema.write_text(schema.read_text().replace('unit = "%"', 'unit = "kg"'))
    with pytest.raises(DataError, match="were fixed as"):
        DataShelf(folder, told.append, policy.data.as_schema()).fill()


def test_the_owner_hears_what_is_left_out_and_that_a_range_may_be_wrong(tmp_path):
    folder, told = rows(tmp_path / "d", 20), []
    schema = folder / "schema.toml"
    schema.write_text(schema.read_text().replace("range = [0, 100]", "range = [-1, 0]"))
    with (folder / "a.csv").open("a") as file:
        file.write("\n1,a,,1,1\n")
    DataShelf(folder, told.append, infer(folder)).fill()
    assert "20 usable rows" in told[0]
    assert "1 left out" in told[0]
    assert "has no value in temp" in told[0]
    assert "most values in load lie outside" in told[1]
