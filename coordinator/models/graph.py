"""The ONNX graph of a model, made by torch and compared with it. The one module here that imports either.

The graph is stripped of what the exporter notes in it, among them paths of this machine: what stays is what
shared/models/graph.py lets pass, and equal models give equal bytes.
"""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray

from edgeveil.coordinator.models.contents import LOGITS, RECORDS, ROWS, Form, Rows, input_of
from edgeveil.coordinator.models.states import drop_zero_states
from edgeveil.shared.base.errors import ConfigError, StateDamaged
from edgeveil.shared.models import known_answer
from edgeveil.shared.tasks.graphs import Packaged, packaged
from edgeveil.shared.tasks.lowering.groups import lowered
from edgeveil.shared.tasks.modules import all_tensors, write_vector
from edgeveil.shared.tasks.spec import Options, Task
from edgeveil.shared.vector.model_vector import Vector

OPSET = 20
TOLERANCE = 1e-5  # relative L2 distance between the two runtimes' logits
# Of the task's own preparation in numpy, whose arctan2 may differ between processors in the last bits.
PREPARED_ALIKE = 1e-3
LOUD = ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")


def graph_of(task: Task, options: Options, vector: Vector) -> tuple[bytes, Form]:
    """The graph with the weights in it, those of the whole model, and its form.

    Raises:
        ConfigError: models of this task have no graph that packages can hold.
        StateDamaged: the graph does not compute what the model does.
    """
    module = task.build(options).eval()
    write_vector(module, vector, all_tensors(task, options))
    try:
        found = packaged(task, options, module)
    except TypeError as error:
        raise ConfigError(f"a model of {task.spec.id} cannot be packaged yet: {error}") from error
    data = _stripped(_exported(found))
    compare(data, found)
    told = str(task.signature(options)["preprocessing"])
    inside = told if found.prepares else f"not in the graph: {told}"
    if found.moment is not None and found.moment.window is not None:
        inside += "; statistics of a window are not in the graph"
    form = (found.shape, found.picture, found.labels, inside, found.columns)
    return data, Form(*form, found.rows, found.sound, found.given, found.moment)


def answers(data: bytes, form: Form) -> Rows:
    """What the graph gives of the records of its self-test."""
    return known_answer.told(run(data, known_answer.records(input_of(form))))


def tools() -> dict[str, str]:
    return {"onnx": onnx.__version__, "onnxruntime": onnxruntime.__version__}


def run(data: bytes, records: NDArray[np.float32]) -> NDArray[np.float32]:
    """What the graph gives, (n, …), by onnxruntime."""
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    (given,) = session.run(None, {RECORDS: records})
    return np.asarray(given)


def _exported(found: Packaged) -> Any:
    with _quiet():
        program = torch.onnx.export(
            lowered(found.module, torch.from_numpy(found.raw[:1])),
            (torch.from_numpy(found.raw[:2]),),
            dynamo=True,
            opset_version=OPSET,
            input_names=[RECORDS],
            output_names=[found.given.name if found.given else ROWS if found.rows else LOGITS],
            dynamic_shapes=({0: "n"},),
            external_data=False,
            verbose=False,
        )
    if program is None:
        raise StateDamaged("torch made no graph of this model")
    return program.model_proto


def _stripped(model: Any) -> bytes:
    """Without notes, names of nodes and shapes of what is in between."""
    made = onnx.ModelProto()
    made.ir_version = model.ir_version
    made.opset_import.extend(model.opset_import)
    made.graph.name = "model"
    for node in model.graph.node:
        kept = made.graph.node.add(op_type=node.op_type, domain=node.domain)
        kept.input.extend(node.input)
        kept.output.extend(node.output)
        for attribute in node.attribute:
            kept.attribute.append(attribute)
            kept.attribute[-1].ClearField("doc_string")
    constants = {each.name: onnx.numpy_helper.to_array(each) for each in model.graph.initializer}
    for name, array in constants.items():
        made.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    for target, values in ((made.graph.input, model.graph.input), (made.graph.output, model.graph.output)):  # fmt: skip
        for value in values:
            target.add(name=value.name).type.CopyFrom(value.type)
    drop_zero_states(made.graph, constants)
    return bytes(made.SerializeToString(deterministic=True))


def compare(data: bytes, found: Packaged) -> None:
    """Raw records through the graph, in one batch and alone, and through torch; then as the task prepares them.

    Raises:
        StateDamaged: what they give is further apart than rounding explains.
    """
    with torch.inference_mode():
        whole = found.module(torch.from_numpy(found.raw)).numpy()
        prepared = found.plain(found.prepared).numpy()
    alone = np.concatenate([run(data, found.raw[at : at + 1]) for at in range(2)])
    for one, other, most in (
        (run(data, found.raw), whole, TOLERANCE),
        (alone, whole[:2], TOLERANCE),
        (whole, prepared, PREPARED_ALIKE),
    ):
        got, wanted = found.comparable(one), found.comparable(other)
        away = float(np.linalg.norm(got - wanted)) / max(float(np.linalg.norm(wanted)), 1e-6)
        if not away <= most:
            raise StateDamaged(
                f"the graph is off by {away:.2g} of what torch computes, at most {most:g} is allowed; "
                "nothing was written"
            )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Exporters tell a long story; what matters is compared afterwards."""
    loggers = [logging.getLogger(name) for name in LOUD]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
