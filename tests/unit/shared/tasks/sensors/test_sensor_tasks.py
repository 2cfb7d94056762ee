"""What the tasks on columns take, refuse and learn."""

import numpy as np
import pytest
import torch
from conforming_bench import COLUMNS, RANGES, rows, windows
from sensors_bench import SCHEMA, write_table

from edgeveil.shared.base.errors import ConfigError, DataError
from edgeveil.shared.tasks.registry import load, newest
from edgeveil.shared.tasks.spec import tallied


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
        ("rare-classes", {"columns": "a 0..1", "labels": "x,y", "knots": 1}, "0 for none"),
        ("tabular", {"columns": "a 0..1", "labels": "x,y", "signed_log": "b 0/1"}, "none of the columns"),
        ("tabular", {"columns": "a 0..1", "labels": "x,y", "signed_log": "a 2/1"}, "outside of the range"),
        ("tabular", {"columns": "a 0..1", "labels": "x,y", "signed_log": "a 0/0"}, "above 0"),
        ("tabular", {"columns": "a 0..1", "labels": "x,y", "signed_log": "a 0"}, "middle/scale"),
        ("forecasting", {"columns": "a 0..1", "target": "a", "signed_log": "a 0/1"}, "in its own unit"),
        ("forecasting", {"columns": "a 0..1", "target": "b"}, "none of the columns"),
        ("forecasting", {"columns": "a 0..1", "target": "a", "window": 20, "ahead": 5}, "15 rows are left"),
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
    return found.metrics(tallied(found, outputs, targets, options), options)


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


@pytest.mark.parametrize("variant", ["changes", "statistics", "gru"])
def test_what_comes_next_is_at_first_that_all_stays_and_rows_after_the_last_seen_change_nothing(
    variant, tmp_path
):
    found = task("forecasting")
    raw = {"columns": RANGES, "target": "wy [rad/s]", "window": 32, "ahead": 3, "variant": variant}
    options = found.parse_options(raw)
    folder = windows(tmp_path / "d", 7)
    inputs, targets = found.load(folder, options).take(np.arange(7))
    with np.load(folder / "d.npz") as archive:
        values = archive["X"].copy()
    assert np.allclose(targets, values[:, -1, 4] / 35, atol=1e-6)
    assert np.allclose(found.build(options)(inputs).detach(), values[:, 28, 4] / 35, atol=1e-6)
    values[:, 29:] = 0
    np.savez(folder / "d.npz", X=values, y=np.zeros(7, np.int64))
    again, targets = found.load(folder, options).take(np.arange(7))
    assert torch.equal(again, inputs)
    assert not targets.any()


def test_the_change_of_a_column_is_learned_from_its_last_rows(tmp_path):
    found = task("forecasting")
    options = found.parse_options({"columns": "a -1..1", "target": "a", "window": 40, "ahead": 2})
    time = np.random.default_rng(5).uniform(0, 6, (400, 1)) + np.arange(40) * 0.3
    write_table(tmp_path / "d", "", 'window = 40\n[[columns]]\nname = "a"\nrange = [-1, 1]\n')
    (tmp_path / "d" / "a.csv").unlink()
    np.savez(tmp_path / "d" / "d.npz", X=(0.9 * np.sin(time))[..., None].astype(np.float32))
    inputs, targets = found.load(tmp_path / "d", options).take(np.arange(400))
    model, loss = found.build(options), found.criterion("mean")
    before = loss(model(inputs), targets).item()
    optimiser = torch.optim.SGD(model.parameters(), 1.4)
    for _ in range(200):
        optimiser.zero_grad()
        loss(model(inputs), targets).backward()
        optimiser.step()
    assert loss(model(inputs), targets).item() < before / 20


def test_changes_are_seen_beside_a_level_far_from_zero_and_no_record_is_longer_than_one(tmp_path):
    found = task("forecasting")
    options = found.parse_options({"columns": "a -1..1", "target": "a", "window": 17})
    still, rising = np.full((2, 17), 0.5)
    rising[11:16] = 0.5 + 0.01 * np.arange(5)
    write_table(tmp_path / "d", "", 'window = 17\n[[columns]]\nname = "a"\nrange = [-1, 1]\n')
    (tmp_path / "d" / "a.csv").unlink()
    jump = np.append(np.full(15, -1.0), [1, 1])
    rows = np.stack([still, rising, jump])[..., None].astype(np.float32)
    np.savez(tmp_path / "d" / "d.npz", X=rows)
    inputs, _ = found.load(tmp_path / "d", options).take(np.arange(3))
    assert torch.linalg.vector_norm(inputs[:, 1:], dim=1).max() <= 1 + 1e-6
    assert not inputs[0, 1:5].any()
    length = np.linalg.norm([0.16] * 4 + [4 * 0.54, 0.3])
    assert np.allclose(inputs[1, 1:5], 0.16 / length, atol=1e-5)
    assert inputs[2, 4] == inputs[2, 5] == torch.max(inputs[2, 1:])  # both cut at four


def test_a_set_point_is_at_zero_and_the_further_end_of_the_range_at_one(tmp_path):
    folder = write_table(
        tmp_path / "d", "temp,load,state\n20,50,ok\n25,50,ok\n-40,50,ok\n85,50,fault\n"
    )
    found = task("tabular")
    raw = {"columns": "temp [°C] -40..85", "labels": "ok,fault", "variant": "mlp"}
    options = found.parse_options(raw | {"signed_log": "temp 20/5"})
    inputs, _ = found.load(folder, options).take(np.arange(4))
    most = np.log1p(13)
    wanted = [0, np.log1p(1) / most, -np.log1p(12) / most, 1]
    assert np.allclose(inputs[:, 0].numpy(), wanted, atol=1e-6)
    assert "signed log of temp 20/5" in found.signature(options)["preprocessing"]


RARE = {"columns": COLUMNS, "labels": "a,b,c", "clip": 100, "count_first": 50}


def gradients(found, options, inputs, targets, counts):
    """(N, parameters of the head) and (N, K) of the counts, of each record."""
    module, losses = found.build(options), found.criterion("none")
    with torch.no_grad():
        module.head.weight.normal_(generator=torch.Generator().manual_seed(0))
        module.counts.weight.copy_(torch.tensor(counts)[:, None])
    each = losses(module(inputs), targets)
    rows = [torch.autograd.grad(one, list(module.parameters()), retain_graph=True) for one in each]
    return torch.stack([head.flatten() for head, _ in rows]), torch.stack(
        [c[:, 0] for _, c in rows]
    )


def test_a_record_counts_itself_once_and_fits_into_the_clipping_norm_however_wrong_the_model_is(
    tmp_path,
):
    found = task("rare-classes")
    options = found.parse_options(RARE)
    inputs, targets = found.load(rows(tmp_path / "d", 40), options).take(np.arange(40))
    assert inputs.norm(dim=1).max() <= np.sqrt(1.09)
    head, counts = gradients(found, options, inputs, targets, [4.0, 0.5, -9.0])
    own = torch.nn.functional.one_hot(targets, 3)
    assert torch.allclose(counts, -0.06 * own.float())
    lengths = head.norm(dim=1)
    assert lengths.max() <= 0.08 + 1e-6
    assert lengths.max() > 0.06, "nothing is learned"


def test_classes_are_counted_and_nothing_else_is_learned_until_there_are_enough(tmp_path):
    found = task("rare-classes")
    options = found.parse_options(RARE)
    inputs, targets = found.load(rows(tmp_path / "d", 9), options).take(np.arange(9))
    before, counted = gradients(found, options, inputs, targets, [1.0, 1.0, 0.9])
    assert not before.any()
    assert counted.any()
    after, _ = gradients(found, options, inputs, targets, [1.0, 1.0, 1.1])
    assert after.any()


def test_a_class_that_was_counted_as_rare_is_found_more_often_than_by_a_task_that_does_not_count(
    tmp_path,
):
    random = np.random.default_rng(6)
    rare = np.arange(2000) % 40 == 0
    degrees = np.where(rare, random.normal(40, 12, 2000), random.normal(10, 12, 2000))
    lines = "".join(f"{value:.2f},{'c' if odd else 'a'}\n" for value, odd in zip(degrees, rare, strict=True))  # fmt: skip
    schema = SCHEMA.replace('["ok", "fault"]', '["a", "c"]').split("[[columns]]")
    folder = write_table(tmp_path / "d", "temp,state\n" + lines, "[[columns]]".join([*schema[:2], schema[3]]))  # fmt: skip
    found = {}
    for name, more in (("rare-classes", {"clip": 1000, "knots": 0}), ("tabular", {})):
        made = task(name)
        options = made.parse_options({"columns": "temp [°C] -40..85", "labels": "a,b,c", **more})
        inputs, targets = made.load(folder, options).take(np.arange(2000))
        module, loss = made.build(options), made.criterion("mean")
        optimiser = torch.optim.SGD(module.parameters(), 10.0)
        for _ in range(200):
            optimiser.zero_grad()
            loss(module(inputs), targets).backward()
            optimiser.step()
        found[name] = tallied(made, module(inputs).detach(), targets, options).reshape(3, 3)[2, 2]
        if name == "rare-classes":
            counts = module.counts.weight.detach()[:, 0]
            assert torch.allclose(counts / counts.sum(), torch.tensor([0.975, 0, 0.025]), atol=1e-4)
    assert found["rare-classes"] > 40
    assert found["tabular"] < 20
