"""`coordinator model mobile`: a package's model for runtimes of phones and boards, run here and held against the package.

What comes out is a plain file of the toolkit's own format, for one record at a time: no signature, no classes, no
preparation beyond what the graph of the package holds. The package stays the account of where it comes from.
"""

import contextlib
import hashlib
import io
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edgeveil.coordinator.models import graph
from edgeveil.coordinator.models.verify import verify
from edgeveil.coordinator.runs import checkpoint
from edgeveil.shared.base.errors import (
    ConfigError,
    ModelError,
    NotInstalled,
    ProtocolError,
    StateDamaged,
)
from edgeveil.shared.base.files import write_file
from edgeveil.shared.models.package import read_package
from edgeveil.shared.tasks import registry
from edgeveil.shared.tasks.graphs import Packaged, packaged
from edgeveil.shared.tasks.modules import all_tensors, write_vector

TOLERANCE = 1e-4  # relative L2 distance: other kernels sum in another order
Values = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class _Toolkit:
    """`made` gives the file of a module and one record, `run` what the file gives of one record."""

    suffix: str
    library: str
    extra: str
    made: Callable[[nn.Module, torch.Tensor], bytes]
    run: Callable[[bytes, Values], Values]


def convert(home: Path, file: Path, kind: str, target: Path, trust: str | None) -> dict[str, Any]:  # fmt: skip
    """Write the file; nothing is written unless it computes what the package does.

    Raises:
        ConfigError: another ending, or the task is not the one that is installed here.
        ModelError, ModelUntrusted: the package, or it is of another version of its task.
        NotInstalled: the toolkit.
        StateDamaged: the toolkit makes no file of this model, or one that computes something else.
    """
    toolkit = _TOOLKITS.get(kind)
    if toolkit is None:
        raise ConfigError(f"--format {kind!r}: write {' or '.join(_TOOLKITS)}")
    if target.suffix != toolkit.suffix:
        raise ConfigError(f"-o {target}: the name of a file for {kind} ends with {toolkit.suffix}")
    verify(file, home, trust)
    package = read_package(file)
    found = _module(file)
    record = found.raw[:1]
    try:
        with _quiet():
            data = toolkit.made(found.module.eval(), torch.from_numpy(record))
    except ModuleNotFoundError as error:
        raise NotInstalled(f"{kind} files are made with {toolkit.library}", f'pip install "edgeveil[{toolkit.extra}]"') from error  # fmt: skip
    except Exception as error:
        raise StateDamaged(f"{kind} makes no file of this model ({_first_line(error)})") from error
    away = 0.0
    for at in range(len(found.raw)):
        wanted = found.comparable(graph.run(package.model, found.raw[at : at + 1]))
        got = found.comparable(toolkit.run(data, found.raw[at : at + 1]).reshape(wanted.shape))
        off = float(np.linalg.norm(got - wanted)) / max(float(np.linalg.norm(wanted)), 1e-6)
        away = off if np.isnan(off) else max(away, off)
    if not away <= TOLERANCE:
        raise StateDamaged(
            f"{kind} is off by {away:.2g} of what the package gives, at most {TOLERANCE:g} is allowed; nothing was written"
        )
    write_file(target, data)
    return {
        "file": str(target),
        "format": kind,
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "model": package.digest,
        "record": list(record.shape),
        "away": away,
    }


def _module(file: Path) -> Packaged:
    """The package's model as torch has it, with its preparation."""
    package = read_package(file)
    told = package.manifest.task
    try:
        spec = registry.find(told.id, told.version)
    except ProtocolError as error:
        raise ModelError(
            f"{file}: {error.message}; convert it with the edgeveil that trained it, or export a newer model"
        ) from error
    if spec.task_hash().hex() != told.hash:
        raise ConfigError(f"{file}: trained by another build of {told.id} {told.version}; convert it with that one")  # fmt: skip
    task = registry.load(spec)
    options = task.parse_options(dict(told.options))  # type: ignore[arg-type]  # checked by the task itself
    try:
        saved = checkpoint.parse(package.weights)
    except ValueError as error:
        raise ModelError(f"{file}: its weights cannot be used: {error}") from error
    tensors = all_tensors(task, options)
    if saved.tensors != tensors:
        raise ModelError(f"{file}: its weights belong to another model than its task and options")
    module = task.build(options).eval()
    write_vector(module, saved.vector, tensors)
    return packaged(task, options, module)


def _executorch(module: nn.Module, record: torch.Tensor) -> bytes:
    exir = import_module("executorch.exir")
    xnnpack = import_module("executorch.backends.xnnpack.partition.xnnpack_partitioner")
    program = torch.export.export(module, (record,), strict=True)
    edge = exir.to_edge_transform_and_lower(program, partitioner=[xnnpack.XnnpackPartitioner()])
    return bytes(edge.to_executorch().buffer)


def _run_executorch(data: bytes, record: Values) -> Values:
    runtime = import_module("executorch.runtime").Runtime.get()
    method = runtime.load_program(data).load_method("forward")
    (given,) = method.execute([torch.from_numpy(record)])
    return np.asarray(given.numpy())


def _litert(module: nn.Module, record: torch.Tensor) -> bytes:
    # Else the converter makes of a square a power that its runtime has not.
    without = {torch.ops.aten.square.default: lambda x: x * x}
    program = torch.export.export(module, (record,), strict=True).run_decompositions(without)
    return bytes(import_module("litert_torch").convert(program.module(), (record,)).model_content())


def _run_litert(data: bytes, record: Values) -> Values:
    made = import_module("ai_edge_litert.interpreter").Interpreter(model_content=data)
    made.allocate_tensors()
    made.set_tensor(made.get_input_details()[0]["index"], record)
    made.invoke()
    return np.asarray(made.get_tensor(made.get_output_details()[0]["index"]))


_TOOLKITS = {
    "executorch": _Toolkit(".pte", "ExecuTorch", "mobile", _executorch, _run_executorch),
    "litert": _Toolkit(".tflite", "LiteRT", "litert", _litert, _run_litert),
}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Converters tell how far they are; standard output is the command's own."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
