"""Channels taken out of a model: what was achieved is told, what cannot be done is one sentence."""

import numpy as np
import pytest
from models_bench import VECTORS, resigned
from onnx import load_from_string

from edgeveil.agent.compression.graphs import constants, run
from edgeveil.agent.optimizing.pruning import pruned
from edgeveil.shared.base.errors import ConfigError, ModelError
from edgeveil.shared.models import graph, known_answer
from edgeveil.shared.models.package import parse_package, read_package
from edgeveil.shared.tasks import registry

CNN = read_package(VECTORS / "cnn.evm")
HEAD = read_package(VECTORS / "head.evm")


def of_this_build(package=CNN):
    """The vector, as if the code of today had trained it."""
    task = package.manifest.task
    spec = registry.newest(task.id)
    now = {"version": spec.version, "hash": spec.task_hash().hex()}
    return parse_package(resigned(package, task={**task.model_dump(), **now}))


def channels(data):
    arrays = constants(load_from_string(data))
    return sum(each.shape[0] for each in arrays.values() if each.ndim == 4)


def test_what_is_told_is_the_share_that_went_and_devices_run_what_is_left():
    package = of_this_build()
    some = np.random.default_rng(0).random((40, *package.manifest.input.shape), np.float32)
    made, achieved = pruned(package, 0.3, some)
    assert achieved == pytest.approx(1 - channels(made) / channels(package.model))
    assert achieved != 0.3, "groups of four channels go together"
    graph.check(made, graph.Wanted.of(package.manifest))
    records = known_answer.records(package.manifest.input)
    assert run(made, records).shape == run(package.model, records).shape


def test_a_model_without_channels_is_told_from_one_that_was_pruned():
    with pytest.raises(ConfigError, match="this model has no channels to prune"):
        pruned(of_this_build(HEAD), 0.5)


def test_a_model_of_other_code_is_not_rebuilt():
    task = of_this_build().manifest.task.model_dump()
    with pytest.raises(ModelError, match="not that which trained this model"):
        pruned(parse_package(resigned(CNN, task=task | {"hash": "ab" * 32})), 0.5)
    with pytest.raises(ModelError, match="is not installed here"):
        pruned(parse_package(resigned(CNN, task=task | {"version": "0.0.1"})), 0.5)
