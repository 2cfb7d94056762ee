"""ONNX graphs on the way to a smaller one: folded before, and plain afterwards, as packages hold them."""

from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import numpy_helper

QUIET = 3  # of onnxruntime: errors only


def folded(data: bytes, folder: str) -> Any:
    """The ModelProto with constants worked out and what does nothing gone; standard operators alone.

    `folder`: an empty one for what the runtime can only write to a file.
    """
    target = f"{folder}/folded.onnx"
    options = onnxruntime.SessionOptions()
    options.log_severity_level = QUIET
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = target
    onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return onnx.load(target)


def plain(model: Any) -> bytes:
    """Without notes, names of nodes, shapes of what is in between and sets of operators that nothing uses."""
    made = onnx.ModelProto()
    made.ir_version = model.ir_version
    used = {node.domain for node in model.graph.node}
    for each in model.opset_import:
        if each.domain in {"", "ai.onnx"} or each.domain in used:
            made.opset_import.add(domain=each.domain, version=each.version)
    made.graph.name = "model"
    for node in model.graph.node:
        kept = made.graph.node.add(op_type=node.op_type, domain=node.domain)
        kept.input.extend(node.input)
        kept.output.extend(node.output)
        for attribute in node.attribute:
            kept.attribute.append(attribute)
            kept.attribute[-1].ClearField("doc_string")
    wanted = {name for node in model.graph.node for name in node.input}
    for name, array in constants(model).items():
        if name in wanted:
            made.graph.initializer.append(numpy_helper.from_array(array, name))
    for target, values in ((made.graph.input, model.graph.input), (made.graph.output, model.graph.output)):  # fmt: skip
        for value in values:
            target.add(name=value.name).type.CopyFrom(value.type)
    return bytes(made.SerializeToString(deterministic=True))


def constants(model: Any) -> dict[str, NDArray[Any]]:
    return {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}


def run(data: bytes, records: NDArray[np.float32]) -> NDArray[np.float32]:
    """What a graph with one input and one output gives, (n, …)."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = QUIET
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    (given,) = session.run(None, {session.get_inputs()[0].name: records})
    return np.asarray(given, np.float32)
