import ast
import dataclasses
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from catalogue_bench import VARIANTS, grey_digits, task_and_options, write_npz
from torch import nn

from edgeveil.shared.base.errors import ConfigError, ProtocolError, RefusalCode, StateDamaged
from edgeveil.shared.scores.metric import LOSS
from edgeveil.shared.scores.views import Matrix, Table
from edgeveil.shared.tasks import batches, registry, spec
from edgeveil.shared.tasks.modules import read_vector, trainable, write_vector
from edgeveil.shared.tasks.registry import load, newest
from edgeveil.shared.tasks.spec import tallied
from edgeveil.shared.vector import model_vector as parameters

EACH = pytest.mark.parametrize(("task_id", "variant", "size"), VARIANTS)


@EACH
def test_every_variant_has_the_documented_number_of_parameters(task_id, variant, size):
    task, options = task_and_options(task_id, variant)
    tensors = task.tensors(options)
    parameters.check_tensors(tensors)
    assert parameters.count(tensors) == size
    assert tensors == trainable(task.build(options))


@EACH
def test_a_written_vector_is_read_back_bit_for_bit(task_id, variant, size):
    task, options = task_and_options(task_id, variant)
    module, tensors = task.build(options), task.tensors(options)
    vector = np.random.default_rng(0).normal(size=size).astype(np.float32)
    write_vector(module, vector, tensors)
    assert read_vector(module, tensors).tobytes() == vector.tobytes()


@EACH
def test_no_variant_has_buffers_batch_statistics_or_operations_in_place(task_id, variant, size):
    task, options = task_and_options(task_id, variant)
    module = task.build(options)
    assert not list(module.buffers())
    assert all(parameter.requires_grad for parameter in module.parameters())
    for part in module.modules():
        assert not isinstance(part, nn.modules.batchnorm._BatchNorm)
        assert not getattr(part, "inplace", False)


@EACH
def test_tallies_of_batches_add_up_to_the_pooled_ones(task_id, variant, size, tmp_path):
    task, options = task_and_options(task_id, variant)
    inputs, targets = _examples(task, options, tmp_path)
    outputs = _trained_a_little(task, options, size)(inputs).detach()
    pooled = tallied(task, outputs, targets, options)
    pieces = [tallied(task, outputs[i::3], targets[i::3], options) for i in range(3)]
    assert pooled.dtype == np.int64
    assert pooled.tobytes() == sum(pieces).tobytes()
    assert pooled.sum() == len(targets)
    assert (
        pooled.reshape(10, 10).sum(axis=1).tolist()
        == torch.bincount(targets, minlength=10).tolist()
    )


@EACH
def test_a_task_declares_what_it_measures_and_shows_what_it_keeps(task_id, variant, size, tmp_path):
    task, options = task_and_options(task_id, variant)
    inputs, targets = _examples(task, options, tmp_path)
    tally = tallied(task, _trained_a_little(task, options, size)(inputs).detach(), targets, options)
    scoring = task.spec.scoring
    names = [metric.name for metric in scoring.metrics]
    assert len(set(names)) == len(names)
    assert set(task.metrics(tally, options)) == set(names) - {LOSS}
    assert LOSS in names
    kept = json.loads(json.dumps(task.keep(tally, options)))
    assert [type(view) for view in scoring.views(kept)] == [Table, Matrix]
    assert scoring.views(kept)[1].counts == tally.reshape(10, 10).tolist()
    assert scoring.views({}) == ()


COLOURED = pytest.mark.parametrize(
    ("task_id", "variant", "size"),
    [
        ("feature-head", "fixed", 9_810),
        ("image-classification", "cnn", 20_874),
        ("image-classification", "linear", 23_530),
    ],
)


@COLOURED
def test_every_variant_takes_colours_where_they_are_asked_for(task_id, variant, size, tmp_path):
    task, options = task_and_options(task_id, variant, channels=3)
    tensors = task.tensors(options)
    assert parameters.count(tensors) == size
    assert task.schema(options).shape == (28, 28, 3)
    found = task.signature(options)
    assert found["input"]["channels"] == 3
    assert found["preprocessing"].startswith("RGB 0..1")
    records = _coloured(task, options, tmp_path)
    drawn = task.probe(3, torch.Generator().manual_seed(1), options)
    assert batches.form(records.take(np.arange(20))) == batches.form(drawn)
    inputs, targets = records.take(np.arange(20))
    losses = task.criterion("none")(_trained_a_little(task, options, size)(inputs), targets)
    assert losses.shape == (20,)
    assert torch.isfinite(losses).all()


@COLOURED
def test_colours_of_equal_brightness_are_told_apart(task_id, variant, size, tmp_path):
    task, options = task_and_options(task_id, variant, channels=3)
    inputs, _ = _coloured(task, options, tmp_path).take(np.arange(20))
    assert torch.linalg.norm(inputs[0] - inputs[10]) > 0.2 * torch.linalg.norm(inputs[0])


@EACH
def test_grey_is_what_a_task_takes_unless_it_is_told_otherwise(task_id, variant, size):
    task, options = task_and_options(task_id, variant)
    same, spelled = task_and_options(task_id, variant, channels=1)
    assert options == spelled
    assert task.schema(options).shape == (28, 28, 1)
    assert task.tensors(options) == same.tensors(spelled)


def test_the_names_of_classes_are_compared_in_one_form():
    task, options = task_and_options("feature-head", "fixed", classes=2, labels="a\u0308,b")
    assert options.class_names == ("\u00e4", "b")
    assert task.schema(options).labels == ("\u00e4", "b")


def test_output_that_is_not_a_number_is_counted_and_not_hidden():
    task, options = task_and_options("feature-head", "fixed")
    outputs = torch.full((3, 10), torch.nan)
    assert tallied(task, outputs, torch.tensor([1, 2, 3]), options).sum() == 3


@EACH
def test_the_signature_names_input_classes_and_preprocessing(task_id, variant, size):
    task, options = task_and_options(task_id, variant, classes=2, labels="cat,dog", width=32)
    found = task.signature(options)
    assert found["classes"] == ["cat", "dog"]
    assert (found["input"]["height"], found["input"]["width"]) == (28, 32)
    assert found["preprocessing"]


@pytest.mark.parametrize(
    ("raw", "fault"),
    [
        ({"variant": "huge"}, "options.variant"),
        ({"classes": 1}, "options.classes"),
        ({"classes": True}, "options.classes"),
        ({"classes": "10"}, "options.classes"),
        ({"height": 30}, "options.height"),
        ({"width": 100_000}, "options.width"),
        ({"depth": 3}, "options.depth"),
        ({"labels": "a,b"}, "labels names 2 classes, not 10"),
        ({"channels": 2}, "options.channels"),
        ({"classes": 2, "labels": "a,a"}, "named twice"),
        ({"classes": 2, "labels": "\u00e4,a\u0308"}, "named twice"),
        ({"classes": 2, "labels": "a,../b"}, "cannot be the name"),
        ({"classes": 2, "labels": "a,.b"}, "cannot be the name"),
        ({"classes": 2, "labels": "a,"}, "cannot be the name"),
    ],
)
def test_refuses_options_outside_the_schema(raw, fault):
    for task_id in {task_id for task_id, _, _ in VARIANTS}:
        with pytest.raises(ConfigError, match=fault) as caught:
            load(newest(task_id)).parse_options(raw)
        assert task_id in str(caught.value)


def test_names_every_wrong_option_at_once():
    task, _ = task_and_options("feature-head", "fixed")
    with pytest.raises(ConfigError, match=r"options\.classes.*options\.depth"):
        task.parse_options({"classes": 0, "depth": 3})


def test_refuses_a_task_that_is_not_installed():
    for task_id, version in [
        ("feature-head", "1.0.0"),
        ("detection-three-stage", "1.0.0"),
        ("", ""),
    ]:
        with pytest.raises(ProtocolError, match=r"feature-head 1\.2\.0") as caught:
            registry.find(task_id, version)
        assert caught.value.code is RefusalCode.TASK_UNKNOWN


def test_refuses_a_module_that_implements_another_task():
    stranger = dataclasses.replace(registry.newest("feature-head"), version="9.0.0")
    with pytest.raises(StateDamaged, match="reinstall"):
        registry.load(stranger)


def test_one_changed_byte_in_any_declared_file_makes_another_task(tmp_path, monkeypatch):
    copy = tmp_path / "shared"
    shutil.copytree(spec.PACKAGE, copy)
    monkeypatch.setattr(spec, "PACKAGE", copy)
    for entry in registry.catalogue():
        spec._code_hash.cache_clear()
        original = entry.task_hash()
        for name in entry.files:
            content = (copy / name).read_bytes()
            (copy / name).write_bytes(content + b"\n")
            spec._code_hash.cache_clear()
            assert entry.task_hash() != original, name
            (copy / name).write_bytes(content)
        spec._code_hash.cache_clear()
        assert entry.task_hash() == original
    spec._code_hash.cache_clear()


def test_tasks_declare_every_file_that_decides_what_they_compute():
    for entry in registry.catalogue():
        needed = _computing_imports(entry.module)
        assert needed <= set(entry.files), entry.id
        assert len(set(entry.files)) == len(entry.files)


def test_finding_and_hashing_a_task_does_not_import_torch():
    code = (
        "import sys; from edgeveil.shared.tasks import registry\n"
        "[entry.task_hash() for entry in registry.catalogue()]\n"
        "assert not {'torch', 'torchvision', 'opacus', 'PIL'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def _examples(task, options, folder):
    pixels, labels = grey_digits(20)
    loaded = task.load(write_npz(folder / "data.npz", X=pixels, y=labels), options)
    return torch.from_numpy(loaded.inputs), torch.from_numpy(loaded.targets)


def _coloured(task, options, folder):
    """Ten records in red, and the same ten in green."""
    pixels, labels = grey_digits(20)
    pixels[10:] = pixels[:10]
    red, green = pixels.copy(), pixels.copy()
    red[10:], green[:10] = 0, 0
    blue = np.zeros_like(red)
    stacked = np.stack([red, green, blue], axis=3)
    return task.load(write_npz(folder / "data.npz", X=stacked, y=labels), options)


def _trained_a_little(task, options, size):
    module = task.build(options)
    vector = np.random.default_rng(3).normal(scale=0.1, size=size).astype(np.float32)
    write_vector(module, vector, task.tensors(options))
    return module


def _computing_imports(module):
    """Files of shared.data, shared.tasks and shared.scores.classification that `module` reaches by imports."""
    plumbing = {"edgeveil.shared.tasks.spec", "edgeveil.shared.tasks.registry"}
    found, pending = set(), [module]
    while pending:
        name = pending.pop()
        file = name.removeprefix("edgeveil.shared.").replace(".", "/") + ".py"
        known = name.startswith(
            (
                "edgeveil.shared.data.",
                "edgeveil.shared.tasks.",
                "edgeveil.shared.scores.classification",
            )
        )
        if not known or name in plumbing or file in found or not (spec.PACKAGE / file).is_file():
            continue
        found.add(file)
        for node in ast.walk(ast.parse((spec.PACKAGE / file).read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                pending += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            elif isinstance(node, ast.Import):
                pending += [alias.name for alias in node.names]
    return found
