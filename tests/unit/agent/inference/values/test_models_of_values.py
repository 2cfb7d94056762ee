"""Packages of tasks that choose no label: numbers, forecasts, odd records, rare classes, own tasks; as their tasks do."""

import io
import json
import os
import subprocess
import sys
import zipfile

import numpy as np
import onnxruntime
import pytest
import torch
from models_bench import trained
from typer.testing import CliRunner

from edgeveil.agent.cli.app import app
from edgeveil.agent.inference import load
from edgeveil.agent.inference.evaluation import evaluate, scored
from edgeveil.agent.inference.inputs import Item, find
from edgeveil.agent.inference.predicting import predictions
from edgeveil.agent.inference.runtime import open_model
from edgeveil.agent.inference.serving import answers
from edgeveil.agent.inference.values import thresholds
from edgeveil.coordinator.models.contents import output_of
from edgeveil.coordinator.models.export import export
from edgeveil.coordinator.models.graph import graph_of
from edgeveil.coordinator.runs import checkpoint
from edgeveil.shared.base.errors import DataError, StateDamaged
from edgeveil.shared.tasks import registry
from edgeveil.shared.tasks.modules import read_vector, write_vector
from edgeveil.shared.tasks.own.simple import Columns, Pictures, SimpleTask
from edgeveil.shared.tasks.spec import tallied

COLUMNS = "heat [K] 250..350, load -1..1, flow [l/s] 0..20"
POINTED = {"signed_log": "flow 4/0.5"}
CASES = {
    "numbers": ("tabular-regression", {"target": "power [W] 0..500", "variant": "mlp"}),
    "linear": ("tabular-regression", {"target": "power [W] 0..500", **POINTED}),
    "forecast": ("forecasting", {"target": "heat [K]", "window": 24, "ahead": 3, "variant": "statistics", "signed_log": "flow 4/0.5"}),
    "changes": ("forecasting", {"target": "heat [K]", "window": 24, "ahead": 3, "signed_log": "flow 4/0.5"}),
    "recurrent": ("forecasting", {"target": "heat [K]", "window": 24, "ahead": 3, "variant": "gru", "hidden": 4}),
    "odd rows": ("anomaly", {"normal": "well", "hidden": 8, **POINTED}),
    "odd windows": ("anomaly", {"window": 24, "latent": 3, "hidden": 8}),
    "rare": ("rare-classes", {"labels": "well,worn"}),
    "recurrent classes": ("sensor-sequence", {"labels": "well,worn", "window": 24, "variant": "lstm", "hidden": 4}),
    "pointed statistics": ("sensor-sequence", {"labels": "well,worn", "window": 24, **POINTED}),
}  # fmt: skip
ENDS = [("heat", "K", 250, 350), ("load", "", -1, 1), ("flow", "l/s", 0, 20)]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """case → (package file, home, its task, options, module with the run's weights); made once, when asked for."""
    known = {}

    def of(case):
        if case not in known:
            task_id, raw = CASES[case]
            folder = tmp_path_factory.mktemp(case.replace(" ", "-"))
            options = {"columns": COLUMNS, **raw}
            home, run = trained(folder, task_id, scale=0.3, **options)
            export(home, run, "last", folder / "a.evm")
            task = registry.load(registry.newest(task_id))
            parsed = task.parse_options(options)
            module = task.build(parsed).eval()
            saved = checkpoint.load(home / "runs" / run / "round-0002.safetensors")
            write_vector(module, saved.vector, saved.tensors)
            known[case] = (folder / "a.evm", home, task, parsed, module)
        return known[case]

    return of


def written(folder, options, *, rows=240, target="", labels=True, seed=1):
    """A folder of records for such a task: single rows or windows, with a label or a target each."""
    window = getattr(options, "window", 0)
    lines = [f'[[columns]]\nname = "{name}"\nrange = [{low}, {high}]\n' + (f'unit = "{unit}"\n' if unit else "") for name, unit, low, high in ENDS]  # fmt: skip
    if target:
        lines.append('[[columns]]\nname = "power"\nunit = "W"\nrole = "target"\nrange = [0, 500]\n')
    if labels:
        lines.append('[[columns]]\nname = "state"\nrole = "label"\nlabels = ["worn", "well"]\n')
    folder.mkdir()
    (folder / "schema.toml").write_text((f"window = {window}\n" if window else "") + "".join(lines))
    draw = np.random.default_rng(seed)
    found = [f"{draw.uniform(240, 360):.4f},{draw.uniform(-1, 1):.4f},{draw.uniform(-1, 21):.4f}" + (f",{draw.uniform(0, 500):.3f}" if target else "") + (f",{'well' if at < rows / 2 else 'worn'}" if labels else "") for at in range(rows)]  # fmt: skip
    header = "heat,load,flow" + ",power" * bool(target) + ",state" * labels
    (folder / "a.csv").write_text("\n".join([header, *found]) + "\n")
    return folder


def by_the_task(task, options, module, path):
    """(outputs, targets) as the task has them."""
    records = task.load(path, options)
    inputs, targets = records.take(np.arange(len(records)))
    with torch.inference_mode():
        return module(inputs).double().numpy(), targets.numpy()


def answered(file, inputs):
    opened = open_model(file)
    found = list(predictions(opened, find([str(each) for each in inputs], opened.input).paths, io.BytesIO()))  # fmt: skip
    assert all(why == "" for _, _, why in found)
    return [each.as_json() for _, each, _ in found]


@pytest.mark.parametrize("case", ["numbers", "linear"])
def test_a_number_comes_in_its_unit_as_the_task_says_it(made, tmp_path, case):
    file, _, task, options, module = made(case)
    folder = written(tmp_path / "d", options, target="power", labels=False)
    outputs, targets = by_the_task(task, options, module, folder)
    values = [each["value"] for each in answered(file, [folder / "a.csv"])]
    assert np.abs(np.array(values) - (outputs + 1) / 2 * 500).max() < 1e-2
    found = evaluate(open_model(file), folder, quiet=True)
    wanted = task.metrics(tallied(task, torch.from_numpy(outputs), torch.from_numpy(targets), options), options)  # fmt: skip
    told = found.as_json()
    assert (told.pop("records"), told.pop("target")) == (240, "power [W]")
    assert told == pytest.approx(wanted, rel=1e-4)
    assert found.views


@pytest.mark.parametrize("case", ["forecast", "changes", "recurrent"])
def test_a_forecast_is_asked_with_the_rows_before_and_measured_with_the_answer(made, tmp_path, case):  # fmt: skip
    file, _, task, options, module = made(case)
    folder = written(tmp_path / "d", options, labels=False)
    outputs, targets = by_the_task(task, options, module, folder)
    records = np.genfromtxt(folder / "a.csv", delimiter=",", skip_header=1).reshape(10, 24, 3)
    seen = np.ascontiguousarray(records[:, :21])
    model = load(file, trust=open_model(file).signer.hex())
    values = np.array([each.value for each in model.predict(seen)])
    wanted = 250 + (outputs + 1) / 2 * 100
    assert np.abs(values - wanted).max() < 1e-2
    figures = task.metrics(tallied(task, torch.from_numpy(outputs), torch.from_numpy(targets), options), options)  # fmt: skip
    found = evaluate(model, folder, quiet=True).as_json()
    assert (found.pop("records"), found.pop("target")) == (10, "heat [K]")
    assert found == pytest.approx(figures, rel=1e-4)
    (tmp_path / "last.csv").write_text("\n".join(["heat,load,flow", *(",".join(map(str, row)) for row in seen[3])]))  # fmt: skip
    (alone,) = answered(file, [tmp_path / "last.csv"])
    assert alone["value"] == pytest.approx(wanted[3], abs=1e-2)


@pytest.mark.parametrize("case", ["odd rows", "odd windows"])
def test_an_odd_record_is_told_by_the_score_of_its_task(made, tmp_path, case):
    file, _, task, options, module = made(case)
    labels = bool(options.normal)
    folder = written(tmp_path / "d", options, labels=labels)
    scores, odd = by_the_task(task, options, module, folder)
    found = answered(file, [folder / "a.csv"])
    assert [each["score"] for each in found] == pytest.approx(scores.tolist(), rel=1e-4)
    assert {(each["threshold"], each["anomalous"]) for each in found} == {(None, None)}
    judged = evaluate(open_model(file), folder, quiet=True)
    assert judged.counts.sum(axis=1).tolist() == [(odd == 0).sum(), (odd != 0).sum()]
    assert ("roc_auc" in judged.as_json()) == labels
    assert judged.views


def test_the_threshold_is_found_on_the_devices_own_normal_records_and_stays_there(made, tmp_path):
    file, _, task, options, module = made("odd rows")
    folder = written(tmp_path / "d", options)
    scores, odd = by_the_task(task, options, module, folder)
    home = tmp_path / "home"
    asked = ["model", "threshold", str(file), "--home", str(home)]
    assert CliRunner().invoke(app, asked).exit_code != 0  # neither has one
    done = CliRunner().invoke(app, [*asked, "--data", str(folder), "--false-alarms", "0.1", "--json"])  # fmt: skip
    told = json.loads(done.stdout)
    normal = scores[odd == 0]
    assert told["records"] == len(normal) == 120
    assert (normal > told["threshold"]).mean() <= 0.1 < ((normal > told["threshold"]).sum() + 2) / 120  # fmt: skip
    done = CliRunner().invoke(app, ["predict", str(file), str(folder / "a.csv"), "--home", str(home), "--json"])  # fmt: skip
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert lines[0]["threshold"] == pytest.approx(told["threshold"], rel=1e-6)
    assert sum(each["anomalous"] for each in lines) == (scores > told["threshold"]).sum()
    other = CliRunner().invoke(app, ["predict", str(file), str(folder / "a.csv"), "--home", str(home), "--csv", "--threshold", "1e9"])  # fmt: skip
    rows = other.stdout.splitlines()
    assert rows[0] == "input,score,threshold,anomalous"
    assert all(row.endswith(",1e+09,false") for row in rows[1:])
    assert CliRunner().invoke(app, asked).stdout.count("120 normal records") == 1
    done = CliRunner().invoke(app, [*asked, "--data", str(folder), "--false-alarms", "0.001"])
    assert "too few" in str(done.exception)


def test_a_threshold_on_a_folder_that_is_not_there_names_the_folder(made, tmp_path):
    file, home, *_ = made("odd rows")
    model = open_model(file, home=home)
    with pytest.raises(
        DataError, match="nofolder: this data folder does not exist; give --data PATH"
    ):
        scored(model, model.manifest.output, tmp_path / "nofolder", quiet=True)


def test_a_damaged_file_of_thresholds_is_named(tmp_path):
    (tmp_path / thresholds.FILE).write_text('{"thresholds": [{"model": "x"}]}')
    with pytest.raises(StateDamaged, match="agent model threshold"):
        thresholds.kept(tmp_path, "ab" * 32)


@pytest.mark.parametrize(("count", "rate", "place"), [(99, 0.01, 98), (100, 0.01, 99), (19, 0.1, 17)])  # fmt: skip
def test_a_further_normal_record_passes_the_threshold_with_the_wanted_chance(count, rate, place):
    scores = np.random.default_rng(3).permutation(count).astype(float)
    assert thresholds.found_on(scores, rate) == place
    with pytest.raises(DataError, match=f"at least {int(1 / rate) - 1} are needed"):
        thresholds.found_on(scores[: int(1 / rate) - 2], rate)


@pytest.mark.parametrize("case", ["rare", "recurrent classes", "pointed statistics"])
def test_classes_are_those_of_the_task(made, tmp_path, case):
    file, _, task, options, module = made(case)
    folder = written(tmp_path / "d", options)
    outputs, targets = by_the_task(task, options, module, folder)
    wanted = torch.softmax(torch.from_numpy(outputs[:, :2]), dim=1).numpy()
    found = answered(file, [folder / "a.csv"])
    got = np.array([list(each["scores"].values()) for each in found])
    assert np.abs(got - wanted).max() < 1e-5
    counts = evaluate(open_model(file), folder, quiet=True).counts
    assert np.trace(counts) == (wanted.argmax(axis=1) == targets).sum()


@pytest.mark.parametrize("case", CASES)
def test_the_self_test_passes_and_plain_onnxruntime_gives_the_same(made, case):
    file, *_ = made(case)
    opened = open_model(file)
    opened.check_itself()
    with zipfile.ZipFile(file) as package:
        session = onnxruntime.InferenceSession(package.read("model.onnx"))
    taken = opened.manifest.input
    records = np.random.default_rng(2).uniform(-1, 1, (5, *taken.shape)).astype(np.float32)
    (given,) = session.run([opened.manifest.output.name], {taken.name: records})
    assert np.array_equal(given, opened.outputs(records))
    assert given.shape[1:] == opened.manifest.output.shape


class Small(torch.nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(inputs, outputs))

    def forward(self, inputs):
        return self.layers(inputs)


OWN = {
    "pictures": SimpleTask(id="own", version="1.0.0", records=Pictures(8, 12, 3), model=lambda: Small(288, 2), classes=("a", "b")),
    "windows": SimpleTask(id="own", version="1.0.0", records=Columns(COLUMNS, window=6), model=lambda: Small(18, 2), classes=("a", "b")),
    "number": SimpleTask(id="own", version="1.0.0", records=Columns(COLUMNS), model=lambda: Small(3, 1), number="power [W] 0..500"),
}  # fmt: skip


@pytest.mark.parametrize("case", OWN)
def test_own_tasks_of_a_model_and_a_loss_are_packaged_with_their_preparation(case):
    task = OWN[case]
    options = task.parse_options({})
    graph, form = graph_of(task, options, read_vector(task.build(options), task.tensors(options)))
    given = output_of(form, {})
    assert (given.kind, given.shape) == ({"number": "number"}.get(case, "logits"), (1 if case == "number" else 2,))  # fmt: skip
    assert (form.picture is not None) == (case == "pictures")
    assert form.preprocessing.startswith("not in the graph") is False
    assert graph


def test_the_packages_threshold_is_that_of_the_coordinators_normal_records(made):
    _, _, task, options, _ = made("odd rows")
    module = task.build(options)
    _, form = graph_of(task, options, read_vector(module, task.tensors(options)))
    counts = np.zeros((2, 256), int)
    counts[0, 100], counts[0, 200] = 99, 1
    given = output_of(form, {"scores": {"counts": counts.tolist()}})
    low, high = np.log(1e-2), np.log(1e3)
    assert given.threshold == pytest.approx(np.exp(low + 101 / 256 * (high - low)))
    assert output_of(form, {}).threshold is None


@pytest.mark.parametrize("case", ["numbers", "odd rows", "rare"])
def test_a_service_answers_as_predict_does_and_nothing_needs_torch(made, case):
    file, *_ = made(case)
    opened = open_model(file)
    record = np.array([300.0, 0.5, 4.0], np.float32)
    (said,) = opened.predict(record)
    answer = answers.answer(opened, Item("x", record))
    assert set(answer) == set(said.as_json())
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import numpy as np, json\n"
        "from edgeveil.agent.inference import load\n"
        f"found = load({str(file)!r}, trust={opened.signer.hex()!r}).predict(np.array([300.0, 0.5, 4.0]))\n"
        "print(json.dumps(found[0].as_json()))"
    )
    alone = subprocess.run([sys.executable, "-c", code], env=os.environ, capture_output=True, text=True, check=True)  # fmt: skip
    assert json.loads(alone.stdout) == said.as_json()
