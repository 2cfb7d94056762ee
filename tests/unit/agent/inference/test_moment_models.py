"""Models of several senses: packaged with what a graph can hold, and asked with the folders that devices train on."""

import io
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from models_bench import trained
from safetensors.numpy import load as tensors
from sounds_bench import WINDOW, tone, write_pairs, write_wav
from typer.testing import CliRunner

from edgeveil.agent.cli.app import app
from edgeveil.agent.inference import load
from edgeveil.agent.inference.evaluation import calibration_records, evaluate
from edgeveil.agent.inference.inputs import find, read
from edgeveil.agent.inference.moments import Growing
from edgeveil.coordinator.models.export import export
from edgeveil.shared.base.errors import DataError
from edgeveil.shared.models.package import read_package
from edgeveil.shared.models.taken import MomentInput
from edgeveil.shared.tasks.registry import load as load_task
from edgeveil.shared.tasks.registry import newest

SENSES = ("image", "sound", "window")
OPTIONS = {
    "labels": "high,low,mid", "rate": 8000, "senses": ",".join(SENSES),
    "columns": "ax [g] -2..2, load [%] 0..100", "window": 20,
}  # fmt: skip


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    home, run = trained(folder, "multimodal", **OPTIONS)
    export(home, run, None, folder / "m.evm")
    return folder / "m.evm"


@pytest.fixture(scope="module")
def model(package):
    with pytest.warns(UserWarning, match="signed by"):
        return load(package)


@pytest.fixture
def folder(tmp_path):
    return write_pairs(tmp_path / "d", 6, senses=SENSES)


def items(model, path, first=0):
    return list(read(str(path), model.input, io.BytesIO(), first=first))


def raw(folder):
    """As an .npz file has them: pixels, samples, values row by row in their units."""
    task = load_task(newest("multimodal"))
    found = task.schema(task.parse_options(OPTIONS)).read(folder)
    return np.concatenate([found.parts[sense].reshape(len(found.targets), -1) for sense in SENSES], axis=1)  # fmt: skip


def test_the_manifest_says_what_becomes_of_each_sense(model):
    taken = model.manifest.input
    assert isinstance(taken, MomentInput)
    assert tuple(taken.parts) == SENSES
    assert "window are not in the graph" in model.manifest.preprocessing
    assert taken.record_shape == (28 * 28 + 8000 + 20 * 2,)
    assert type(model.manifest).decode(model.manifest.encode()) == model.manifest
    wrong = json.loads(model.manifest.encode())
    wrong["input"] |= {"image": None, "sound": None}
    with pytest.raises(ValueError, match="two senses"):
        type(model.manifest).decode(json.dumps(wrong, sort_keys=True, separators=(",", ":")).encode())  # fmt: skip


def test_the_device_says_of_a_folder_what_the_task_says(package, model, folder):
    task = load_task(newest("multimodal"))
    options = task.parse_options(OPTIONS)
    module = task.build(options).eval()
    weights = tensors(bytes(read_package(package).weights))
    module.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
    with torch.inference_mode():
        wanted = module(task.load(folder, options).take(np.arange(6))[0]).softmax(dim=1).numpy()
    (table,) = find([str(folder)], model.input).paths
    found = items(model, table)
    assert [item.name for item in found] == [f"{table}: line {number}" for number in range(2, 8)]
    assert np.abs(model.scores(np.stack([item.record for item in found])) - wanted).max() < 1e-4
    again = [list(each.scores.values()) for each in model.predict(raw(folder))]
    assert np.abs(np.array(again) - wanted).max() < 1e-4
    assert evaluate(model, folder, quiet=True).counts.sum() == 6
    assert calibration_records(model, folder, 3).shape == (3, *model.input.shape)


def test_moments_without_labels_are_predicted_too_and_only_from_the_line_that_is_asked_for(model, folder):  # fmt: skip
    table = folder / "records.csv"
    lines = [line.split(",") for line in table.read_text().splitlines()]
    table.write_text("\n".join(",".join(cells[:1] + cells[2:]) for cells in lines))
    assert all(item.record is not None for item in items(model, table))
    assert [item.name for item in items(model, table, first=4)] == [f"{table}: line 6", f"{table}: line 7"]  # fmt: skip
    with pytest.raises(DataError, match="label"):
        evaluate(model, folder, quiet=True)


def test_a_line_that_cannot_be_used_is_one_sentence_and_the_others_are_answered(model, folder):
    write_wav(folder / "heard" / "other.wav", tone(300, rate=11_025), rate=11_025)
    with (folder / "records.csv").open("a") as table:
        table.write("seen/000.png,high,heard/other.wav,felt/000.csv\n")
        table.write("seen/000.png,high,heard/000.wav,felt/gone.csv\n")
        table.write("seen/000.png,high,../../heard.wav,felt/000.csv\n")
    found = items(model, folder / "records.csv")
    assert [item.record is None for item in found] == [False] * 6 + [True] * 3
    for item, says in zip(found[6:], ("11,025 samples", "is not there", "not inside"), strict=True):
        assert says in item.why


def without_windows(folder):
    shutil.rmtree(folder)
    write_pairs(folder, 3, senses=("image", "sound"))


def other_rows(folder):
    (folder / "window.toml").write_text(WINDOW.replace("window = 20", "window = 30"))


def other_unit(folder):
    (folder / "window.toml").write_text(WINDOW.replace('unit = "g"', 'unit = "m/s2"'))


def undescribed(folder):
    (folder / "window.toml").unlink()


@pytest.mark.parametrize(
    ("change", "says"),
    [(without_windows, "no column window"), (other_rows, "30 rows"), (other_unit, "ax [m/s2]"), (undescribed, "window.toml")],
)  # fmt: skip
def test_a_folder_of_other_moments_is_named_with_what_the_model_takes(model, folder, change, says):
    change(folder)
    (item,) = items(model, folder / "records.csv")
    assert item.record is None
    assert says in item.why
    with pytest.raises(DataError) as caught:
        evaluate(model, folder, quiet=True)
    assert says in caught.value.message


@pytest.mark.parametrize("name", ["seen/000.png", "heard/000.wav", "felt/000.csv"])
def test_a_single_sense_is_refused_with_what_to_name(model, folder, name):
    (item,) = items(model, folder / name)
    assert "image, sound, window" in item.why
    assert "records.csv" in item.why


def test_arrays_beyond_the_range_of_their_sense_are_refused(model, folder):
    whole = raw(folder)
    whole[1, -1] = 1e6  # of a window: cut to the range, as in training
    model.predict(whole)
    for at, value in ((0, 1.5), (28 * 28, -1.5), (-1, np.nan)):
        wrong = whole.copy()
        wrong[2, at] = value
        with pytest.raises(DataError, match="record 2"):
            model.predict(wrong)
    with pytest.raises(DataError, match="shape"):
        model.predict(whole[:, 1:])


def test_the_commands_take_the_folder(package, folder, tmp_path):
    runner, home = CliRunner(), ["--home", str(tmp_path / "home")]
    said = runner.invoke(app, ["predict", str(package), str(folder), "--json", *home])
    assert said.exit_code == 0, said.output
    assert len([line for line in said.stdout.splitlines() if '"label"' in line]) == 6
    assert "nothing that this model takes" not in said.output
    told = runner.invoke(app, ["evaluate", str(package), "--data", str(folder), "--json", *home])
    assert told.exit_code == 0, told.output
    assert json.loads(told.stdout)["records"] == 6


def test_of_a_table_that_grows_only_new_lines_are_told(folder):
    table, growing = folder / "records.csv", Growing()
    assert growing.told(str(table)) == 0
    line = "seen/000.png,high,heard/000.wav,felt/000.csv"
    with table.open("a") as file:
        file.write(line[:20])
    assert growing.told(str(table)) == 6
    with table.open("a") as file:
        file.write(line[20:] + "\n")
    assert growing.told(str(table)) == 6  # the line was not finished
    assert growing.told(str(table)) == 7
    table.write_text(table.read_text().replace("000", "001"))
    assert growing.told(str(table)) == 0


def test_moments_are_read_without_torch(folder):
    code = "import sys, edgeveil.agent.inference.moments; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
