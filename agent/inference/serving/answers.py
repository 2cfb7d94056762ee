"""What a model says of the records of a request, as JSON."""

import base64
import binascii
import math
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edgeveil.agent.inference.inputs import Item, from_bytes
from edgeveil.agent.inference.records import as_records, record_shape, span
from edgeveil.agent.inference.runtime import Model, Prediction
from edgeveil.shared.base.errors import DataError
from edgeveil.shared.models.taken import Taken

WANTED = 'a JSON object with "file" (base64) or "values" (numbers)'
SENT = "-"
KEYS = 2  # of a line; each may end with a comma


class Line(BaseModel):
    """One input of a stream: a picture or a recording, or one record as arrays hold it."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    file: Annotated[str, Field(min_length=1)] | None = None
    values: list[Any] | None = None


def item_of(line: bytes, taken: Taken) -> Item:
    """What one line of a stream asks about; without a record where it cannot be used."""
    if line.count(b",") > math.prod(record_shape(taken)) + KEYS:
        return Item(
            SENT, None, "more values than a record has"
        )  # before there is an object for each
    try:
        asked = Line.model_validate_json(line)
    except ValidationError:
        return Item(SENT, None, f"no {WANTED}")
    if (asked.file is None) == (asked.values is None):
        return Item(SENT, None, f"{WANTED}: one of them")
    if asked.file is not None:
        try:
            data = base64.b64decode(asked.file, validate=True)
        except (binascii.Error, ValueError):
            return Item(SENT, None, "file: no base64")
        return next(iter(from_bytes(data, taken, most=1)))
    return _of_values(asked.values or [], taken)


def _of_values(values: list[Any], taken: Taken) -> Item:
    try:
        raw = np.array(values)
    except (ValueError, OverflowError):
        return Item(SENT, None, "values: rows of different lengths")
    if raw.dtype.kind not in "iuf":
        return Item(SENT, None, "values: something that is no number")
    try:
        found, usable = as_records(raw.astype(np.float64), taken)
    except DataError as error:
        return Item(SENT, None, error.message)
    if len(found) != 1:
        return Item(SENT, None, "values: one record a line")
    why = f"has a value that is not finite or not in {span(taken)}"
    return Item(SENT, found[0]) if usable[0] else Item(SENT, None, why)


def answer(model: Model, item: Item) -> dict[str, Any]:
    if item.record is None:
        return {"error": item.why}
    (found,) = model.said(item.record[None], [item.placed])
    if isinstance(found, Prediction):
        return {"label": found.label, "score": found.score, "scores": dict(found.scores)}
    return found.as_json()
