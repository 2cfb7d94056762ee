"""The smallest weights of a graph set to zero: smaller when compressed, never faster."""

import tempfile

import numpy as np
from onnx import numpy_helper

from edgeveil.agent.compression.graphs import constants, folded, plain

WEIGHTS_OF = frozenset({"Conv", "GRU", "Gemm", "LSTM", "MatMul"})


def sparse(data: bytes, share: float) -> tuple[bytes, float]:
    """Of all weights, by size across layers; with the share that is zero now. Biases and scales stay."""
    with tempfile.TemporaryDirectory() as folder:
        model = folded(data, folder)
    arrays = constants(model)
    taken = {name for node in model.graph.node if node.op_type in WEIGHTS_OF for name in node.input}
    weights = {
        name: each
        for name, each in arrays.items()
        if name in taken and each.ndim >= 2 and each.dtype == np.float32
    }
    if not weights:
        return plain(model), 0.0
    sizes = np.concatenate([np.abs(each).ravel() for each in weights.values()])
    least = np.partition(sizes, count)[count] if (count := int(share * sizes.size)) else 0.0
    for tensor in model.graph.initializer:
        if tensor.name in weights:
            kept = np.where(np.abs(weights[tensor.name]) < least, np.float32(0), weights[tensor.name])  # fmt: skip
            weights[tensor.name] = kept
            tensor.CopyFrom(numpy_helper.from_array(kept, tensor.name))
    zeros = sum(int((each == 0).sum()) for each in weights.values())
    return plain(model), zeros / sizes.size
