"""Recurrent models are packaged: their graphs begin with zeros without making them."""

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, load_from_string, numpy_helper

from edgeveil.coordinator.models.graph import graph_of
from edgeveil.coordinator.models.states import drop_zero_states
from edgeveil.shared.models.graph import Wanted, check
from edgeveil.shared.tasks import registry

HIDDEN, COLUMNS = 3, 2


def gru(start):
    """A graph (2, n, columns) → last states, whose first state is `start`, made as the exporter makes it."""
    draw = np.random.default_rng(0)
    constants = {
        "w": draw.standard_normal((1, 3 * HIDDEN, COLUMNS)).astype(np.float32),
        "r": draw.standard_normal((1, 3 * HIDDEN, HIDDEN)).astype(np.float32),
        "start": np.array(start, np.float32),
        "shape": np.array([1, 4, HIDDEN]),
    }
    nodes = [
        helper.make_node("Expand", ["start", "shape"], ["states"]),
        helper.make_node("GRU", ["records", "w", "r", "", "", "states"], ["", "last"], hidden_size=HIDDEN),
    ]  # fmt: skip
    made = helper.make_graph(
        nodes, "g",
        [helper.make_tensor_value_info("records", TensorProto.FLOAT, [2, 4, COLUMNS])],
        [helper.make_tensor_value_info("last", TensorProto.FLOAT, [1, 4, HIDDEN])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )  # fmt: skip
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), constants  # fmt: skip


def answer(model):
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])  # fmt: skip
    records = np.random.default_rng(1).standard_normal((2, 4, COLUMNS)).astype(np.float32)
    return session.run(None, {"records": records})[0]


def test_zeros_go_with_all_that_made_them_and_nothing_else_changes():
    model, constants = gru(0.0)
    before = answer(model)
    drop_zero_states(model.graph, constants)
    assert [node.op_type for node in model.graph.node] == ["GRU"]
    assert {each.name for each in model.graph.initializer} == {"w", "r"}
    assert np.array_equal(answer(model), before)


def test_a_first_state_of_other_values_stays():
    model, constants = gru(0.5)
    before = model.SerializeToString()
    drop_zero_states(model.graph, constants)
    assert model.SerializeToString() == before


@pytest.mark.parametrize("variant", ["lstm", "gru"])
def test_a_recurrent_model_gets_a_graph_that_devices_run(variant):
    task = registry.load(registry.newest("sensor-sequence"))
    raw = {"variant": variant, "columns": "x -1..1, y -1..1", "labels": "rest,walk", "window": 16, "hidden": 4}  # fmt: skip
    options = task.parse_options(raw)
    size = sum(int(np.prod(each.shape)) for each in task.tensors(options))
    vector = np.random.default_rng(0).standard_normal(size).astype(np.float32) * np.float32(0.1)
    data, _form = graph_of(task, options, vector)
    assert variant.upper() in check(data, Wanted("records", (16, 2), "logits", (2,)))
    assert "Expand" not in {node.op_type for node in load_from_string(data).graph.node}
