"""What an ONNX graph may hold before a runtime sees it."""

import random
from contextlib import suppress

import numpy as np
import onnx
import pytest
from models_bench import VECTORS
from onnx import TensorProto, helper, numpy_helper

from edgeveil.shared.models.graph import Forbidden, Wanted, check
from edgeveil.shared.models.package import read_package

WANTED = Wanted("records", (2,), "logits", (3,))
CNN = read_package(VECTORS / "cnn.evm")


def model(nodes=None, constants=None, *, opsets=None, inputs=None, outputs=None, change=None):
    """A linear model (n, 2) → (n, 3), or what a test makes of it."""
    weights = numpy_helper.from_array(np.ones((2, 3), np.float32), "w")
    nodes = nodes or [helper.make_node("MatMul", ["records", "w"], ["logits"])]
    inputs = inputs or [helper.make_tensor_value_info("records", TensorProto.FLOAT, ["n", 2])]
    outputs = outputs or [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 3])]
    graph = helper.make_graph(nodes, "g", inputs, outputs, [weights] if constants is None else constants)  # fmt: skip
    made = helper.make_model(graph, opset_imports=opsets or [helper.make_opsetid("", 20)])
    made.ir_version = 10
    if change:
        change(made)
    return made.SerializeToString()


def refused(data, *words, wanted=WANTED):
    with pytest.raises(Forbidden) as caught:
        check(data, wanted)
    said = str(caught.value)
    assert all(word in said for word in words), said
    assert "\n" not in said


def test_a_plain_graph_passes():
    assert check(model(), WANTED) == {"MatMul"}


@pytest.mark.parametrize("name", ["cnn", "head"])
def test_what_the_product_exports_passes(name):
    found = read_package(VECTORS / f"{name}.evm")
    assert "Gemm" in check(found.model, Wanted.of(found.manifest))


def test_an_operator_of_another_domain_is_refused():
    node = helper.make_node("Evil", ["records"], ["logits"], domain="com.evil")
    refused(model([node]), "Evil", "no standard operator")
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)]
    refused(model(opsets=opsets), "com.microsoft")


@pytest.mark.parametrize("operator", ["Loop", "If", "Scan", "Expand", "Tile", "Range", "NonZero", "Pad", "ConstantOfShape", "Nonsense"])  # fmt: skip
def test_an_operator_that_no_task_needs_is_refused(operator):
    refused(model([helper.make_node(operator, ["records"], ["logits"])]), operator)


def test_a_graph_within_a_graph_is_refused():
    inner = helper.make_graph([], "inner", [], [])
    node = helper.make_node("Relu", ["records"], ["logits"], body=inner)
    refused(model([node]), "graph within")


def test_functions_and_notes_are_refused():
    function = helper.make_function("", "F", ["x"], ["y"], [helper.make_node("Relu", ["x"], ["y"])], [helper.make_opsetid("", 20)])  # fmt: skip
    refused(model(change=lambda made: made.functions.append(function)), "functions")
    refused(model(change=lambda made: made.metadata_props.add(key="a", value="b")), "notes")


def test_constants_in_another_file_are_refused():
    outside = numpy_helper.from_array(np.ones((2, 3), np.float32), "w")
    outside.ClearField("raw_data")
    outside.data_location = TensorProto.EXTERNAL
    outside.external_data.add(key="location", value="/etc/passwd")
    refused(model(constants=[outside]), "another file")


@pytest.mark.parametrize("shape", [[1 << 40], [1 << 20, 1 << 20, 1 << 20], [-1, 6], [2, 2], [1] * 9])  # fmt: skip
def test_a_constant_that_is_not_as_long_as_it_says_is_refused(shape):
    constant = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=shape, raw_data=b"\0" * 24)
    refused(model(constants=[constant]), "size")


def test_texts_as_constants_are_refused():
    refused(model(constants=[helper.make_tensor("w", TensorProto.STRING, [1], [b"a"])]))


def test_values_are_made_once_and_before_they_are_used():
    early = [helper.make_node("Relu", ["later"], ["logits"])]
    refused(model(early), "before it is made")
    twice = [helper.make_node("Relu", ["records"], ["logits"])] * 2
    refused(model(twice), "twice")
    never = [helper.make_node("Relu", ["records"], ["other"])]
    refused(model(never), "never makes")


def test_another_input_or_output_than_the_manifest_says_is_refused():
    for wanted in (
        Wanted("records", (3,), "logits", (3,)),
        Wanted("other", (2,), "logits", (3,)),
        Wanted("records", (2,), "logits", (4,)),
        Wanted("records", (2,), "other", (3,)),
    ):
        refused(model(), "manifest", wanted=wanted)
    two = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 2]) for name in ("records", "b")]  # fmt: skip
    refused(model(inputs=two), "one belongs")
    refused(model(inputs=[helper.make_tensor_value_info("records", TensorProto.DOUBLE, ["n", 2])]))


def test_other_versions_of_onnx_are_refused():
    refused(model(change=lambda made: setattr(made, "ir_version", 99)), "version 99")
    refused(model(opsets=[helper.make_opsetid("", 5)]), "operators")


def test_a_graph_of_too_many_nodes_is_refused():
    nodes = [helper.make_node("Relu", ["records"], [f"v{at}"]) for at in range(2001)]
    refused(model(nodes), "2000")


@pytest.mark.parametrize("data", [b"", b"\xff" * 50, b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f", b"\x0b\x0c"])  # fmt: skip
def test_bytes_that_are_no_graph_are_refused(data):
    refused(data, "graph")


@pytest.mark.parametrize("attributes", [{"zzz": 1}, {"mode": "zzz"}, {"modes": ["zzz"]}])
def test_texts_of_an_attribute_are_texts(attributes):
    """A runtime would fail on them in a way of its own, and tell standard output about it."""
    data = model([helper.make_node("Relu", ["records"], ["logits"], **attributes)])
    assert check(data, WANTED) == {"Relu"}
    refused(data.replace(b"zzz", b"z\xffz"), "UTF-8")


def test_a_field_that_stands_twice_is_refused():
    """A runtime would merge two graphs, or take the second name."""
    refused(model() + model(), "twice")


def test_mutated_graphs_pass_only_as_graphs_that_onnx_reads_alike():
    """What passes has the operators that the official parser sees in it: no two readings of the same bytes."""
    draw, passed = random.Random(2), 0
    data, wanted = CNN.model, Wanted.of(CNN.manifest)
    head = 3000  # the nodes; behind them lie the weights, of which any are as good
    for _ in range(1500):
        mutated = bytearray(data)
        for _ in range(draw.randint(1, 3)):
            mutated[draw.randrange(head)] = draw.randrange(256)
        with suppress(Forbidden):
            found = None
            found = check(bytes(mutated), wanted)
        if found is None:
            continue
        passed += 1
        seen = onnx.load_from_string(bytes(mutated))
        assert {node.op_type for node in seen.graph.node} == found
        assert not any(node.domain for node in seen.graph.node)
    assert passed, "some mutations change an attribute alone"


def test_millions_of_empty_names_are_refused_before_they_are_counted():
    node = helper.make_node("Concat", ["records"] * 200_000, ["logits"], axis=0)
    refused(model([node]), "not readable")


def test_a_constant_of_very_many_dimensions_is_refused():
    def change(made):
        made.graph.initializer[0].dims.extend([1] * 200_000)

    refused(model(change=change), "not readable")
