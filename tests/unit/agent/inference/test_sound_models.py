"""Models of recordings: packaged with their preparation, and asked on the device with sound files."""

import io
import json

import numpy as np
import pytest
from models_bench import trained
from sounds_bench import tone, wav, write_tones, write_wav

from edgeveil.agent.inference import load
from edgeveil.agent.inference.evaluation import evaluate
from edgeveil.agent.inference.inputs import find, from_bytes, read
from edgeveil.coordinator.models.export import export
from edgeveil.shared.base.errors import DataError
from edgeveil.shared.models.taken import SoundInput
from edgeveil.shared.tasks.registry import load as load_task
from edgeveil.shared.tasks.registry import newest

OPTIONS = {"labels": "high,low,mid", "rate": 8000}


@pytest.fixture(scope="module", params=["statistics", "cnn"])
def made(request, tmp_path_factory):
    """A package, and the task's own logits of recordings."""
    folder = tmp_path_factory.mktemp(request.param)
    home, run = trained(folder, "audio-command", variant=request.param, **OPTIONS)
    target = folder / "m.evm"
    export(home, run, None, target)
    return request.param, target


@pytest.fixture
def model(made):
    with pytest.warns(UserWarning, match="signed by"):
        return load(made[1])


def test_the_manifest_says_what_becomes_of_a_sound_file(model):
    told = model.manifest.input
    assert told == SoundInput(name="records", rate=8000, length_ms=1000)
    assert told.shape == (8000,)
    assert "mel" in model.manifest.preprocessing
    assert "not in the graph" not in model.manifest.preprocessing


def test_a_sound_file_gives_what_its_samples_give(model, tmp_path):
    path = write_wav(tmp_path / "a.wav", tone(900, seconds=1.0))
    (record,) = (item.record for item in read(str(path), model.input, io.BytesIO()))
    assert model.predict(str(path)) == model.predict(record) == model.predict([path])


def test_the_device_says_what_the_task_says(made, model, tmp_path):
    variant, package = made
    task = load_task(newest("audio-command"))
    options = task.parse_options({"variant": variant, **OPTIONS})
    write_tones(tmp_path / "d", 12)
    records = task.load(tmp_path / "d", options)
    import torch
    from safetensors.numpy import load as tensors

    from edgeveil.shared.models.package import read_package

    module = task.build(options).eval()
    weights = tensors(bytes(read_package(package).weights))
    module.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
    with torch.inference_mode():
        wanted = module(records.take(np.arange(12))[0]).softmax(dim=1).numpy()
    found = model.scores(task.schema(options).read(tmp_path / "d").samples)
    assert np.abs(found - wanted).max() < 1e-4
    assert evaluate(model, tmp_path / "d", quiet=True).counts.sum() == 12


@pytest.mark.parametrize(
    ("data", "says"),
    [(wav(tone(300, rate=11_025), rate=11_025), "11,025 samples"), (wav(tone(300))[:-9], "cut short"), (b"", "not a WAV file")],
)  # fmt: skip
def test_a_file_that_cannot_be_used_is_one_sentence_and_no_traceback(model, data, says, tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(data)
    (item,) = read(str(path), model.input, io.BytesIO())
    assert item.record is None
    assert says in item.why
    with pytest.raises(DataError, match=says):
        model.predict(str(path))
    (sent,) = from_bytes(data, model.input, most=1)
    assert says in sent.why
    assert sent.name == "-"


@pytest.mark.parametrize(
    ("array", "says"),
    [(np.full(8000, 1.5), "-1..1"), (np.full(8000, np.nan), "finite"), (np.zeros(7999), "shape"), (np.zeros(8000, np.int16), r"floats \(-1..1\)")],
)  # fmt: skip
def test_samples_that_do_not_fit_are_refused_in_one_sentence(model, array, says):
    with pytest.raises(DataError, match=says):
        model.predict(array)


def test_folders_are_searched_for_recordings_too(tmp_path):
    write_tones(tmp_path / "d", 3)
    (tmp_path / "d" / "low" / "notes.txt").touch()
    found = find([str(tmp_path / "d")])
    assert [name.rpartition(".")[2] for name in found.paths] == ["wav"] * 3
    assert found.others == 1


def test_the_manifest_reads_back(model):
    manifest = model.manifest
    assert type(manifest).decode(manifest.encode()) == manifest
    wrong = json.loads(manifest.encode())
    wrong["input"]["longer"] = "first window"
    with pytest.raises(ValueError, match="input"):
        type(manifest).decode(json.dumps(wrong, sort_keys=True, separators=(",", ":")).encode())
