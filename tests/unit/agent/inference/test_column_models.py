"""Models on columns: files are read as training reads them, and a package says what the task would."""

import io
import json

import numpy as np
import pytest
import torch
from models_bench import trained

from edgeveil.agent.inference import columns
from edgeveil.agent.inference.evaluation import evaluate
from edgeveil.agent.inference.inputs import find, read
from edgeveil.agent.inference.predicting import predictions
from edgeveil.agent.inference.runtime import open_model
from edgeveil.coordinator.models.export import export
from edgeveil.coordinator.runs import checkpoint
from edgeveil.shared.base.errors import DataError
from edgeveil.shared.tasks import registry
from edgeveil.shared.tasks.modules import write_vector

ROWS = {"columns": "heat [K] 250..350, load -1..1", "labels": "well,worn"}
MOTION = ", ".join([*(f"a{at} [g] -8..8" for at in range(3)), *(f"w{at} [rad/s] -20..20" for at in range(3))])  # fmt: skip
WINDOWS = {"columns": MOTION, "labels": "rest,walk,run", "window": 20}
SCHEMA = """
[[columns]]
name = "heat"
unit = "K"
header = "T in K"
range = [250, 350]
[[columns]]
name = "load"
range = [-1, 1]
missing = 0.0
[[columns]]
name = "state"
role = "label"
labels = ["worn", "well"]
[[columns]]
name = "note"
role = "ignore"
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """By task: (the package opened, its task, options and module)."""
    found = {}
    for task_id, options in (("tabular", ROWS), ("sensor-sequence", WINDOWS)):
        folder = tmp_path_factory.mktemp(task_id)
        home, run = trained(folder, task_id, scale=1.0, **options)
        export(home, run, "last", folder / "a.evm")
        task = registry.load(registry.newest(task_id))
        parsed = task.parse_options(options)
        module = task.build(parsed).eval()
        saved = checkpoint.load(home / "runs" / run / "round-0002.safetensors")
        write_vector(module, saved.vector, saved.tensors)
        found[task_id] = (open_model(folder / "a.evm"), task, parsed, module)
    return found


def by_the_task(task, options, module, path):
    """(scores, targets) as the coordinator's evaluation would make them."""
    records = task.load(path, options)
    inputs, targets = records.take(np.arange(len(records)))
    with torch.inference_mode():
        return torch.softmax(module(inputs).double(), dim=1).numpy(), targets.numpy()


def table(path, header, rows):
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def test_rows_of_a_table_get_what_the_task_says_of_them(made, tmp_path):
    model, task, options, module = made["tabular"]
    (tmp_path / "schema.toml").write_text(SCHEMA)
    draw = np.random.default_rng(1)
    rows = [f"x,{load:.4f},{'well' if at % 2 else 'worn'},{heat:.3f}" for at, (heat, load) in enumerate(zip(draw.uniform(240, 360, 40), draw.uniform(-2, 2, 40), strict=True))]  # fmt: skip
    file = table(tmp_path / "a.csv", "note,load,state,T in K", rows)
    wanted, targets = by_the_task(task, options, module, tmp_path)
    found = list(predictions(model, find([str(tmp_path)], model.input).paths, io.BytesIO()))
    assert [name for name, _, _ in found] == [f"{file}: line {at + 2}" for at in range(40)]
    got = np.array([list(answer.scores.values()) for _, answer, _ in found])
    assert np.abs(got - wanted).max() < 1e-6
    counts = evaluate(model, tmp_path, quiet=True).counts
    assert counts.sum() == 40
    assert counts.sum(axis=1).tolist() == np.bincount(targets).tolist()
    assert np.trace(counts) == (wanted.argmax(axis=1) == targets).sum()


def test_windows_get_what_the_task_says_of_them_although_no_graph_holds_its_statistics(made, tmp_path):  # fmt: skip
    model, task, options, module = made["sensor-sequence"]
    names = [each.split(" ")[0] for each in MOTION.split(", ")]
    sections = [f'[[columns]]\nname = "{name}"\nunit = "{"g" if name[0] == "a" else "rad/s"}"\nrange = {[-8, 8] if name[0] == "a" else [-20, 20]}\n' for name in names]  # fmt: skip
    label = '[[columns]]\nname = "does"\nrole = "label"\nlabels = ["walk", "rest"]\n'
    (tmp_path / "schema.toml").write_text("window = 20\n" + "".join(sections) + label)
    draw = np.random.default_rng(2)
    rows = [",".join(f"{v:.5f}" for v in draw.normal(0, 3, 6)) + (",walk" if at < 100 else ",rest") for at in range(205)]  # fmt: skip
    table(tmp_path / "a.csv", ",".join([*names, "does"]), rows)
    wanted, _ = by_the_task(task, options, module, tmp_path)
    items = [item for item in read(str(tmp_path / "a.csv"), model.input, io.BytesIO()) if item.record is not None]  # fmt: skip
    got = np.array([list(each.scores.values()) for each in map(model.prediction, model.scores(np.stack([i.record for i in items])))])  # fmt: skip
    assert items[0].name.endswith("a.csv: lines 2 to 21")
    assert np.abs(got - wanted).max() < 1e-6
    assert evaluate(model, tmp_path, quiet=True).counts.sum() == 10
    raw = np.random.default_rng(3).normal(0, 3, (4, 20, 6))
    np.savez(tmp_path / "b.npz", X=raw)
    assert [each.label for each in model.predict(raw)] == [answer.label for _, answer, _ in predictions(model, [str(tmp_path / "b.npz")], io.BytesIO())]  # fmt: skip


def test_scaling_is_in_the_graph_and_plain_onnxruntime_needs_no_preparation(made):
    model, task, options, module = made["tabular"]
    taken = model.manifest.input
    assert (taken.shape, taken.features) == ((2,), 0)
    values = np.array([[300.0, 0.5], [1e9, -1e9]], np.float32)
    clipped = np.array([[0.0, 0.5], [1.0, -1.0]], np.float32)
    with torch.inference_mode():
        wanted = module(torch.from_numpy(task.inputs(clipped, options))).numpy()
    (given,) = model._session.run(None, {taken.name: values})
    assert np.abs(given - wanted).max() < 1e-5


def test_without_a_schema_the_first_line_names_the_columns(made, tmp_path):
    model = made["tabular"][0]
    for name, separator in (("a.csv", ","), ("b.csv", ";"), ("c.tsv", "\t")):
        file = table(tmp_path / name, separator.join(["load", "heat", "more"]), [separator.join(["0.5", "300", "x"])])  # fmt: skip
        ((where, record, why),) = columns.read(file, model.input)
        assert (where, record.tolist(), why) == ("line 2", [300.0, 0.5], "")
    (item,) = read("-", model.input, io.BytesIO(b"heat,load\n300,0.5\n"))
    assert item.name == "-: line 2"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("heat,other\n1,2\n", "does not name the columns"),
        ("", "does not name the columns"),
        ("heat,load\n300,abc\n", "line 2"),
        ("heat,load\n300\n", "line 2"),
        ("heat,load\n300,nan\n", "line 2"),
        ("heat,load\n,0.5\n", "line 2"),
    ],
)
def test_what_cannot_be_read_is_named_and_ends_nothing(made, tmp_path, text, why):
    model = made["tabular"][0]
    (tmp_path / "a.csv").write_text(text)
    found = list(read(str(tmp_path / "a.csv"), model.input, io.BytesIO()))
    assert [item.record for item in found] == [None]
    assert why in found[0].why


def test_records_with_other_columns_or_labels_are_not_evaluated_on(made, tmp_path):
    model = made["tabular"][0]
    (tmp_path / "schema.toml").write_text(SCHEMA.replace('["worn", "well"]', '["worn", "odd"]'))
    table(tmp_path / "a.csv", "note,load,state,T in K", ["x,0.5,worn,300"])
    with pytest.raises(DataError, match="knows the labels well, worn"):
        evaluate(model, tmp_path, quiet=True)
    (tmp_path / "schema.toml").write_text(SCHEMA.replace('unit = "K"', 'unit = "°C"'))
    with pytest.raises(DataError, match="the model takes"):
        evaluate(model, tmp_path, quiet=True)
    (item,) = read(str(tmp_path / "a.csv"), model.input, io.BytesIO())
    assert "schema.toml has no column heat [K]" in item.why


def test_the_self_test_of_a_model_on_columns_passes(made):
    for model, *_ in made.values():
        model.check_itself()
        assert len(json.loads(model.manifest.encode())["self_test"]) == 2


@pytest.mark.parametrize("header", [True, False])
def test_columns_are_found_by_name_and_without_a_header_by_their_place(made, tmp_path, header):
    model = made["tabular"][0]
    sections = SCHEMA.split("[[columns]]")
    reordered = "[[columns]]".join(
        [sections[0], sections[4], sections[2], sections[3], sections[1]]
    )
    (tmp_path / "schema.toml").write_text(("" if header else "header = false\n") + reordered)
    first = ["note,load,state,T in K"] if header else []
    (tmp_path / "a.csv").write_text("\n".join([*first, "7,0.5,worn,300"]) + "\n")
    ((_, record, why),) = columns.read(tmp_path / "a.csv", model.input)
    assert (record.tolist(), why) == ([300.0, 0.5], "")
    assert evaluate(model, tmp_path, quiet=True).counts.sum() == 1


def test_what_stands_for_an_empty_cell_is_cut_to_the_range_of_the_model(made, tmp_path):
    model = made["tabular"][0]
    text = SCHEMA.replace("range = [-1, 1]\nmissing = 0.0", "range = [-9, 9]\nmissing = -3")
    (tmp_path / "schema.toml").write_text(text)
    table(tmp_path / "a.csv", "note,load,state,T in K", ["x,,worn,300"])
    ((_, record, why),) = columns.read(tmp_path / "a.csv", model.input)
    assert (record.tolist(), why) == ([300.0, -1.0], "")
