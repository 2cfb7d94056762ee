"""The model of one round as one safetensors file: whole or absent, and checked when read.

safetensors holds names, shapes and raw float32 values and no code; any tool that knows the format
can open the file. Its SHA-256 goes into the round record, so a changed file is noticed.
"""

import hashlib
import json
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as parse_tensors
from safetensors.numpy import save as encode_tensors

from edgeveil.shared.base.errors import ProtocolError, StateDamaged
from edgeveil.shared.base.files import write_atomic
from edgeveil.shared.vector import model_vector
from edgeveil.shared.wire.messages import Tensor

MAX_HEADER = 1 << 20  # bytes of JSON at the start of a file
PICKLED = (b"\x80", b"PK\x03\x04")  # how a pickle and a file of torch.save begin
MAX_FILE = 4 * model_vector.MAX_PARAMETERS + MAX_HEADER + 8


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    vector: model_vector.Vector  # (d,), tensors in ascending order of name
    tensors: tuple[Tensor, ...]
    metadata: Mapping[str, str]
    sha256: str  # of the file, hex


def save(
    path: Path,
    vector: model_vector.Vector,
    tensors: tuple[Tensor, ...],
    metadata: Mapping[str, str],
) -> str:
    """Write atomically and return the file's SHA-256 in hex; it is on disk when this returns."""
    data = _canonical(encode_tensors(model_vector.unflatten(vector, tensors), dict(metadata)))
    write_atomic(path, data)
    return hashlib.sha256(data).hexdigest()


def load(path: Path, *, sha256: str | None = None) -> Checkpoint:
    """Read a checkpoint; with `sha256` insist on exactly that file.

    Raises:
        StateDamaged: absent, too long, not safetensors, not finite float32, or another hash.
    """
    try:
        data = read(path)
        found = hashlib.sha256(data).hexdigest()
        if sha256 is not None and found != sha256:
            raise StateDamaged(
                f"{path}: this checkpoint has SHA-256 {found}, the record says {sha256}; "
                "restore the file from a backup or roll back to an earlier round"
            )
        return _parsed(data, found)
    except ValueError as error:
        raise StateDamaged(
            f"{path}: this checkpoint is damaged: {error}; "
            "restore it from a backup or roll back to an earlier round"
        ) from error


def read(path: Path) -> bytes:
    """The bytes of a file that is no longer than a checkpoint may be; raises ValueError saying what is wrong."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ValueError("a folder or device, not a file")
        with path.open("rb") as file:
            data = file.read(MAX_FILE + 1)
    except OSError as error:
        raise ValueError(f"cannot be read ({error.strerror})") from error
    if len(data) > MAX_FILE:
        raise ValueError(f"longer than the {MAX_FILE} bytes a checkpoint may have")
    return data


def parse(data: bytes) -> Checkpoint:
    """Raise ValueError, saying what is wrong, unless it is safetensors with finite float32 alone."""
    return _parsed(data, hashlib.sha256(data).hexdigest())


def _parsed(data: bytes, sha256: str) -> Checkpoint:
    if (size := int.from_bytes(data[:8], "little")) > MAX_HEADER:
        if data.startswith(PICKLED):
            raise ValueError("a pickle or torch.save file, which can hold code and is never opened")
        raise ValueError(f"not safetensors, or a header of {size} bytes, at most {MAX_HEADER}")
    try:
        arrays = parse_tensors(data)
        metadata = _metadata(data)
    except (SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"not a readable safetensors file ({error})") from error
    for name, array in sorted(arrays.items()):
        if array.dtype != np.float32 or not np.isfinite(array).all():
            raise ValueError(f"tensor {name} is not finite float32")
    tensors = tuple(Tensor(name, tuple(arrays[name].shape)) for name in sorted(arrays))
    try:
        model_vector.check_tensors(tensors)
    except ProtocolError as error:
        raise ValueError(error.message) from error
    vector = model_vector.flatten(arrays, tensors)
    return Checkpoint(vector, tensors, metadata, sha256)


def _canonical(data: bytes) -> bytes:
    """The same file with its header sorted: the library writes metadata in random order, and equal
    models should have equal hashes.
    """
    size = int.from_bytes(data[:8], "little")
    text = json.dumps(json.loads(data[8 : 8 + size]), sort_keys=True, separators=(",", ":"))
    header = text.encode("ascii")
    header += b" " * (-len(header) % 8)  # the format aligns the values to 8 bytes
    return len(header).to_bytes(8, "little") + header + data[8 + size :]


def _metadata(data: bytes) -> dict[str, str]:
    """The `__metadata__` of a file that parse_tensors has accepted; the library itself reads it
    only from a path.
    """
    size = int.from_bytes(data[:8], "little")
    header: dict[str, dict[str, str]] = json.loads(data[8 : 8 + size])
    return header.get("__metadata__", {})
