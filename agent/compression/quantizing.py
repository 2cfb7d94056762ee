"""Weights of 8 bits by onnxruntime's tools: with activations measured at each call, or by records beforehand.

Where they can be unsigned they are, for convolutions, as some runtimes take no others; recurrent layers need
signed ones.
"""

import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)

from edgeveil.agent.compression.graphs import folded, plain

RECORDS = 128  # that ranges are taken from, at most
RECURRENT = {"GRU", "LSTM", "RNN"}


def dynamic(data: bytes) -> bytes:
    """Ranges of activations are found at each call: no record is needed."""
    with tempfile.TemporaryDirectory() as folder:
        model = folded(data, folder)
        kinds = {node.op_type for node in model.graph.node}
        signed = bool(RECURRENT & kinds) or "Conv" not in kinds
        target = Path(folder) / "made.onnx"
        with _quiet():
            quantize_dynamic(
                model, target, weight_type=QuantType.QInt8 if signed else QuantType.QUInt8
            )
        return plain(onnx.load(target))


def static(data: bytes, records: NDArray[np.float32]) -> bytes:
    """Ranges of activations are those of the first RECORDS of these (n, *shape): the graph then tells of them."""
    with tempfile.TemporaryDirectory() as folder:
        model = folded(data, folder)
        target = Path(folder) / "made.onnx"
        with _quiet():
            quantize_static(
                model,
                target,
                _Records(model.graph.input[0].name, records[:RECORDS]),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                op_types_to_quantize=["Conv", "Gemm", "MatMul"],
            )
        return plain(onnx.load(target))


class _Records(CalibrationDataReader):  # type: ignore[misc]  # of an untyped library
    def __init__(self, name: str, records: NDArray[np.float32]) -> None:
        self._rest: Iterator[dict[str, Any]] = iter([{name: each[np.newaxis]} for each in records])

    def get_next(self) -> dict[str, Any] | None:
        return next(self._rest, None)


class _quiet:  # noqa: N801 - read as a word: with _quiet()
    """The tools advise on their root logger."""

    def __enter__(self) -> None:
        self._before = logging.root.manager.disable
        logging.disable(logging.WARNING)

    def __exit__(self, *_: object) -> None:
        logging.disable(self._before)
