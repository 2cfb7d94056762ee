"""A body of public pictures: packed as a checkpoint that says where it comes from."""

import sys

import numpy as np
import pytest
from catalogue_bench import script
from conforming_bench import boxes

from edgeveil.coordinator.runs import checkpoint
from edgeveil.shared.tasks.modules import all_tensors
from edgeveil.shared.tasks.registry import load, newest
from edgeveil.shared.vector.model_vector import unflatten


def made(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["public_body.py", *map(str, arguments)])
    return script("public_body").main()


def test_it_names_its_pictures_and_fits_plans_of_its_variant(tmp_path, monkeypatch, capsys):
    pictures = boxes(tmp_path / "public", 16)
    asked = ("--data", pictures, "--labels", "car,truck", "--origin", "made up for a test")
    size = ("--variant", "tiny", "--size", 64, "--steps", 1)
    assert made(monkeypatch, tmp_path / "body.safetensors", *asked, *size) == 0
    assert "made up for a test" in capsys.readouterr().out
    found = checkpoint.parse((tmp_path / "body.safetensors").read_bytes())
    assert found.metadata["origin"] == "made up for a test"
    assert found.metadata["pictures"] == "16"
    assert len(found.metadata["pictures_sha256"]) == 64
    task = load(newest("detection"))
    options = task.parse_options({"labels": "car,truck", "variant": "tiny", "size": 64})
    assert found.tensors == task.tensors(options)
    assert made(monkeypatch, tmp_path / "body.safetensors", *asked, *size) == 2
    assert "there already" in capsys.readouterr().err


def test_a_body_of_two_stages_is_whole_and_has_learned_scales_and_shifts(tmp_path, monkeypatch):
    pictures, path = boxes(tmp_path / "public", 16), tmp_path / "body.safetensors"
    asked = ("--data", pictures, "--labels", "car,truck", "--origin", "made up for a test")
    assert (
        made(monkeypatch, path, *asked, "--variant", "two-stage", "--size", 64, "--steps", 1) == 0
    )
    found = checkpoint.parse(path.read_bytes())
    task = load(newest("detection-two-stage"))
    options = task.parse_options({"labels": "car,truck", "size": 64})
    assert found.metadata["task"] == f"{task.spec.id} {task.spec.version}"
    assert found.tensors == all_tensors(task, options)
    random, same = dict(task.build(options).named_parameters()), set()
    for name, values in unflatten(found.vector, found.tensors).items():
        before = random[name].detach().numpy()
        assert np.isfinite(values).all()
        if name.endswith(".weight") and np.array_equal(values, before):
            same.add(name)
    assert same <= {"box_predictor.shift.weight"}  # a first step may find no box to move


@pytest.mark.parametrize("missing", ["--labels", "--origin"])
def test_pictures_without_a_word_on_whose_they_are_are_not_used(missing, tmp_path, monkeypatch, capsys):  # fmt: skip
    told = {"--data": tmp_path, "--labels": "car", "--origin": "us"}
    del told[missing]
    assert made(monkeypatch, tmp_path / "b.safetensors", *(x for pair in told.items() for x in pair)) == 2  # fmt: skip
    assert "say whose pictures these are" in capsys.readouterr().err
    assert not (tmp_path / "b.safetensors").exists()
