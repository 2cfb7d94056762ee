"""Models that take arrays as their task prepared them: tables, windows of sensors."""

import io
import json
import os

import numpy as np
import pytest
from models_bench import VECTORS, resigned
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from edgeveil.agent.inference.evaluation import evaluate
from edgeveil.agent.inference.inputs import find, read
from edgeveil.agent.inference.predicting import predictions
from edgeveil.agent.inference.runtime import open_model
from edgeveil.shared.base.errors import DataError
from edgeveil.shared.models.package import read_package

WEIGHTS = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]], np.float32)
TAKEN = {"kind": "array", "name": "records", "shape": (2, 2)}


@pytest.fixture
def model(tmp_path):
    """(n, 2, 2) → the first three of the four values as logits."""
    constants = [numpy_helper.from_array(WEIGHTS, "w"), numpy_helper.from_array(np.array([-1, 4]), "flat")]  # fmt: skip
    nodes = [helper.make_node("Reshape", ["records", "flat"], ["rows"]), helper.make_node("MatMul", ["rows", "w"], ["logits"])]  # fmt: skip
    graph = helper.make_graph(
        nodes, "g",
        [helper.make_tensor_value_info("records", TensorProto.FLOAT, ["n", 2, 2])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 3])],
        constants,
    )  # fmt: skip
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    data = resigned(read_package(VECTORS / "cnn.evm"), model=made.SerializeToString(), input=TAKEN)
    (tmp_path / "a.evm").write_bytes(data)
    return open_model(tmp_path / "a.evm")


def test_records_of_any_number_type_are_answered(model):
    rows = [[[5, 0], [0, 9]], [[-1, 2], [0, 9]], [[0, 0], [3, 9]]]
    for kind in (np.float32, np.float64, np.int64, np.int8):
        assert [each.label for each in model.predict(np.array(rows, kind))] == ["apple", "pear", "plum"]  # fmt: skip


def test_a_record_with_a_hole_is_named_and_the_others_are_answered(model, tmp_path):
    rows = np.zeros((3, 2, 2))
    rows[1, 0, 0] = np.nan
    np.savez(tmp_path / "a.npz", X=rows)
    found = list(predictions(model, find([str(tmp_path)]).paths, io.BytesIO()))
    assert [answer is None for _, answer, _ in found] == [False, True, False]
    assert "a.npz[1]" in found[1][0]
    assert "finite" in found[1][2]


def test_pictures_are_refused_with_what_the_model_takes(model, tmp_path):
    for path in ("photo.png", "-"):
        (item,) = read(path, model.input, io.BytesIO(b"x"))
        assert item.record is None
        assert "an .npz file with X of shape (n, 2, 2)" in item.why
    with pytest.raises(DataError, match="arrays"):
        model.predict("photo.png")


def test_an_evaluation_counts_labels_that_the_model_knows(model, tmp_path):
    rows = np.zeros((5, 2, 2), np.float32)
    rows[:, 0, 1] = 1
    rows[4] = np.inf
    np.savez(tmp_path / "a.npz", X=rows, y=np.array([1, 1, 0, 7, 1]))
    found = evaluate(model, tmp_path / "a.npz")
    assert found.counts.tolist() == [[0, 1, 0], [0, 2, 0], [0, 0, 0]]
    assert sorted(each.sentence for each in found.left) == [
        "a.npz: record 3 has a label that the model does not know",
        "a.npz: record 4 has a value that is not finite",
    ]
    json.dumps(found.as_json())


@pytest.mark.parametrize("labels", [np.zeros(4, np.int64), np.zeros(5), np.zeros((5, 1), np.int64)])  # fmt: skip
def test_labels_that_are_none_are_refused(model, tmp_path, labels):
    np.savez(tmp_path / "a.npz", X=np.zeros((5, 2, 2)), y=labels)
    with pytest.raises(DataError):
        evaluate(model, tmp_path / "a.npz")


def test_a_folder_without_arrays_is_no_data_for_it_and_a_pipe_is_not_waited_for(model, tmp_path):
    (tmp_path / "d" / "a").mkdir(parents=True)
    (tmp_path / "d" / "a" / "x.wav").write_bytes(b"")
    with pytest.raises(DataError, match=r"name an \.npz file"):
        evaluate(model, tmp_path / "d", quiet=True)
    os.mkfifo(tmp_path / "p.npz")
    (item,) = read(str(tmp_path / "p.npz"), model.input, io.BytesIO())
    assert "not a regular file" in item.why


def test_a_folder_without_arrays_is_refused_with_their_shape(model, tmp_path):
    (tmp_path / "photos/cat").mkdir(parents=True)
    Image.new("L", (8, 8)).save(tmp_path / "photos/cat/a.png")
    with pytest.raises(DataError, match=r"y and X of shape \(n, 2, 2\)"):
        evaluate(model, tmp_path / "photos")
