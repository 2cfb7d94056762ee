"""An ONNX graph that nobody vouches for, judged before any runtime sees it.

Allowed is what the exporter of this product writes: one operator set, operators of a list, no functions,
no subgraphs (so neither loops nor branches), no data in other files, constants whose size is that of their
bytes, every value made before it is used. Anything else is refused, also what would be harmless: a graph
needs no more (docs/models.md, "What is checked"). Field numbers: onnx.proto.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from edgeveil.shared.models import protobuf
from edgeveil.shared.models.manifest import Manifest
from edgeveil.shared.models.protobuf import BYTES, FIXED32, VARINT, Malformed

IR_VERSIONS = range(8, 11)
OPSETS = range(18, 22)
MOST_NODES = 2000
MOST_PARTS = 3 * MOST_NODES  # nodes, constants, what goes in and out
MOST_DIMENSIONS = 8
SIZES = {
    1: 4,
    2: 1,
    3: 1,
    6: 4,
    7: 8,
    9: 1,
    11: 8,
}  # bytes of float32, uint8, int8, int32, int64, bool, float64
FLOAT32 = 1

# None of them can make much of little: no Expand, Tile, Pad, Range, Resize, ConstantOfShape.
_ALLOWED = """
    Abs Add And ArgMax Atan AveragePool BatchNormalization Cast Clip Concat Conv Div Equal Exp
    Flatten Floor GRU GatherElements Gemm GlobalAveragePool Greater GreaterOrEqual
    GroupNormalization Identity InstanceNormalization LSTM LayerNormalization LeakyRelu Less LessOrEqual Log
    LogSoftmax MatMul Max MaxPool Min Mul Neg Not Or Pow Reciprocal ReduceL2 ReduceMax ReduceMean
    ReduceMin ReduceSum ReduceSumSquare Relu Reshape Shape Sigmoid Sign Slice Softmax Softplus Split
    Sqrt Squeeze Sub Tanh Transpose Unsqueeze Where
"""
OPERATORS = frozenset(_ALLOWED.split())
# Of models that a device made of another one: 8-bit arithmetic, and what the folding of constants leaves.
_EIGHT_BITS = """
    ConvInteger DequantizeLinear DynamicQuantizeLinear Gather MatMulInteger QuantizeLinear
"""
QUANTIZED = frozenset(_EIGHT_BITS.split())
RUNTIMES_OWN = {"com.microsoft": frozenset({"DynamicQuantizeLSTM"})}  # onnxruntime's, by domain

_MODEL = {1: VARINT, 7: BYTES, 8: BYTES}
_OPSET = {1: BYTES, 2: VARINT}
_GRAPH = {1: BYTES, 2: BYTES, 5: BYTES, 11: BYTES, 12: BYTES}
_NODE = {1: BYTES, 2: BYTES, 4: BYTES, 5: BYTES, 7: BYTES}
_ATTRIBUTE = {
    1: BYTES,
    2: FIXED32,
    3: VARINT,
    4: BYTES,
    7: FIXED32,
    8: VARINT,
    9: BYTES,
    20: VARINT,
}
_TENSOR = {1: VARINT, 2: VARINT, 8: BYTES, 9: BYTES}
_VALUE = {1: BYTES, 2: BYTES}
_TENSOR_TYPE, _DIMENSION = {1: VARINT, 2: BYTES}, {1: VARINT, 2: BYTES}
_HINTS = {
    25: "it brings functions of its own",
    20: "it brings a part for training",
    14: "it brings notes of a tool",
}


class Forbidden(ValueError):
    """A graph that is not run; the sentence says what it holds."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a manifest says of the graph: one input, one output, each (n, *shape) of float32; whether 8-bit
    operators may stand in it.
    """

    input: str
    input_shape: tuple[int, ...]
    output: str
    output_shape: tuple[int, ...]
    quantized: bool = False

    @classmethod
    def of(cls, manifest: Manifest) -> "Wanted":
        taken, given = manifest.input, manifest.output
        return cls(taken.name, taken.shape, given.name, given.shape, manifest.derived is not None)


def check(data: bytes, wanted: Wanted) -> frozenset[str]:
    """The operators that the graph uses; raises Forbidden."""
    try:
        return _check(memoryview(data), wanted)
    except Malformed as error:
        raise Forbidden(f"its graph is not readable ({error})") from error


def _check(data: memoryview, wanted: Wanted) -> frozenset[str]:
    for number, _, _ in protobuf.fields(data):
        if number in _HINTS:
            raise Forbidden(f"its graph is refused: {_HINTS[number]}")
    found = protobuf.message(data, _MODEL, frozenset({8}))
    version = protobuf.number(_one(found, 1))
    if version not in IR_VERSIONS:
        raise Forbidden(f"its graph has ONNX version {version}, which is not read here")
    _check_opsets(found.get(8, []), quantized=wanted.quantized)
    graph = protobuf.message(
        protobuf.part(_one(found, 7)), _GRAPH, frozenset({1, 5, 11, 12}), MOST_PARTS
    )
    protobuf.text(_one(graph, 2))
    nodes, constants = graph.get(1, []), graph.get(5, [])
    if len(nodes) > MOST_NODES or len(constants) > MOST_NODES:
        raise Forbidden(f"its graph has more than {MOST_NODES} nodes or constants")
    _check_value(graph.get(11, []), wanted.input, wanted.input_shape, "input")
    _check_value(graph.get(12, []), wanted.output, wanted.output_shape, "output")
    known = {wanted.input, *(_constant(protobuf.part(each)) for each in constants)}
    if len(known) != 1 + len(constants):
        raise Forbidden("its graph names two constants alike")
    operators = [_node(protobuf.part(each), known, quantized=wanted.quantized) for each in nodes]
    if wanted.output not in known:
        raise Forbidden(f"its graph never makes its output {wanted.output!r}")
    return frozenset(operators)


def _check_opsets(opsets: Iterable[protobuf.Value], *, quantized: bool) -> None:
    """One standard set; beside it, of a quantised graph, those of RUNTIMES_OWN in their version 1."""
    found = [protobuf.message(protobuf.part(each), _OPSET) for each in opsets]
    domains = [protobuf.text(each[1][0]) if 1 in each else "" for each in found]
    own = RUNTIMES_OWN if quantized else {}
    strange = [domain for domain in domains if domain and domain not in own]
    if strange:
        raise Forbidden(f"its graph needs operators of {strange[0]!r}, only standard ones are run")
    versions = [
        (OPSETS if not domain else range(1, 2), protobuf.number(_one(each, 2)))
        for domain, each in zip(domains, found, strict=True)
    ]
    known = all(version in allowed for allowed, version in versions)
    if not known or domains.count("") != 1 or len(set(domains)) != len(domains):
        raise Forbidden("its graph needs a set of operators that is not known here")


def _check_value(
    values: list[protobuf.Value], name: str, shape: tuple[int, ...], what: str
) -> None:
    """One value of that name, (any, *shape) of float32."""
    if len(values) != 1:
        raise Forbidden(f"its graph has {len(values)} values as {what} where one belongs")
    value = protobuf.message(protobuf.part(values[0]), _VALUE)
    kind = protobuf.message(protobuf.part(_one(value, 2)), {1: BYTES})
    tensor = protobuf.message(protobuf.part(_one(kind, 1)), _TENSOR_TYPE)
    axes = protobuf.message(protobuf.part(_one(tensor, 2)), {1: BYTES}, frozenset({1}))
    sides = [protobuf.message(protobuf.part(each), _DIMENSION) for each in axes.get(1, [])]
    found = tuple(protobuf.number(each[1][0]) if 1 in each else None for each in sides)
    told = (protobuf.text(_one(value, 1)), protobuf.number(_one(tensor, 1)), found)
    if told != (name, FLOAT32, (None, *shape)):
        raise Forbidden(f"its graph has another {what} than its manifest says")


def _constant(data: memoryview) -> str:
    """Its name; the bytes are all there and as many as its shape asks for."""
    for number, _, _ in protobuf.fields(data):
        if number in {13, 14}:
            raise Forbidden("its graph keeps constants in another file")
    found = protobuf.message(data, _TENSOR, frozenset({1}))
    name, shape = protobuf.text(_one(found, 8)), protobuf.numbers(found.get(1, []))
    size = SIZES.get(protobuf.number(_one(found, 2)))
    raw = protobuf.part(found[9][0]) if 9 in found else memoryview(b"")
    if size is None or len(shape) > MOST_DIMENSIONS or math.prod(shape) * size != len(raw):
        raise Forbidden(f"its graph has a constant {name!r} whose size is not that of its values")
    return name


def _node(data: memoryview, known: set[str], *, quantized: bool) -> str:
    """The operator; its outputs are added to `known`."""
    found = protobuf.message(data, _NODE, frozenset({1, 2, 5}))
    operator = protobuf.text(_one(found, 4))
    domain = protobuf.text(found[7][0]) if 7 in found else ""
    allowed = OPERATORS | QUANTIZED if quantized else OPERATORS
    if domain:
        allowed = RUNTIMES_OWN.get(domain, frozenset()) if quantized else frozenset()
        if operator not in allowed:
            raise Forbidden(f"its graph uses {operator!r}, which is no standard operator")
    if operator not in allowed:
        raise Forbidden(f"its graph uses the operator {operator!r}, which is not run here")
    for attribute in found.get(5, []):
        _check_attribute(protobuf.part(attribute), operator)
    for name in map(protobuf.text, found.get(1, [])):
        if name and name not in known:
            raise Forbidden(f"its graph uses {name!r} before it is made")
    for name in map(protobuf.text, found.get(2, [])):
        if name in known:
            raise Forbidden(f"its graph makes {name!r} twice")
        if name:
            known.add(name)
    return operator


def _check_attribute(data: memoryview, operator: str) -> None:
    for number, _, _ in protobuf.fields(data):
        if number in {6, 11}:
            raise Forbidden(
                f"its graph has a graph within {operator!r}: no loops or branches are run"
            )
    found = protobuf.message(data, _ATTRIBUTE, frozenset({7, 8, 9}))
    for value in (_one(found, 1), *found.get(4, []), *found.get(9, [])):
        protobuf.text(value)


def _one(found: dict[int, list[protobuf.Value]], number: int) -> protobuf.Value:
    if number not in found:
        raise Malformed(f"the field {number} is missing")
    return found[number][0]
