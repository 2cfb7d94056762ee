"""The frozen network: which weights it takes, that its layers are folded right, and what it makes of one picture."""

import importlib
import io
import sys

import numpy as np
import pytest
import torch
from catalogue_bench import task_and_options, write_npz
from torch.nn import functional

from edgeveil.shared.base.errors import ConfigError, NotInstalled
from edgeveil.shared.base.exit_codes import ExitCode
from edgeveil.shared.data.images import Images
from edgeveil.shared.doctor import checks
from edgeveil.shared.doctor.checks import Level
from edgeveil.shared.tasks.backbone import asset, embedding, network

NAME = "efficientnet-lite0"
RECORDED = {
    71: 0.112,
    1037: 0.1098,
    957: 0.109,
    204: 0.0996,
    864: 0.0795,
    936: 0.0463,
}  # the strongest numbers of the first picture, and their places
SIZE = {"height": 96, "width": 96, "channels": 3}


@pytest.fixture(scope="module")
def weights():
    return torch.load(io.BytesIO(asset.read_weights()), weights_only=True)


def pictures(count, side=96):
    """Coloured waves, each of another length: public, smooth, unlike each other."""
    y, x = np.mgrid[0:side, 0:side] / side
    waves = [
        [0.5 + 0.5 * np.sin(6 * (number + 1) * (x * c + y * (2 - c)) + c) for c in range(3)]
        for number in range(count)
    ]
    return np.moveaxis(np.array(waves, dtype=np.float32), 1, 3).copy()


@pytest.fixture
def other_package(tmp_path, monkeypatch):
    """A package under another name that the task takes for the one with the weights."""
    asset.check_weights.cache_clear()
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(asset, "PACKAGE", "weights_of_somebody")
    yield tmp_path / "weights_of_somebody"
    sys.modules.pop("weights_of_somebody", None)
    asset.check_weights.cache_clear()


def test_absent_weights_are_an_error_that_names_the_extra(other_package):
    task, options = task_and_options("feature-head", "fixed", features=NAME, **SIZE)
    for use in (task.build, task.tensors):
        with pytest.raises(NotInstalled, match=r"edgeveil\[backbone\]") as caught:
            use(options)
    assert caught.value.exit_code is ExitCode.UNAVAILABLE
    assert not asset.installed()


def test_other_weights_are_refused_by_their_hash_and_never_loaded(other_package):
    file = other_package / asset.FILE
    file.parent.mkdir(parents=True)
    (other_package / "__init__.py").write_text("raise SystemError('imported')")
    file.write_bytes(asset.SHA256.encode())
    importlib.invalidate_caches()
    task, options = task_and_options("feature-head", "fixed", features=NAME, **SIZE)
    with pytest.raises(NotInstalled, match="other weights than those of efficientnet-lite0"):
        task.build(options)
    file.unlink()
    with pytest.raises(NotInstalled, match="cannot be read"):
        task.build(options)


def test_both_doctors_say_whether_the_right_weights_are_there(other_package, monkeypatch):
    assert checks.backbone().level is Level.GREEN
    assert "refused" in checks.backbone().text
    file = other_package / asset.FILE
    file.parent.mkdir(parents=True)
    (other_package / "__init__.py").touch()
    file.write_bytes(b"something else")
    importlib.invalidate_caches()
    (found,) = checks.examine([("backbone", "", checks.backbone)])
    assert found.level is Level.RED
    assert found.fix == asset.REINSTALL
    monkeypatch.undo()
    asset.check_weights.cache_clear()
    assert asset.SHA256[:16] in checks.backbone().text


@pytest.mark.parametrize("change", ["left out", "added", "of another shape"])
def test_weights_that_are_not_exactly_the_network_are_refused(weights, change):
    changed = dict(weights)
    if change == "added":
        changed["_blocks.16._bn2.bias"] = torch.zeros(320)
    elif change == "left out":
        del changed["_blocks.15._bn2.bias"]
    else:
        changed["_blocks.15._bn2.bias"] = torch.zeros(192)
    with pytest.raises(ValueError, match="the weights hold"):
        network.Trunk(changed)


def test_a_folded_convolution_gives_what_convolution_and_normalisation_give(weights):
    """The first block of stride 2 and kernel 5, in TensorFlow's arithmetic written out."""
    block = network.Trunk(weights).blocks[3].layers
    inputs = torch.rand((2, 24, 24, 24), generator=torch.Generator().manual_seed(3))

    def norm(values, name):
        parts = (weights[f"{name}.{p}"] for p in ("running_mean", "running_var", "weight", "bias"))
        return functional.batch_norm(values, *parts, eps=network.EPSILON)

    name = "_blocks.3"
    wide = norm(functional.conv2d(inputs, weights[f"{name}._expand_conv.weight"]), f"{name}._bn0")
    padded = functional.pad(
        wide.clamp(0, 6), (1, 2, 1, 2)
    )  # 24 → 12: three in all, one of them before
    deep = functional.conv2d(
        padded, weights[f"{name}._depthwise_conv.weight"], stride=2, groups=144
    )
    deep = norm(deep, f"{name}._bn1").clamp(0, 6)
    wanted = norm(functional.conv2d(deep, weights[f"{name}._project_conv.weight"]), f"{name}._bn2")
    with torch.inference_mode():
        found = block(inputs)
    assert found.shape == wanted.shape == (2, 40, 12, 12)
    assert torch.allclose(found, wanted, atol=1e-4)


def test_a_picture_gives_the_recorded_numbers():
    (row,) = embedding.embed(pictures(1))
    assert row.shape == (asset.NUMBERS,)
    assert np.linalg.norm(row) == pytest.approx(1, abs=1e-6)
    assert {place: row[place] for place in RECORDED} == pytest.approx(RECORDED, abs=2e-4)
    assert row.argmax() == next(iter(RECORDED))


def test_a_picture_has_the_same_numbers_whatever_lies_beside_it():
    some = pictures(3)
    together = embedding.embed(some)
    assert together.tobytes() == b"".join(embedding.embed(some[at : at + 1]).tobytes() for at in range(3))  # fmt: skip
    assert embedding.embed(some[:0]).shape == (0, asset.NUMBERS)
    assert not np.allclose(together[0], together[1], atol=1e-2)


def test_batches_of_a_fixed_size_give_nearly_the_same_numbers(monkeypatch):
    some = pictures(3)
    alone = embedding.embed(some)
    monkeypatch.setattr(embedding, "BATCH", 2)
    embedding._network.cache_clear()
    batched = embedding.embed(
        some, device="cpu:0"
    )  # by another name, so that it is not taken one by one
    embedding._network.cache_clear()
    assert np.allclose(alone, batched, atol=1e-4)


def test_the_frozen_network_neither_travels_nor_has_a_gradient(weights):
    assert not any(p.requires_grad for p in network.Trunk(weights).parameters())
    task, options = task_and_options("feature-head", "fixed", features=NAME, **SIZE)
    (weight,) = task.tensors(options)
    assert weight.shape == (10, asset.NUMBERS + 1)
    assert [p.shape for p in task.build(options).parameters()] == [weight.shape]


@pytest.mark.parametrize(
    "options",
    [
        {"height": 96, "width": 96},
        {"height": 96, "width": 128, "channels": 3},
        {"height": 28, "width": 28, "channels": 3},
        {"height": 224, "width": 224, "channels": 3},
    ],
)
def test_only_squares_in_colours_of_three_sizes_are_taken(options):
    with pytest.raises(ConfigError, match="96, 128, 160"):
        task_and_options("feature-head", "fixed", features=NAME, **options)


def test_a_task_takes_the_numbers_that_the_owner_had_computed_before(tmp_path):
    task, options = task_and_options("feature-head", "fixed", features=NAME, labels="b,a", classes=2, **SIZE)  # fmt: skip
    found = Images(pictures(2), np.array([0, 1]), ())
    computed = task.prepare(found, ("a", "b"), options)
    assert computed.targets.tolist() == [1, 0]
    assert (computed.inputs[:, -1] == np.float32(asset.BIAS)).all()
    known = np.eye(2, asset.NUMBERS, dtype=np.float32)
    given = asset.EmbeddedImages(found.pixels, found.targets, (), embedded=known)
    prepared = task.prepare(given, ("a", "b"), options)
    assert prepared.targets.tolist() == [1, 0]
    assert (prepared.inputs[:, :-1] == known).all()
    other, plain = task_and_options("feature-head", "fixed", labels="b,a", classes=2, **SIZE)
    assert other.prepare(given, ("a", "b"), plain).inputs.tobytes() == other.prepare(found, ("a", "b"), plain).inputs.tobytes()  # fmt: skip
    path = write_npz(tmp_path / "data.npz", X=found.pixels, y=found.targets)
    loaded = task.load(path, task.parse_options({"features": NAME, "classes": 2, **SIZE}))
    assert loaded.inputs.tobytes() == computed.inputs.tobytes()
