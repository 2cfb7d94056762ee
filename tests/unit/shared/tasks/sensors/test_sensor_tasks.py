"""What the tasks on columns take, refuse and learn."""

import numpy as np
import pytest
import torch
from conforming_bench import COLUMNS, RANGES, rows, windows
from sensors_bench import SCHEMA, write_table

from edgeveil.shared.base.errors import ConfigError, DataError
from edgeveil.shared.tasks.registry import load, newest


def task(name):
    return load(newest(name))


@pytest.mark.parametrize(
    ("variant", "size"),
    [("statistics", 1_792), ("cnn1d", 11_943), ("lstm", 18_887), ("gru", 14_279)],
)
def test_seven_exercises_from_a_watch_have_the_documented_parameters(variant, size):
    found = task("sensor-sequence")
    options = found.parse_options(
        {"columns": RANGES, "labels": "a,b,c,d,e,f,g", "variant": variant}
    )
    assert sum(np.prod(each.shape) for each in found.tensors(options)) == size
    assert options.motion


@pytest.mark.parametrize(
    ("name", "raw", "fault"),
    [
        ("tabular", {}, "options.columns: Field required; options.labels"),
        ("tabular", {"columns": "a 0..1", "labels": "x"}, "1 classes; 2 to 1000"),
        ("tabular", {"columns": "a 0..1", "labels": "x,x"}, "named twice"),
        ("tabular", {"columns": "a 0..1", "labels": "x,"}, "cannot be the name"),
        ("tabular", {"columns": "a", "labels": "x,y"}, r"name \[unit\] low..high"),
        ("tabular", {"columns": "a 0..1, a 0..1", "labels": "x,y"}, "named twice"),
        ("tabular", {"columns": "a 0..1", "labels": "x,y", "hidden": 5000}, "options.hidden"),
        ("tabular-regression", {"columns": "a 0..1", "target": "a 0..1"}, "one of the columns too"),
        ("tabular-regression", {"columns": "a 0..1", "target": "b"}, "low..high"),
        ("sensor-sequence", {"columns": "a 0..1", "labels": "x,y", "window": 8}, "options.window"),
        ("sensor-sequence", {"columns": ",".join(f"c{at} 0..1" for at in range(40)), "labels": "x,y"}, "at most 32"),
        ("anomaly", {"columns": ",".join(f"c{at} 0..1" for at in range(200)), "window": 4000, "hidden": 1024}, "parameters, at most"),
        ("anomaly", {"columns": "a 0..1", "false_alarms": 0}, "options.false_alarms"),
    ],
)  # fmt: skip
def test_refuses_options_that_name_no_columns_or_too_much(name, raw, fault):
    with pytest.raises(ConfigError, match=fault):
        task(name).parse_options(raw)


def test_columns_are_taken_by_name_in_the_plans_order_and_scaled_by_its_range(tmp_path):
    folder = write_table(tmp_path / "d")
    found = task("tabular")
    options = found.parse_options(
        {"columns": "load [%] 0..200, temp [°C] 0..40", "labels": "fault,ok", "variant": "mlp"}
    )
    inputs, targets = found.load(folder, options).take(np.arange(3))
    assert inputs.tolist() == [[-0.5, 0], [0, 1], [-1, -1]]  # beyond the plan's range is cut
    assert targets.tolist() == [1, 0, 1]


@pytest.mark.parametrize("columns", ["load [W] 0..100", "pressure [bar] 0..100", "load 0..100"])
def test_other_columns_than_the_owners_are_refused_before_they_are_read(columns, tmp_path):
    folder = write_table(tmp_path / "d")
    found = task("tabular")
    options = found.parse_options({"columns": columns, "labels": "fault,ok"})
    with pytest.raises(DataError, match="the plan asks for"):
        found.load(folder, options)


def test_records_without_labels_are_all_normal(tmp_path):
    schema = SCHEMA.split('[[columns]]\nname = "state"')[0]
    folder = write_table(tmp_path / "d", schema=schema)
    found = task("anomaly")
    records = found.load(folder, found.parse_options({"columns": "temp [°C] -40..85"}))
    assert records.targets.tolist() == [0, 0, 0]


def trained(found, options, records, steps=150, rate=0.05):
    module, criterion = found.build(options), found.criterion("mean")
    optimizer = torch.optim.Adam(module.parameters(), lr=rate)
    inputs, targets = records.take(np.arange(len(records)))
    for _ in range(steps):
        optimizer.zero_grad()
        criterion(module(inputs), targets).backward()
        optimizer.step()
    outputs = module(inputs).detach()
    return found.metrics(found.tally(outputs, targets, options), options)


@pytest.mark.parametrize("variant", ["statistics", "cnn1d", "gru"])
def test_windows_of_different_pace_are_told_apart(variant, tmp_path):
    found = task("sensor-sequence")
    raw = {"columns": RANGES, "labels": "0,1,2", "window": 32, "variant": variant, "hidden": 16}
    options = found.parse_options(raw)
    records = found.load(windows(tmp_path / "d", 60), options)
    assert trained(found, options, records)["accuracy"] > 0.9


@pytest.mark.parametrize("variant", ["linear", "mlp"])
def test_a_number_is_predicted_in_its_own_unit(variant, tmp_path):
    found = task("tabular-regression")
    options = found.parse_options(
        {"columns": COLUMNS, "target": "power [W] 0..500", "variant": variant}
    )
    figures = trained(found, options, found.load(rows(tmp_path / "d", 90), options), steps=400)
    assert figures["mae"] < 5
    assert figures["r2"] > 0.99


def test_odd_rows_score_higher_than_those_it_learned_from(tmp_path):
    random = np.random.default_rng(3)
    level = random.uniform(-1, 1, 300)
    odd = np.arange(300) % 10 == 0
    load_ = np.where(odd, random.uniform(-1, 1, 300), level + random.normal(0, 0.03, 300))
    lines = "".join(
        f"{22.5 + 40 * a:.3f},{50 + 40 * b:.3f},{'fault' if o else 'ok'}\n"
        for a, b, o in zip(level, load_, odd, strict=True)
    )
    folder = write_table(tmp_path / "d", f"temp,load,state\n{lines}")
    found = task("anomaly")
    options = found.parse_options(
        {"columns": "temp [°C] -40..85, load [%] 0..100", "normal": "ok", "false_alarms": 50, "latent": 1}
    )  # fmt: skip
    figures = trained(found, options, found.load(folder, options), steps=400, rate=0.02)
    assert figures["roc_auc"] > 0.8
    assert figures["detected"] > 0.5
