"""Small made-up data sets in the forms that owners have theirs in, for checks that read records."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeveil.shared.data.kinds import RecordSchema
from edgeveil.shared.data.schema import IMAGES, Schema
from edgeveil.shared.data.tabular.columns import Column
from edgeveil.shared.data.tabular.schema import TableSchema
from edgeveil.shared.tasks.conformance.subject import Write

SEED = 4
REACH = 1000  # of every made-up column; values lie within -1..1


def writer_of(schema: RecordSchema) -> Write | None:
    """Who writes such records; None for kinds that nobody here can make up."""
    if isinstance(schema, Schema) and schema.kind == IMAGES:
        return lambda folder, count, leave: _pictures(schema, folder, count, leave)
    if isinstance(schema, TableSchema) and not (schema.labels and schema.target):
        return lambda folder, count, leave: _table(schema, folder, count, leave)
    return None


def _kept(count: int, leave: int | None) -> NDArray[np.int64]:
    return np.array([at for at in range(count) if at != leave], np.int64)


def _pictures(schema: Schema, folder: Path, count: int, leave: int | None) -> Path:
    height, width, channels = schema.shape
    random = np.random.default_rng(SEED)
    shape = (count, height, width) if channels == 1 else (count, height, width, channels)
    pixels = random.integers(0, 256, shape).astype(np.uint8)
    labels = np.arange(count) % len(schema.labels)
    kept = _kept(count, leave)
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "d.npz", X=pixels[kept], y=labels[kept])
    return folder / "d.npz"


def _table(schema: TableSchema, folder: Path, count: int, leave: int | None) -> Path:
    """As arrays; a target is the mean of a record's values."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "schema.toml").write_text(_layout(schema))
    values = np.random.default_rng(SEED).uniform(-1, 1, (count, *schema.shape)).astype(np.float32)
    arrays: dict[str, NDArray[Any]] = {"X": values}
    if schema.labels:
        arrays["y"] = np.arange(count) % len(schema.labels)
    if schema.target:
        arrays["y"] = values.reshape(count, -1).mean(axis=1)
    kept = _kept(count, leave)
    np.savez(folder / "d.npz", **{name: array[kept] for name, array in arrays.items()})  # type: ignore[arg-type]  # by name
    return folder


def _layout(schema: TableSchema) -> str:
    parts = [f"window = {schema.window}\n"] if schema.window else []
    parts += [_column(text, "feature", f"c{at}") for at, text in enumerate(schema.columns)]
    if schema.target:
        parts.append(_column(schema.target, "target", "target"))
    if schema.labels:
        labels = json.dumps(schema.labels, ensure_ascii=False)
        parts.append(f'[[columns]]\nname = "label"\nrole = "label"\nlabels = {labels}\n')
    return "\n".join(parts)


def _column(text: str, role: str, header: str) -> str:
    column = Column.parse(text)
    values = {"name": column.name, "unit": column.unit, "role": role, "header": header}
    lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in values.items()]
    return "\n".join(["[[columns]]", *lines, f"range = [{-REACH}, {REACH}]", ""])
