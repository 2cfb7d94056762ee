"""A detector that anybody can follow: in each quarter of its square that is bright it sees a whole object."""

import numpy as np
from models_bench import VECTORS, resigned
from onnx import TensorProto, helper, numpy_helper

from edgeveil.shared.models.package import read_package

SIDE = 64
LABELS = ("car", "bus")
# Per quarter, by lines: centre, sides, logit of an object, then of each label.
ROWS = np.array(
    [
        [16, 16, 32, 32, -20, 9, -9],
        [48, 16, 32, 32, -20, -9, 9],
        [16, 48, 32, 32, -20, 9, -9],
        [48, 48, 32, 32, -20, -9, 9],
    ],
    np.float32,
)
SHARPNESS = 40.0  # logits of an object for each step from black to white


def bright_quarters() -> bytes:
    """The graph (n, 64, 64, 3) → (n, 4, 7)."""
    slope = np.zeros((1, 4, 7), np.float32)
    slope[..., 4] = SHARPNESS
    half = SIDE // 2
    constants = {
        "quarters": np.array([-1, 2, half, 2, half, 3]),
        "within": np.array([2, 4, 5]),
        "column": np.array([-1, 4, 1]),
        "slope": slope,
        "rows_of": ROWS[np.newaxis],
    }
    steps = [
        ("Reshape", ["records", "quarters"], "split"),
        ("ReduceMean", ["split", "within"], "means"),
        ("Reshape", ["means", "column"], "light"),
        ("Mul", ["light", "slope"], "raised"),
        ("Add", ["raised", "rows_of"], "rows"),
    ]
    nodes = [helper.make_node(kind, taken, [given], **({"keepdims": 0} if kind == "ReduceMean" else {})) for kind, taken, given in steps]  # fmt: skip
    graph = helper.make_graph(
        nodes, "g",
        [helper.make_tensor_value_info("records", TensorProto.FLOAT, ["n", SIDE, SIDE, 3])],
        [helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["n", 4, 7])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )  # fmt: skip
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return made.SerializeToString()


def package(**changes) -> bytes:
    taken = {
        "kind": "image", "name": "records", "height": SIDE, "width": SIDE, "channels": 3,
        "resize": "letterbox",
    }  # fmt: skip
    given = {"kind": "boxes", "name": "rows", "labels": LABELS, "rows": 4}
    return resigned(
        read_package(VECTORS / "cnn.evm"),
        model=bright_quarters(),
        **{"input": taken, "output": given, **changes},
    )


def scene(*bright, wide=100, high=50):
    """A black picture (high, wide, 3), white in the named of its quarters, by lines."""
    pixels = np.zeros((high, wide, 3), np.uint8)
    for at in bright:
        line, column = divmod(at, 2)
        pixels[line * high // 2 : (line + 1) * high // 2, column * wide // 2 : (column + 1) * wide // 2] = 255  # fmt: skip
    return pixels
