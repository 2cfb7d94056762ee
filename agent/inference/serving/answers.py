"""From what a client sent to what the model says of it."""

import base64
import binascii
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edgeveil.agent.inference.inputs import Item, from_bytes, from_values
from edgeveil.agent.inference.runtime import Model, Prediction
from edgeveil.agent.inference.serving import limits

Answer = dict[str, Any]


class TooMany(Exception):
    """More records than one request may have."""


class Line(BaseModel):
    """A record of a stream: a picture's or a recording's file in base64, or its values, nested as its shape is.

    `id` comes back with the answer.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    id: Annotated[str, Field(max_length=200)] = ""
    file: str | None = None
    values: list[Any] | None = None


def of_body(model: Model, body: bytes, *, arrays: bool) -> list[Answer]:
    """One answer, or with `arrays` one of each record. Raises TooMany."""
    items = list(from_bytes(body, model.input, arrays=arrays, most=limits.MOST_RECORDS))
    if len(items) > limits.MOST_RECORDS:
        raise TooMany
    return [of_item(model, item) for item in items]


def of_line(model: Model, line: bytes) -> Answer:
    try:
        asked = Line.model_validate_json(line)
        item = _item(model, asked)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        return {"id": "", "error": f"not a record at {where or 'all'}: {first['msg']}"}
    return {"id": asked.id, **of_item(model, item)}


def _item(model: Model, asked: Line) -> Item:
    if asked.values is not None and asked.file is None:
        return from_values(asked.values, model.input)
    if asked.file is None or asked.values is not None:
        return Item("", None, "give `file` or `values`")
    try:
        data = base64.b64decode(asked.file, validate=True)
    except (binascii.Error, ValueError):
        return Item("", None, "`file` is not base64")
    return next(from_bytes(data, model.input, most=1))


def of_item(model: Model, item: Item) -> Answer:
    if item.record is None:
        return {"error": item.why}
    (found,) = model.said(item.record[None], [item.placed])
    if isinstance(found, Prediction):
        return {"label": found.label, "score": found.score, "scores": dict(found.scores)}
    return found.as_json()
