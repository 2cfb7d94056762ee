"""Recurrent layers that begin with zeros, as ONNX has it anyway: without the zeros that the exporter spells out.

It makes them of the number of records by `Expand`, which packages may not hold (edgeveil.shared.models.graph).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

RECURRENT = {"GRU": (5,), "LSTM": (5, 6), "RNN": (5,)}  # which inputs are first states


def drop_zero_states(graph: Any, constants: Mapping[str, NDArray[Any]]) -> None:
    """Change the GraphProto in place: such inputs go, and with them whatever nobody needs then."""
    makers = {name: node for node in graph.node for name in node.output}
    changed = False
    for node in graph.node:
        for at in RECURRENT.get(node.op_type, ()):
            if at < len(node.input) and _is_zero(node.input[at], makers, constants):
                node.input[at] = ""
                changed = True
    if changed:
        _drop_unused(graph)


def _is_zero(name: str, makers: Mapping[str, Any], constants: Mapping[str, NDArray[Any]]) -> bool:
    while (node := makers.get(name)) is not None and node.op_type in {"Slice", "Expand"}:
        name = node.input[0]
    return name in constants and not np.any(constants[name])


def _drop_unused(graph: Any) -> None:
    needed = {value.name for value in graph.output}
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            needed.update(node.input)
    for part, names in ((graph.node, lambda n: n.output), (graph.initializer, lambda t: (t.name,))):
        kept = [each for each in part if needed.intersection(names(each))]
        del part[:]
        part.extend(kept)
